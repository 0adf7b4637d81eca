"""Masks of the damage that old and printed pictures have: scratches, hairs, dust, text and stamps.

They are drawn at twice the size and scaled down, so that a mask has the thickness of
real damage: one pixel and more. Text is set in Aileron Regular, the font included in Pillow.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from irae.imaging.drawing import load_font, random_word

_SCALE = 2  # Masks are drawn at this multiple of their size.


def _scratches(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """Long, nearly straight lines, mostly along the film, and with gaps."""
    along_film = chance.random() < 0.7
    for _ in range(chance.randint(1, 6)):
        angle = chance.gauss(math.pi / 2, 0.06) if along_film else chance.uniform(0, math.pi)
        reach = math.hypot(width, height)
        x, y = chance.uniform(0, width), chance.uniform(0, height)
        thickness = max(1, round(_SCALE * math.exp(chance.uniform(-0.4, 1.1))))
        at, end = -reach, reach
        while at < end:
            length = chance.uniform(0.1, 1.0) * reach
            points = [(x + s * math.cos(angle), y + s * math.sin(angle)) for s in (at, at + length)]
            draw.line(points, fill=255, width=thickness)
            at += length * chance.uniform(1.0, 1.6)


def _hairs(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """Short curved lines: hairs, fibres and lint."""
    for _ in range(chance.randint(2, 12)):
        x, y = chance.uniform(0, width), chance.uniform(0, height)
        angle, bend = chance.uniform(0, 2 * math.pi), chance.gauss(0, 0.15)
        stride = _SCALE * chance.uniform(2, 5)
        points = [(x, y)]
        for _ in range(chance.randint(4, 30)):
            bend += chance.gauss(0, 0.06)
            angle += bend
            x, y = x + stride * math.cos(angle), y + stride * math.sin(angle)
            points.append((x, y))
        thickness = max(1, round(_SCALE * math.exp(chance.uniform(-0.4, 0.9))))
        draw.line(points, fill=255, width=thickness, joint="curve")


def _specks(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """Dust and dirt: many small ellipses and a few larger blots."""
    count = round(width * height / _SCALE**2 * math.exp(chance.uniform(-8.5, -5.8)))
    for _ in range(max(3, count)):
        radius = _SCALE * math.exp(chance.gauss(0.4, 0.6))
        across = radius * chance.uniform(0.5, 1.0)
        x, y = chance.uniform(0, width), chance.uniform(0, height)
        draw.ellipse((x - radius, y - across, x + radius, y + across), fill=255)


def _text(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """Lines of text across the picture."""
    size = _SCALE * chance.randint(10, 28)
    font, y = load_font(size), chance.uniform(-size, size)
    while y < height:
        line = "".join(random_word(chance) for _ in range(2 + 3 * width // size // 4))
        draw.text((chance.uniform(-2 * size, 0), y), line, fill=255, font=font)
        y += size * chance.uniform(1.4, 4.0)


def _stamp(draw: ImageDraw.ImageDraw, width: int, height: int, chance: random.Random) -> None:
    """A date in a corner, as cameras print it."""
    size = _SCALE * chance.randint(12, 30)
    font = load_font(size)
    date = f"'{chance.randint(85, 99)} {chance.randint(1, 12):2} {chance.randint(1, 31):2}"
    if chance.random() < 0.4:
        date = f"{chance.randint(1, 31)}.{chance.randint(1, 12)}.{chance.randint(1998, 2012)}"
    length = draw.textlength(date, font=font)
    x = chance.uniform(0.4, 1.0) * max(0.0, width - length)
    y = chance.uniform(0.4, 1.0) * max(0.0, height - 1.3 * size)
    draw.text((x, y), date, fill=255, font=font)


KINDS: dict[str, Callable[[ImageDraw.ImageDraw, int, int, random.Random], None]] = {
    "scratches": _scratches,
    "hairs": _hairs,
    "specks": _specks,
    "text": _text,
    "stamp": _stamp,
}
"""What can be drawn, by name."""


def random_of(generator: torch.Generator) -> random.Random:
    """Return Python's source of randomness, seeded from PyTorch's."""
    return random.Random(int(torch.randint(1 << 62, (), generator=generator)))


def draw_thin(height: int, width: int, kinds: Sequence[str], chance: random.Random) -> Tensor:
    """Draw thin damage with smooth edges.

    Args:
        height: height in pixels.
        width: width in pixels.
        kinds: some of `KINDS`, which are drawn over each other.
        chance: source of all randomness.

    Returns:
        float32 ``1 H W``: the share of each pixel that is covered.

    Raises:
        PictureError: Pillow cannot draw text.
    """
    size = (_SCALE * width, _SCALE * height)
    image = Image.new("L", size)
    draw = ImageDraw.Draw(image)
    for kind in kinds:
        KINDS[kind](draw, *size, chance)
    covered = np.asarray(image.resize((width, height), Image.Resampling.BOX), np.float32)
    return torch.from_numpy(covered / 255)[None]


def thin_mask(
    height: int, width: int, generator: torch.Generator, kind: str | None = None
) -> Tensor:
    """Draw a mask of thin damage.

    Args:
        height: height in pixels.
        width: width in pixels.
        generator: source of all randomness.
        kind: one of `KINDS`; if None, one to three kinds by chance.

    Returns:
        bool ``1 H W``, True in the hole. Some pixels are in the hole, and some are not.

    Raises:
        PictureError: Pillow cannot draw text.
    """
    chance = random_of(generator)
    names = [kind] if kind is not None else chance.sample(list(KINDS), chance.randint(1, 3))
    mask = draw_thin(height, width, names, chance) > 0.25
    if not mask.any():
        mask[:, height // 2, width // 2] = True
    if mask.all():
        mask[:, : max(1, height // 4)] = False
    return mask
