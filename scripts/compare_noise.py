"""Noise of many kinds: irae beside OpenCV's non-local means at its best strength, and a median.

    python scripts/compare_noise.py --data DIR [--write]

DIR holds ``photos/wallpapers``. Every kind has a standard deviation of 18 in each channel before it
is clipped. Non-local means is run at every strength of a list, and the best one counts for each
kind: nobody could choose it without the original. irae is the packaged model ``photo``, which gets
the picture alone. A second table has text of 9 px with white noise, and salt and pepper, as
``irae restore`` without a task restores them. With ``--write`` the tables go to
``docs/results/noise-kinds.json``;
``scripts/fill_tables.py`` puts it into the pages.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from auto.cases import SIGMA_KIND, coloured, sepia, toned
from auto.originals import eight_bits
from auto.results import write_tables
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from irae import Restorer
from irae.evaluation.results import markdown_table
from irae.imaging.degrade import add_noise, jpeg_compress
from irae.imaging.io.files import read_picture, write_picture
from irae.imaging.io.picture import Layout, Picture
from irae.imaging.metrics import psnr
from irae.restoring.automatic.inspect_picture import inspect_picture
from irae.restoring.automatic.inspection import choose_task
from irae.runtime import generator

PICTURE = "photos/wallpapers/28_ColorfulCups.jpg"
STRENGTHS = (3, 6, 9, 12, 15, 19, 24, 30)
BLURS = (0.4, 0.6, 0.8, 1.2, 1.8)
TINTS = (2, 6, 12)
SEED = 7
WORDS = ("the", "noise", "of", "a", "scanned", "page", "is", "seen", "in", "small", "letters", "42")


def read_wallpaper(data: Path, side: int) -> Tensor:
    """The middle of the wallpaper at half its size, float32 ``3 side side`` in 8 bits."""
    pixels = read_picture(data / PICTURE).pixels
    half = F.interpolate(pixels[None], scale_factor=0.5, mode="area")[0]
    top, left = ((length - side) // 2 for length in half.shape[1:])
    return eight_bits(half[:, top : top + side, left : left + side])


def kinds(clean: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Every kind of noise by its name: the noisy picture in 8 bits, and its original."""
    sigma = SIGMA_KIND
    grain = coloured(torch.zeros_like(clean), sigma, 0.7, "equal", SEED)
    gray = {f"black and white, tint of {tint} %": toned(clean, tint / 100) for tint in TINTS}
    gray["black and white, sepia"] = sepia(clean)
    white = add_noise(clean, sigma, generator(SEED), clip=True)
    wide = F.interpolate(clean[None], scale_factor=1.6, mode="bicubic")[0]
    noisy_wide = F.interpolate(white[None], scale_factor=1.6, mode="bicubic")[0]
    found = {
        f"blurred by {blur} px": (coloured(clean, sigma, blur, "free", SEED), clean)
        for blur in BLURS
    }
    found["gray grain, 0.7 px"] = (clean + grain, clean)
    found["equal in all channels"] = (coloured(clean, sigma, 0, "equal", SEED), clean)
    found["chroma blotches"] = (coloured(clean, sigma, 1.5, "chroma", SEED), clean)
    found["enlarged with its noise"] = (noisy_wide, wide)
    found |= {name: (picture + grain, picture) for name, picture in gray.items()}
    for chroma in ("4:4:4", "4:2:0"):
        found[f"white, JPEG 90 {chroma}"] = (
            jpeg_compress(white, 90, subsampling=chroma),  # type: ignore[arg-type]
            clean,
        )
    return {
        name: (eight_bits(noisy), eight_bits(target)) for name, (noisy, target) in found.items()
    }


def text_page(side: int) -> Tensor:
    """Black text of 9 px on white paper, float32 ``3 side side`` in 8 bits."""
    page = Image.new("RGB", (side, side), (255,) * 3)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(9)
    chance = random.Random(SEED)
    for row in range(6, side - 12, 12):
        draw.text((8, row), " ".join(chance.choices(WORDS, k=12)), fill=(0,) * 3, font=font)
    return torch.from_numpy(np.array(page)).permute(2, 0, 1).float() / 255


def salt_and_pepper(clean: Tensor, share: float) -> Tensor:
    """Set a share of the values to black or white."""
    chance = torch.rand(clean.shape, generator=generator(SEED))
    salted = torch.where(chance < share, torch.ones(()), clean)
    return torch.where(chance < share / 2, torch.zeros(()), salted)


