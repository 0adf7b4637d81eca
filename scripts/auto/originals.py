"""Clean pictures of many kinds, to measure what auto does.

Photographs are those of ``photos_val``, which serve for choosing alone. Pages, drawings,
screenshots, gradients, sprites and pictures of dots are drawn here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from irae.imaging.drawing import draw_page
from irae.imaging.io.files import read_picture
from irae.runtime import generator

SIDE = 256
"""Side of the pictures in pixels, at most."""

DRAWN = ("cartoon", "text", "screenshot", "gradient")
"""Kinds of pictures besides photographs."""

DOTTED = ("sprites", "dithered", "halftone")
"""Kinds of pictures whose pixels look like noise and are not; the last two are photographs."""


@dataclass(frozen=True)
class Original:
    """A clean picture.

    Attributes:
        name: its name, unique.
        kind: ``photograph``, ``halved`` (a photograph at half size) or one of `DRAWN` and `DOTTED`.
        pixels: float32 ``3 H W`` in [0, 1], of 8 bits.
    """

    name: str
    kind: str
    pixels: Tensor


def eight_bits(pixels: Tensor) -> Tensor:
    """Round to the levels of an 8-bit file."""
    return (pixels.clamp(0, 1) * 255).round() / 255


def photographs(data: Path, every: int = 1) -> Iterator[Original]:
    """Photographs of ``photos_val``, by turns a part at full size and the whole at half size."""
    for index, path in enumerate(sorted((data / "photos_val").glob("*.jpg"))[::every]):
        pixels = read_picture(path).pixels
        if index % 2:
            half = F.interpolate(pixels[None], scale_factor=0.5, mode="area")[0]
            yield Original(path.stem, "halved", eight_bits(half))
        else:
            yield Original(path.stem, "photograph", pixels[:, 35 : 35 + SIDE, 83 : 83 + SIDE])


def drawings(kind: str, count: int, side: int = SIDE, *, first: int = 0) -> Iterator[Original]:
    """Drawn pictures of one of `DRAWN`, with the seeds from ``first``."""
    for seed in range(first, first + count):
        chance = random.Random(f"{kind} {seed}")
        if kind == "screenshot":
            pixels = _screenshot(side, chance)
        elif kind == "gradient":
            pixels = _gradient(side, chance)
        else:
            pixels = _page(side, chance, text=kind == "text")
        yield Original(f"{kind} {seed}", kind, pixels)


def _page(side: int, chance: random.Random, *, text: bool) -> Tensor:
    """A page of text has few pixels between paper and ink; a drawing has several colours."""
    while True:
        page = draw_page(side, chance.randrange(2**31))
        colours = len(torch.unique((page * 255).flatten(1).T.long(), dim=0))
        edges = float(((page[:, :, 1:] - page[:, :, :-1]).abs().amax(0) > 0.1).float().mean())
        if text == (edges > 0.1) and colours > 1:
            return page


def _gradient(side: int, chance: random.Random) -> Tensor:
    across = torch.linspace(0, 1, side)
    along = across[:, None] * chance.uniform(-1, 1) + across[None] * chance.uniform(-1, 1)
    along = (along - along.min()) / (along.max() - along.min())
    ends = torch.tensor([[chance.uniform(0, 1) for _ in range(3)] for _ in range(2)])[
        :, :, None, None
    ]
    return eight_bits(ends[0] + (ends[1] - ends[0]) * along)


def _screenshot(side: int, chance: random.Random) -> Tensor:
    dark = chance.random() < 0.4
    back, paper, ink = (30, 45, 225) if dark else (225, 250, 30)
    image = Image.new("RGB", (side, side), (back,) * 3)
    draw = ImageDraw.Draw(image)
    accent = tuple(chance.randint(30, 220) for _ in range(3))
    draw.rectangle((0, 0, side, 22), fill=accent)
    for x in range(6, side, 40):
        draw.text((x, 5), chance.choice(("File", "Edit", "View", "Help", "Tools")), fill=(255,) * 3)
    draw.rectangle((60, 30, side - 8, side - 20), fill=(paper,) * 3, outline=(128,) * 3)
    for row in range(38, side - 34, 16):
        words = " ".join(
            chance.choice(("noise", "picture", "one", "the", "of", "is 42", "file"))
            for _ in range(6)
        )
        draw.text((66, row), words, fill=(ink,) * 3, font=ImageFont.load_default(11))
    for row in range(36, side - 30, 28):
        fill = tuple(chance.randint(0, 255) for _ in range(3))
        draw.rounded_rectangle((12, row, 46, row + 20), 4, fill=fill)
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def dotted(data: Path, count: int) -> Iterator[Original]:
    """Pictures of `DOTTED`: dots of the last ``count`` photographs, and twice as many sprites."""
    for seed in range(2 * count):
        yield Original(f"sprites {seed}", "sprites", _sprites(random.Random(f"sprites {seed}")))
    for path in sorted((data / "photos_val").glob("*.jpg"))[-count:]:
        pixels = read_picture(path).pixels[:, :SIDE, :SIDE]
        yield Original(f"{path.stem} dithered", "dithered", _dithered(pixels))
        yield Original(f"{path.stem} halftone", "halftone", _halftone(pixels))


def _sprites(chance: random.Random) -> Tensor:
    """Symmetric figures with an outline, shades and patterns, each pixel a square."""
    zoom = chance.choice((1, 2, 3, 4))
    side = -(-SIDE // zoom)
    random_ = generator(chance.randrange(2**31))
    colours = torch.randint(0, 256, (6, 3), generator=random_)
    places = torch.zeros(side, side, dtype=torch.long)
    for top in range(1, side - 17, 18):
        for left in range(1, side - 17, 18):
            coarse = torch.rand(1, 2, 5, 3, generator=random_)
            field = F.interpolate(coarse, size=(16, 8), mode="bicubic")[0]
            body, shade = field[0] > 0.5, 2 + (field[1] * 3).long().clamp(0, 2)
            hatched = (torch.arange(16)[:, None] + torch.arange(8)) % 2 == 0
            figure = torch.where(body, torch.where(hatched & (shade == 4), 5, shade), 0)
            rim = F.max_pool2d(body.float()[None], 3, 1, 1)[0].bool() & ~body
            half = torch.where(rim, 1, figure)
            places[top : top + 16, left : left + 16] = torch.cat([half, half.flip(1)], 1)
    picture = colours[places].permute(2, 0, 1).float() / 255
    return picture.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)[:, :SIDE, :SIDE]


def _dithered(pixels: Tensor) -> Tensor:
    """The picture in black and white dots, stored as 8 bits."""
    levels = (pixels * 255).round().byte().permute(1, 2, 0).numpy()
    dots = np.array(Image.fromarray(levels).convert("1").convert("RGB"))
    return torch.from_numpy(dots).permute(2, 0, 1).float() / 255


def _halftone(pixels: Tensor) -> Tensor:
    """The picture through a screen, as printed and scanned: soft dots, larger where it is dark."""
    height, width = pixels.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    screen = torch.cos(x * 1.2 + y * 0.4) + torch.cos(x * 0.4 - y * 1.2)
    return eight_bits(torch.sigmoid(6 * (pixels.mean(0) * 4 - 2 - screen)).expand(3, -1, -1))
