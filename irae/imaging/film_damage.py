"""Damage of old pictures, pasted onto clean ones: a picture, and where it is damaged.

Half of the shapes are drawn (`irae.imaging.thin_masks`), and half are overlays: pictures whose
alpha channel has the shape of real dust, hairs or scratches. A network that finds damage learns
from such pairs.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from irae.errors import DataError
from irae.imaging.blur import gaussian_blur
from irae.imaging.io.files import read_picture
from irae.imaging.io.find import find_pictures
from irae.imaging.thin_masks import draw_thin, random_of

VISIBLE = 10 / 255
"""Least change of a pixel's value that counts as damage."""

APART = 5
"""One overlay in this many of each kind is kept apart for measuring."""

_MOST_BLUR = 1.0  # Standard deviation in pixels.
_DRAWN = ("scratches", "hairs", "specks")
_STAMP_COLOURS = ((1.0, 0.55, 0.1), (1.0, 0.75, 0.2), (0.95, 0.25, 0.15), (1.0, 1.0, 1.0))


def find_overlays(folder: str | Path, *, apart: bool) -> list[Path]:
    """Find the overlays of damage in a folder.

    A kind of damage is what its files are called before a number, as in ``hair_0001.png``. Every
    fifth of a kind, from its first, is kept apart for measuring and never used for training.

    Args:
        folder: folder of the overlays, searched recursively.
        apart: return those that are kept apart, or else all others.

    Raises:
        DataError: there are none.
    """
    kinds: dict[str, list[Path]] = {}
    for path in sorted(find_pictures([str(folder)], recursive=True)):
        kinds.setdefault(re.sub(r"[\W_]*\d+$", "", path.stem), []).append(path)
    chosen = [
        path
        for paths in kinds.values()
        for number, path in enumerate(paths)
        if (number % APART == 0) == apart
    ]
    if not chosen:
        raise DataError(f"{folder}: has too few overlays of damage; {APART} of a kind are needed")
    return chosen


def read_overlays(folder: str | Path, *, apart: bool) -> list[Tensor]:
    """Read the overlays of a folder: pictures whose alpha channel has the shape of real damage.

    Args:
        folder: folder of the overlays, searched recursively.
        apart: return those that are kept apart, or else all others; see `find_overlays`.

    Returns:
        Shapes ``1 h w`` in [0, 1].

    Raises:
        DataError: there are no overlays, or one has no alpha channel.
        PictureError: an overlay cannot be read.
    """
    shapes = []
    for path in find_overlays(folder, apart=apart):
        alpha = read_picture(path).alpha
        if alpha is None:
            raise DataError(f"{path}: has no alpha channel, which is the shape of the damage")
        shapes.append(alpha)
    return shapes


def paste_damage(
    clean: Tensor, generator: Generator, overlays: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor]:
    """Damage a picture by one to four layers of dust, hairs, scratches, or a stamp.

    Args:
        clean: ``3 H W`` in [0, 1].
        generator: source of all randomness.
        overlays: shapes of damage, each ``1 h w`` in [0, 1]; all shapes are drawn if empty.

    Returns:
        The damaged picture ``3 H W``, and the mask bool ``1 H W`` of pixels that damage has changed
        by at least `VISIBLE`.
    """
    chance = random_of(generator)
    height, width = clean.shape[1:]
    damaged, mask = clean, torch.zeros(1, height, width, dtype=torch.bool)
    for _ in range(chance.choice((1, 1, 2, 3, 4))):
        stamp = chance.random() < 0.12
        if stamp:
            shape = _drawn(height, width, ("stamp",), chance)
        elif overlays and chance.random() < 0.5:
            shape = _turned(chance.choice(overlays), height, width, chance)
        else:
            shape = _drawn(height, width, chance.sample(_DRAWN, chance.randint(1, 2)), chance)
        if chance.random() < 0.5:
            sigma = torch.tensor([chance.uniform(0.3, _MOST_BLUR)])
            shape = gaussian_blur(shape[None], sigma, largest=_MOST_BLUR)[0]
        opacity = shape * chance.uniform(0.5, 1.0)
        layered = torch.lerp(damaged, _colour(stamp, chance), opacity)
        mask = mask | ((layered - damaged).abs().amax(0, keepdim=True) >= VISIBLE)
        damaged = layered
    return damaged, mask


def _drawn(height: int, width: int, kinds: Sequence[str], chance: random.Random) -> Tensor:
    """Return drawn damage, ``1 height width``: up to 2.5 times as large, as in a large scan."""
    scale = 2 ** max(0.0, chance.uniform(-1.0, 1.3))
    shape = draw_thin(math.ceil(height / scale), math.ceil(width / scale), kinds, chance)
    return F.interpolate(shape[None], (height, width), mode="bilinear")[0]


def _turned(shape: Tensor, height: int, width: int, chance: random.Random) -> Tensor:
    """Return an overlay at a random scale, turn and place, ``1 height width``."""
    scale = 2 ** chance.uniform(-1.3, 0.6)
    shape = F.interpolate(shape[None], scale_factor=scale, mode="bilinear", antialias=True)[0]
    shape = torch.rot90(shape, chance.randrange(4), (1, 2))
    if chance.random() < 0.5:
        shape = shape.flip(2)
    # Overlays repeat where they are smaller than the picture.
    rows, columns = -(-height // shape.shape[1]) + 1, -(-width // shape.shape[2]) + 1
    tiled = shape.repeat(1, rows, columns)
    top = chance.randint(0, tiled.shape[1] - height)
    left = chance.randint(0, tiled.shape[2] - width)
    return tiled[:, top : top + height, left : left + width]


def _colour(stamp: bool, chance: random.Random) -> Tensor:
    """Return the colour of damage, ``3 1 1``: bright or dark and nearly gray, or a stamp's."""
    colour: tuple[float, ...] = chance.choice(_STAMP_COLOURS)
    if not stamp:
        gray = chance.uniform(0.75, 1.0) if chance.random() < 0.55 else chance.uniform(0.0, 0.2)
        colour = tuple(min(1.0, max(0.0, gray + chance.gauss(0, 0.03))) for _ in range(3))
    return torch.tensor(colour).view(3, 1, 1)
