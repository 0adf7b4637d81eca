"""Pages of text and simple drawings, from which networks learn to keep edges sharp.

Text is set in Aileron Regular, the font included in Pillow.
"""

from __future__ import annotations

import random
import string
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont, features
from torch import Tensor

from irae.errors import PictureError

# Letters with the frequencies of running text; capitals and digits are rare.
_LETTERS = "eeeeeeeeeetttttttaaaaaaooooooiiiiinnnnnnsssssshhhhhrrrrrddddlllccuuummwffggyyppbbvk"
_OTHERS = string.ascii_uppercase + string.digits + ".,;:!?()-+=%&/"


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Return Aileron Regular at a size in pixels.

    Raises:
        PictureError: Pillow cannot draw text.
    """
    if not features.check("freetype2"):
        raise PictureError("Pillow was built without FreeType, which draws text; install another")
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def draw_page(side: int, seed: int) -> Tensor:
    """Draw a square part of a page: lines of text, or a drawing, in two colours or more.

    Args:
        side: side of the square in pixels.
        seed: seed of all randomness.

    Returns:
        float32 ``3 side side`` in [0, 1], rounded to 8 bits.

    Raises:
        PictureError: Pillow cannot draw text.
    """
    chance = random.Random(seed)
    paper, ink = _colours(chance)
    if chance.random() < 0.65:
        image = Image.new("RGB", (side, side), paper)
        _write_lines(image, ink, chance)
    else:
        # Drawn at twice the size and scaled down, so that edges are smooth.
        image = Image.new("RGB", (2 * side, 2 * side), paper)
        _draw_shapes(image, ink, chance)
        image = image.resize((side, side), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def _colours(chance: random.Random) -> tuple[tuple[int, ...], tuple[int, ...]]:
    paper = tuple(chance.randint(225, 255) for _ in range(3))
    ink = tuple(chance.randint(0, 90) for _ in range(3))
    if chance.random() < 0.5:
        paper, ink = (chance.randint(235, 255),) * 3, (chance.randint(0, 40),) * 3
    elif chance.random() < 0.4:
        paper = tuple(chance.randint(0, 255) for _ in range(3))
        ink = tuple(chance.randint(0, 255) for _ in range(3))
    return (ink, paper) if chance.random() < 0.3 else (paper, ink)


def _write_lines(image: Image.Image, ink: tuple[int, ...], chance: random.Random) -> None:
    size = round(8 * 4 ** chance.random())
    font, draw = load_font(size), ImageDraw.Draw(image)
    y = -chance.randint(0, size)
    while y < image.height:
        words = "".join(random_word(chance) for _ in range(2 + 3 * image.width // size // 4))
        draw.text((-chance.randint(0, 3 * size), y), words, fill=ink, font=font)
        y += round(size * chance.uniform(1.15, 1.6))


def random_word(chance: random.Random) -> str:
    """Return one to nine letters, as frequent as in running text, and a space."""
    letters = chance.choices(_LETTERS, k=chance.randint(1, 9))
    if chance.random() < 0.2:
        letters[0] = chance.choice(_OTHERS)
    return "".join(letters) + " "


def _draw_shapes(image: Image.Image, ink: tuple[int, ...], chance: random.Random) -> None:
    draw, side = ImageDraw.Draw(image), image.width

    def point() -> tuple[int, int]:
        return chance.randint(-side // 4, side * 5 // 4), chance.randint(-side // 4, side * 5 // 4)

    for _ in range(chance.randint(3, 9)):
        fill = ink if chance.random() < 0.5 else tuple(chance.randint(0, 255) for _ in range(3))
        width = chance.randint(2, 12)
        kind = chance.choice(("line", "polygon", "ellipse", "outline"))
        if kind == "line":
            draw.line([point() for _ in range(chance.randint(2, 5))], fill=fill, width=width)
        elif kind == "polygon":
            draw.polygon([point() for _ in range(chance.randint(3, 5))], fill=fill)
        else:
            (x, y), radius = point(), chance.randint(side // 16, side // 2)
            box = (x - radius, y - radius, x + radius, y + radius)
            if kind == "ellipse":
                draw.ellipse(box, fill=fill)
            else:
                draw.ellipse(box, outline=fill, width=width)
