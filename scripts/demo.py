"""The main job on a real photograph: degrade it, restore it, measure, and show it side by side.

Drives the program as a user would. The photographs come with scikit-image: the cat Chelsea
(CC0, Stefan van der Walt).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from skimage import data

from irae.imaging.io.files import read_picture
from irae.imaging.metrics import psnr, ssim

TASKS = {
    "denoise": (["--sigma", "25"], "noisy, sigma 25"),
    "jpeg": (["--quality", "10"], "JPEG, quality 10"),
    "inpaint": (["--mask", "scratches.png"], "scratched"),
}


def irae(*arguments: str | Path) -> None:
    """Run the program; its own messages are enough if it fails."""
    finished = subprocess.run([sys.executable, "-m", "irae", *map(str, arguments)])
    if finished.returncode:
        sys.exit(finished.returncode)


def scratches(width: int, height: int, path: Path) -> None:
    """A mask of lines and blots across the picture, white where it is to be filled."""
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    random = np.random.default_rng(5)
    for _ in range(9):
        points = [(random.uniform(0, width), random.uniform(0, height)) for _ in range(3)]
        draw.line(points, fill=255, width=int(random.integers(3, 8)), joint="curve")
    for _ in range(6):
        x, y, r = random.uniform(0, width), random.uniform(0, height), random.uniform(6, 14)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=255)
    mask.save(path)


def side_by_side(pictures: list[tuple[str, Path]], path: Path) -> None:
    """Paste pictures of one size in a row, each under its caption."""
    images = [(caption, Image.open(file).convert("RGB")) for caption, file in pictures]
    width, height = images[0][1].size
    row = Image.new("RGB", (width * len(images) + 8 * (len(images) - 1), height + 20), "white")
    for index, (caption, image) in enumerate(images):
        left = index * (width + 8)
        row.paste(image, (left, 20))
        ImageDraw.Draw(row).text((left + 4, 4), caption, fill="black")
    row.save(path)


def main() -> None:
    """Degrade, restore and measure in each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=Path("demo"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    clean_file = folder / "clean.png"
    photograph = Image.fromarray(data.chelsea())
    photograph.save(clean_file)
    scratches(*photograph.size, folder / "scratches.png")
    clean = read_picture(clean_file).pixels[None]
    for task, (damage, caption) in TASKS.items():
        damage = [str(folder / word) if word.endswith(".png") else word for word in damage]
        suffix = ".jpg" if task == "jpeg" else ".png"
        degraded, restored = folder / f"{task}.degraded{suffix}", folder / f"{task}.restored.png"
        irae("degrade", clean_file, "-o", degraded, *damage, "--overwrite")
        holes = damage if task == "inpaint" else []
        irae("restore", degraded, "-o", restored, "--task", task, *holes, "--overwrite")
        figures = []
        for file in (degraded, restored):
            pixels = read_picture(file).pixels[None]
            figures.append((psnr(pixels, clean).item(), ssim(pixels, clean).item()))
        (psnr_before, ssim_before), (psnr_after, ssim_after) = figures
        print(
            f"{task:8s} PSNR {psnr_before:5.2f} -> {psnr_after:5.2f} dB   "
            f"SSIM {ssim_before:.3f} -> {ssim_after:.3f}   {folder / f'{task}.png'}"
        )
        side_by_side(
            [("original", clean_file), (caption, degraded), ("restored by irae", restored)],
            folder / f"{task}.png",
        )
    print(f"{time.monotonic() - start:.0f} s on {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main()
