"""Three photographs damaged as people's are: a phone's JPEG, a film scan, a toned print.

    python scripts/photo_examples.py --data DIR [-o FOLDER]

DIR holds ``photos/wallpapers``, of which three are used: "Friends", "Picos de Europa" and
"Aitzgorri" by Aitzol Berasategi (2018, CC BY 4.0). They are clean; their damage is simulated. The
program restores them as ``irae restore FILE`` does. FOLDER (by default ``docs``) gets
``before-after.jpg``, the picture of README.md and of docs/tutorials/photo.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from auto.cases import coloured, sepia
from auto.originals import eight_bits
from demo import side_by_side
from PIL import Image
from torch import Tensor

from irae.imaging.io.files import read_picture
from irae.imaging.metrics import psnr

WIDTH, HEIGHT = 340, 230
PHONE = ["--photo", "--seed", "8"]
GRAIN = 15.0  # Of the film, in 8-bit units; a print has less.
PRINT_GRAIN = 8.0


def irae(*arguments: str | Path) -> str:
    """Run the program, and return what it says about what it does."""
    command = [sys.executable, "-m", "irae", *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode:
        sys.exit(finished.stderr)
    return finished.stderr.strip()


def cut(data: Path, name: str, scale: float, top: float, left: float) -> Tensor:
    """A part of a wallpaper that was made smaller; ``top`` and ``left`` are shares of the rest."""
    path = next((data / "photos" / "wallpapers").glob(f"*_{name}_*.jpg"))
    whole = read_picture(path).pixels
    small = F.interpolate(whole[None], scale_factor=scale, mode="area")[0]
    down, across = (round(share * (length - side)) for share, length, side in zip(
        (top, left), small.shape[1:], (HEIGHT, WIDTH), strict=True
    ))  # fmt: skip
    return eight_bits(small[:, down : down + HEIGHT, across : across + WIDTH])


def save(pixels: Tensor, path: Path) -> None:
    """Write an 8-bit picture."""
    levels = (eight_bits(pixels) * 255).to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(path)


def make(data: Path, folder: Path) -> list[tuple[str, Path, Path, Path]]:
    """Write the clean and the damaged pictures: caption, clean, damaged, and restored file."""
    pictures = {
        "phone": cut(data, "friends", 0.6, 0.12, 0.3),
        "film": cut(data, "picosdeeuropa", 0.45, 0.15, 0.5),
        "print": sepia(cut(data, "aitzgorri", 0.35, 0.2, 0.8)),
    }
    for name, clean in pictures.items():
        save(clean, folder / f"{name}.clean.png")
    irae("degrade", folder / "phone.clean.png", "-o", folder / "phone.camera.png", *PHONE)
    camera, phone = folder / "phone.camera.png", folder / "phone.jpg"
    irae("degrade", camera, "-o", phone, "--quality", "90")
    # The grain of film is a blotch of a pixel or more, much the same in all channels.
    film = coloured(pictures["film"], 0.8 * GRAIN, 0.8, "equal", 1)
    save(coloured(film, 0.5 * GRAIN, 0.8, "free", 2), folder / "film.png")
    save(coloured(pictures["print"], PRINT_GRAIN, 0.7, "equal", 3), folder / "print.png")
    captions = {"phone.jpg": "phone, JPEG", "film.png": "film scan", "print.png": "toned print"}
    return [
        (
            caption,
            folder / f"{Path(name).stem}.clean.png",
            folder / name,
            folder / f"{Path(name).stem}.restored.png",
        )
        for name, caption in captions.items()
    ]


def print_gain(caption: str, clean: Path, damaged: Path, restored: Path) -> None:
    """Print the PSNR of a damaged picture and of the restored one."""
    target = read_picture(clean).pixels[None]
    before, after = (
        psnr(read_picture(path).pixels[None], target).item() for path in (damaged, restored)
    )
    print(f"{caption}: PSNR {before:.2f} -> {after:.2f} dB")


def paste_below(rows: list[Path], path: Path, *, quality: int) -> None:
    """Paste pictures of one size below each other in a JPEG, whose folder is made."""
    images = [Image.open(row).convert("RGB") for row in rows]
    width, height = images[0].size
    whole = Image.new("RGB", (width, height * len(images)), "white")
    for index, image in enumerate(images):
        whole.paste(image, (0, index * height))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path, quality=quality)


def main() -> None:
    """Damage, restore, and paste the three rows below each other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    docs = Path(__file__).resolve().parent.parent / "docs"
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=docs)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for caption, clean, damaged, restored in make(arguments.data, folder):
            print(irae("restore", damaged, "-o", restored).replace(f"{folder}/", ""))
            print_gain(caption, clean, damaged, restored)
            row = folder / f"{clean.stem}.row.png"
            side_by_side(
                [("original", clean), (caption, damaged), ("restored by irae", restored)], row
            )
            rows.append(row)
        paste_below(rows, arguments.output / "before-after.jpg", quality=92)


if __name__ == "__main__":
    main()
