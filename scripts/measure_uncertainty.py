"""Compare maps of uncertainty with the true errors of a denoiser.

    python scripts/measure_uncertainty.py --data DIR [--sigma 25] [--side 192] [-o FILE]

The spread over orientations, the spread over noise in the middle, and the local gradient of the
restored picture, a trivial predictor, on the central squares of the pictures of a folder. Choose
on photos_val; report on testsets/CBSD68. The result is a file of tables for docs/results.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch

from irae.data.registry import open_data
from irae.evaluation.calibration import (
    local_gradient,
    middle_noise_spread,
    sparsification_error,
    spearman,
)
from irae.restoring.restorer import Restorer
from irae.restoring.uncertainty import orientation_spread
from irae.runtime import generator

NAMES = ("spread over orientations", "spread over noise in the middle", "local gradient")


def central(picture: torch.Tensor, side: int) -> torch.Tensor:
    top, left = ((length - side) // 2 for length in picture.shape[1:])
    return picture[:, top : top + side, left : left + side].float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="denoise")
    parser.add_argument("--sigma", type=float, default=25.0)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--max-images", type=int)
    parser.add_argument("-o", "--output", type=Path)
    chosen = parser.parse_args()
    restorer = Restorer(chosen.model, device="cpu", precision="fp32")
    pictures = open_data(chosen.data)
    correlations: dict[str, list[float]] = {name: [] for name in NAMES}
    areas: dict[str, list[float]] = {name: [] for name in NAMES}
    for index in range(min(len(pictures), chosen.max_images or len(pictures))):
        clean = central(pictures.load(index), chosen.side)
        noise = torch.randn(clean.shape, generator=generator(0, index))
        noisy = clean + chosen.sigma / 255 * noise
        restored = restorer.restore_pixels(noisy)
        error = (restored - clean).square().mean(0, keepdim=True).sqrt()
        maps = (
            orientation_spread(restorer, noisy),
            middle_noise_spread(restorer.model, noisy),
            local_gradient(restored),
        )
        for name, each in zip(NAMES, maps, strict=True):
            correlations[name].append(spearman(each, error))
            areas[name].append(sparsification_error(each, error))
    rows = [
        [
            name,
            f"{statistics.mean(correlations[name]):.3f}",
            f"{statistics.mean(areas[name]):.3f}",
        ]
        for name in NAMES
    ]
    for row in rows:
        print("  ".join(row))
    if chosen.output is not None:
        content = {"columns": ["predictor", "Spearman", "AUSE"], "rows": rows}
        chosen.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
