"""Inpainting models beside each other, on the same pictures and holes, by how much is missing.

    python scripts/compare_inpainting.py --data DIR [--model inpaint --model telea] [--max-images N]

DIR holds ``testsets/CBSD68`` and ``masks/irregular``. Masks are sorted by their share of holes as
Liu et al. 2018 (arXiv 1804.07723) sort them; each share is dealt out to the pictures as
``irae eval --task inpaint --mask`` deals all masks. PSNR is over the whole picture.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
from PIL import Image

from irae.data.registry import open_data
from irae.evaluation.results import markdown_table
from irae.imaging.metrics import psnr
from irae.models.checkpoints.model_file import load_model
from irae.tasks.inpaint import MaskFolder
from irae.tasks.protocols import get_protocol

SHARES = ((1, 10), (10, 20), (20, 30), (30, 40), (40, 50), (50, 60))
"""Per cent of the mask that is hole, from and below."""

MODELS = ["inpaint", "telea", "navier-stokes"]
DAMAGED, FILLED = "holes as they are", "irae's filling alone"


def masks_by_share(folder: MaskFolder) -> dict[tuple[int, int], MaskFolder]:
    """The masks of each of `SHARES`; those with fewer or more holes are left out."""
    found: dict[tuple[int, int], list[Path]] = {share: [] for share in SHARES}
    for path in folder.paths:
        with Image.open(path) as image:
            share = 100 * float((np.asarray(image.convert("L")) > 127).mean())
        for least, most in SHARES:
            if least <= share < most:
                found[least, most].append(path)
    return {share: MaskFolder(folder.folder, tuple(p)) for share, p in found.items() if p}


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", action="append", help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--max-images", type=int)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    names = arguments.model or MODELS
    models = {name: load_model(name) for name in names}
    rules = get_protocol("standard")
    pictures = open_data("testsets/CBSD68", root=arguments.data, split="test")
    count = min(len(pictures), arguments.max_images or len(pictures))
    columns: dict[str, dict[str, float]] = {}
    everything: dict[str, list[float]] = {}
    for (least, most), masks in masks_by_share(
        MaskFolder.open(arguments.data / "masks" / "irregular")
    ).items():
        scores: dict[str, list[float]] = {}
        for index in range(count):
            clean = rules.clean(pictures.load(index), arguments.seed, index)
            damaged = rules.damage(clean, masks, arguments.seed, index)
            assert damaged.mask is not None
            given, mask = damaged.pixels[None], damaged.mask[None]
            outputs = {DAMAGED: given}
            for name, model in models.items():
                if name == "inpaint":
                    outputs[FILLED] = model.fill(given, mask)
                outputs[name] = model.restore(given, mask).clamp(0, 1)
            for name, output in outputs.items():
                scores.setdefault(name, []).append(psnr(output, clean[None]).item())
        for name, values in scores.items():
            columns.setdefault(name, {})[f"{least}-{most} %"] = statistics.mean(values)
            everything.setdefault(name, []).extend(values)
    print(f"{count} pictures a share, seed {arguments.seed}, PSNR over the whole picture\n")
    rows = [
        [name, *(f"{v:.2f}" for v in shares.values()), f"{statistics.mean(everything[name]):.2f}"]
        for name, shares in columns.items()
    ]
    header = ["method", *next(iter(columns.values())), "all"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