def other_kinds(clean: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Damaged pictures in 8 bits and their originals, by the names of the damage."""
    page = text_page(clean.shape[1])
    return {
        "text of 9 px, white noise of 15": (add_noise(page, 15, generator(SEED), clip=True), page),
        "salt and pepper, 1 %": (salt_and_pepper(clean, 0.01), clean),
        "salt and pepper, 5 %": (salt_and_pepper(clean, 0.05), clean),
        "salt and pepper, 5 %, on text": (salt_and_pepper(page, 0.05), page),
    }


def restored_by_auto(noisy: Tensor) -> tuple[str, Tensor]:
    """The task that ``irae restore`` chooses for a PNG, and its result."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "noisy.png"
        write_picture(path, Picture(noisy, None, Layout(mode="RGB")))
        task, _ = choose_task(inspect_picture(path))
    if task is None:
        return "left", noisy
    return task, Restorer(task, device="cpu", precision="fp32").restore(noisy)


def compare_others(clean: Tensor, restorer: Restorer) -> tuple[list[str], list[list[str]]]:
    """The second table: columns and rows."""
    columns = ["damage", "damaged", "auto", "by", "`--task photo`", "non-local means", "3×3 median"]
    rows = []
    for name, (noisy, target) in other_kinds(clean).items():
        task, chosen = restored_by_auto(noisy)
        levels = (noisy * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        median = torch.from_numpy(cv2.medianBlur(levels, 3)).permute(2, 0, 1).float() / 255
        scores = [
            psnr(each[None], target[None]).item()
            for each in (noisy, chosen, restorer.restore(noisy), median)
        ]
        texts = [f"{score:.2f}" for score in scores]
        means = f"{best_non_local_means(noisy, target)[0]:.2f}"
        rows.append([name, texts[0], texts[1], task, texts[2], means, texts[3]])
        print(" | ".join(rows[-1]), flush=True)
    return columns, rows


def best_non_local_means(noisy: Tensor, clean: Tensor) -> tuple[float, int]:
    """The best PSNR over the strengths, of its form for colour and of that for any channels."""
    levels = (noisy * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    scores = []
    for strength in STRENGTHS:
        for denoised in (
            cv2.fastNlMeansDenoisingColored(levels, None, strength, strength),
            cv2.fastNlMeansDenoising(levels, None, strength),
        ):
            pixels = torch.from_numpy(np.asarray(denoised)).permute(2, 0, 1).float() / 255
            scores.append((psnr(pixels[None], clean[None]).item(), strength))
    return max(scores)


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--side", type=int, default=320, help="side of the part that is used")
    parser.add_argument("--write", action="store_true", help="write docs/results/noise-kinds.json")
    arguments = parser.parse_args()
    cv2.setNumThreads(torch.get_num_threads())
    restorer = Restorer("photo", device="cpu", precision="fp32")
    rows = []
    for name, (noisy, clean) in kinds(read_wallpaper(arguments.data, arguments.side)).items():
        before = psnr(noisy[None], clean[None]).item()
        ours = psnr(restorer.restore(noisy)[None], clean[None]).item()
        theirs, strength = best_non_local_means(noisy, clean)
        rows.append(
            [
                name,
                f"{before:.2f}",
                f"{ours:.2f}",
                f"{theirs:.2f}",
                f"{strength}",
                f"{ours - theirs:+.2f}",
            ]
        )
        print(" | ".join(rows[-1]), flush=True)
    columns = ["noise", "noisy", "irae", "non-local means", "its best strength", "difference"]
    print(markdown_table(columns, rows))
    others = compare_others(read_wallpaper(arguments.data, arguments.side), restorer)
    print(markdown_table(*others))
    if arguments.write:
        table = {"columns": columns, "rows": rows}
        other = dict(zip(("columns", "rows"), others, strict=True))
        note = (
            f"PSNR in dB on the middle of `{PICTURE}` at half size, which is one of the training"
            " pictures, and on a drawn page."
        )
        write_tables(
            "noise-kinds",
            {"noise-kinds": table, "noise-others": other},
            ["photo", "denoise"],
            "python scripts/compare_noise.py --data DIR --write",
            note,
        )


if __name__ == "__main__":
    main()
