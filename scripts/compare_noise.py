"""Noise of many kinds on one photograph: irae beside OpenCV's non-local means at its best strength.

    python scripts/compare_noise.py --data DIR [--write]

DIR holds ``photos/wallpapers``. Every kind has a standard deviation of 18 in each channel before it
is clipped. Non-local means is run at every strength of a list, and the best one counts for each
kind: nobody could choose it without the original. irae is the packaged model ``photo``, which gets
the picture alone. With ``--write`` the table goes to ``docs/results/noise-kinds.json``;
``scripts/fill_tables.py`` puts it into the pages.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from auto.cases import SIGMA_KIND, coloured, eight_bits, sepia, toned
from auto.results import write_tables
from torch import Tensor

from irae import Restorer
from irae.evaluation.results import markdown_table
from irae.imaging.degrade import add_noise, jpeg_compress
from irae.imaging.io.files import read_picture
from irae.imaging.metrics import psnr
from irae.runtime import generator

PICTURE = "photos/wallpapers/28_ColorfulCups.jpg"
STRENGTHS = (3, 6, 9, 12, 15, 19, 24, 30)
BLURS = (0.4, 0.6, 0.8, 1.2, 1.8)
TINTS = (2, 6, 12)
SEED = 7


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


def best_non_local_means(noisy: Tensor, clean: Tensor) -> tuple[float, int]:
    """The best PSNR over the strengths, of its form for colour and of that for any channels."""
    levels = (noisy * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    scores = []
    for strength in STRENGTHS:
        for denoised in (
            cv2.fastNlMeansDenoisingColored(levels, None, strength, strength),
            cv2.fastNlMeansDenoising(levels, None, [strength] * 3, normType=cv2.NORM_L1),
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
    if arguments.write:
        table = {"columns": columns, "rows": rows}
        note = (
            f"PSNR in dB on the middle of `{PICTURE}` at half size, which is one of the training"
            " pictures."
        )
        write_tables(
            "noise-kinds",
            {"noise-kinds": table},
            ["photo"],
            "python scripts/compare_noise.py --data DIR --write",
            note,
        )


if __name__ == "__main__":
    main()
