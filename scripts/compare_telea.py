"""The packaged inpainting model beside OpenCV's Telea and Navier-Stokes, on the same holes,
and beside the smooth filling that it starts from.

    python scripts/compare_telea.py --data DIR [--max-images N]

DIR holds ``testsets/CBSD68`` and ``masks/irregular``. Pictures, masks and PSNR are those of
``irae eval --task inpaint --mask DIR/masks/irregular`` (standard protocol, whole picture).
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import cv2
import numpy as np
import torch

from irae.data.protocols import MaskFolder, get_protocol
from irae.data.registry import open_data
from irae.evaluation.evaluate import markdown_table
from irae.imaging.metrics import psnr
from irae.models.files import load_model

RADIUS = 3  # pixels, OpenCV's usual neighbourhood


def classical(pixels: torch.Tensor, mask: torch.Tensor, method: int) -> torch.Tensor:
    """OpenCV's inpainting of ``3 H W`` in [0, 1]; known pixels stay as they are."""
    image = (pixels.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    filled = cv2.inpaint(image, mask[0].numpy().astype(np.uint8), RADIUS, method)
    return torch.from_numpy(filled).permute(2, 0, 1).float() / 255


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="inpaint")
    parser.add_argument("--max-images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    rules = get_protocol("standard")
    holes = MaskFolder.open(arguments.data / "masks" / "irregular")
    pictures = open_data("testsets/CBSD68", root=arguments.data, split="test")
    scores: dict[str, list[float]] = {}
    shares = []
    for index in range(min(len(pictures), arguments.max_images or len(pictures))):
        clean = rules.clean(pictures.load(index), arguments.seed, index)
        damaged = rules.damage(clean, holes, arguments.seed, index)
        assert damaged.mask is not None
        shares.append(float(damaged.mask.float().mean()))
        outputs = {
            "holes as they are": damaged.pixels,
            "OpenCV Telea": classical(damaged.pixels, damaged.mask, cv2.INPAINT_TELEA),
            "OpenCV Navier-Stokes": classical(damaged.pixels, damaged.mask, cv2.INPAINT_NS),
            "irae, smooth filling alone": model.fill(damaged.pixels[None], damaged.mask[None])[0],
            "irae": model.restore(damaged.pixels[None], damaged.mask[None])[0].clamp(0, 1),
        }
        for name, output in outputs.items():
            scores.setdefault(name, []).append(psnr(output[None], clean[None]).item())
    print(
        f"{len(shares)} pictures, {statistics.mean(shares):.1%} hole on average, seed "
        f"{arguments.seed}, PSNR over the whole picture\n"
    )
    rows = [[name, f"{statistics.mean(values):.2f}"] for name, values in scores.items()]
    print(markdown_table(["method", "PSNR"], rows))


if __name__ == "__main__":
    main()
