"""Three photographs with holes, as people have them: scratches of film, a date stamp, text.

    python scripts/hole_examples.py --data DIR [-o FOLDER]

DIR holds ``photos/wallpapers``, of which three are used: "Friends", "Picos de Europa" and
"Aitzgorri" by Aitzol Berasategi (2018, CC BY 4.0), and ``film``, whose overlays are of real film
scans. The program fills the holes as ``irae restore FILE --mask MASK`` does. FOLDER (by default
``docs/figures``) gets ``holes.jpg``, the picture of docs/tutorials/inpaint.md.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from auto.cases import sepia
from demo import side_by_side
from photo_examples import HEIGHT, WIDTH, cut, irae, paste_below, print_gain, save
from PIL import Image
from torch import Tensor

from irae.imaging.thin_masks import draw_thin, random_of
from irae.runtime import generator

OVERLAYS = ("scratches_0003.png", "hair_0006.png", "lint_0009.png")
SEED = 3


def scratches(film: Path) -> Tensor:
    """Overlays of film scans over each other, ``1 HEIGHT WIDTH`` in [0, 1]."""
    shape = torch.zeros(1, HEIGHT, WIDTH)
    for name in OVERLAYS:
        with Image.open(film / name) as image:
            alpha = image.convert("RGBA").getchannel("A").resize((WIDTH, WIDTH))
        layer = torch.from_numpy(np.array(alpha, np.float32) / 255)[None, :HEIGHT]
        shape = torch.maximum(shape, layer)
    return shape


def make(data: Path, folder: Path) -> list[tuple[str, Path, Path, Path]]:
    """Write the clean and the damaged pictures and the masks: caption, clean, damaged, mask."""
    clean = {
        "scratched print": sepia(cut(data, "aitzgorri", 0.35, 0.2, 0.8)),
        "date stamp": cut(data, "friends", 0.6, 0.12, 0.3),
        "text": cut(data, "picosdeeuropa", 0.45, 0.15, 0.5),
    }
    stamp, text = (
        draw_thin(HEIGHT, WIDTH, (kind,), random_of(generator(SEED))) for kind in ("stamp", "text")
    )
    shapes = {"scratched print": scratches(data / "film"), "date stamp": stamp, "text": text}
    colours = {"scratched print": (0.95, 0.93, 0.88), "date stamp": (1.0, 0.55, 0.1)}
    rows = []
    for number, (caption, picture) in enumerate(clean.items()):
        shape = shapes[caption]
        colour = torch.tensor(colours.get(caption, (1.0, 1.0, 1.0)))[:, None, None]
        files = [folder / f"{number}.{kind}.png" for kind in ("clean", "damaged", "mask")]
        save(picture, files[0])
        save(torch.lerp(picture, colour, shape), files[1])
        # One pixel more in every direction than what is seen, as `--grow-mask 1` makes it.
        save(F.max_pool2d((shape > 0.1).float(), 3, 1, 1).expand(3, -1, -1), files[2])
        rows.append((caption, *files))
    return rows


def main() -> None:
    """Damage, fill, and paste the three rows below each other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    figures = Path(__file__).resolve().parent.parent / "docs" / "figures"
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--output", type=Path, default=figures)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for caption, clean, damaged, mask in make(arguments.data, folder):
            filled, row = damaged.with_suffix(".filled.png"), damaged.with_suffix(".row.png")
            irae("restore", damaged, "--mask", mask, "-o", filled)
            print_gain(caption, clean, damaged, filled)
            side_by_side([(caption, damaged), ("mask", mask), ("filled by irae", filled)], row)
            rows.append(row)
        paste_below(rows, arguments.output / "holes.jpg", quality=88)


if __name__ == "__main__":
    main()
