"""Make the example picture of `irae ui`: a cup of coffee (CC0, Rachel Michetti) with noise.

Usage: python scripts/page_example.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

TARGET = Path(__file__).resolve().parent.parent / "irae" / "ui" / "static" / "example.jpg"
SIGMA = 22


def main() -> None:
    """Write the picture."""
    clean = data.coffee().astype(np.float64)
    noise = np.random.default_rng(0).normal(0, SIGMA, clean.shape)
    noisy = (clean + noise).clip(0, 255).round().astype(np.uint8)
    Image.fromarray(noisy).save(TARGET, quality=91, subsampling="4:4:4")
    print(TARGET, TARGET.stat().st_size)


if __name__ == "__main__":
    main()
