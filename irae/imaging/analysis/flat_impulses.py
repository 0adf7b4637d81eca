"""Salt and pepper in areas of one colour: on the paper of pages, in drawings and screenshots.

On a page most values are black or white already, so that impulses cannot be told by their values.
They can be told by where they are. In an area of one colour, impulses fall independently of each
other (a Poisson process); dots of letters, dotted lines, dithers and halftones do not. So the
number of impulses at each small distance from another one is tested, and how evenly they are spread
over blocks, rows and columns (the index of dispersion).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_WINDOW = 7
"""Side of the window around a value that must have one colour, but for impulses."""

_MAJORITY = 0.6
"""Least share of that colour in the window."""

_LINE = 4
"""Number of black or white values in a row that are a line and no impulses."""

_NEAR = _WINDOW // 2 + _LINE
"""Number of rows and columns around the beginning of a line that are near it."""

REACH = _NEAR + _LINE + _WINDOW // 2
"""Number of rows and columns around a value on which its mark depends."""

_LEAST_AREA = 1000
_LEAST_RATE, _MOST_RATE = 0.001, 0.3

# Least number of pairs of impulses, two to `_FAR` apart, by which chance is told from order.
_FAR, _LEAST_PAIRS = 4, 20

# Sides of the areas over which impulses are spread evenly; None is the whole side.
_AREAS: tuple[tuple[int | None, int | None], ...] = ((32, 32), (4, None), (None, 4))

# What is counted may differ from what is expected by so many standard deviations, and by this
# share besides, because the windows are chosen by their content.
_DEVIATIONS, _PAIRS_SHARE, _SPREAD_SHARE, _KINDS_SHARE = 3.0, 0.25, 0.2, 0.2


class FlatImpulses(NamedTuple):
    """What may be impulses in areas of one colour.

    Attributes:
        area: bool ``H W``, the areas without what is near lines.
        gray: bool ``H W``, those of them whose colour is neither black nor white.
        found: bool ``H W``, the black and white values of another colour in the areas.
    """

    area: Tensor
    gray: Tensor
    found: Tensor


def flat_impulses(plane: Tensor) -> FlatImpulses:
    """Find black and white values ``H W``, float32 in [0, 1], in areas of another colour."""
    black, white = plane <= 0, plane >= 1
    extreme = black | white
    highest = _pool(torch.where(extreme, -1.0, plane))
    lowest = -_pool(torch.where(extreme, -2.0, -plane))
    dark, light = _share(black), _share(white)
    of_gray = (highest == lowest) & (dark + light <= 1 - _MAJORITY)
    of_white = (highest < 0) & (light >= _MAJORITY)
    of_black = (highest < 0) & (dark >= _MAJORITY)
    other = (extreme & ~of_white & ~of_black) | (black & of_white) | (white & of_black)
    area = (of_gray | of_white | of_black) & ~_near_lines(other)
    return FlatImpulses(area, area & of_gray, area & other)


def are_random(plane: Tensor, flat: FlatImpulses) -> bool:
    """Whether values ``H W`` are black and white independently of each other, and often enough."""
    area, _, found = flat
    size, count = int(area.sum()), int(found.sum())
    if size < _LEAST_AREA or not _LEAST_RATE <= count / size <= _MOST_RATE:
        return False
    if not _of_both_kinds(plane[flat.gray & found]):
        return False
    rate = count / size
    near, far = _pairs(area, found, 1, 1), _pairs(area, found, 2, _FAR)
    if far[1] * rate**2 < _LEAST_PAIRS:
        return False
    for pairs, places in (near, far):
        expected = places * rate**2
        allowed = _DEVIATIONS * math.sqrt(expected) + _PAIRS_SHARE * expected
        if abs(pairs - expected) > allowed:
            return False
    return all(_evenly_spread(area, found, rate, *sides) for sides in _AREAS)


def _of_both_kinds(values: Tensor) -> bool:
    """Whether impulses on gray are black and white alike; in a dither, they are of one kind."""
    white, count = int((values >= 1).sum()), len(values)
    allowed = _DEVIATIONS * math.sqrt(count) / 2 + _KINDS_SHARE * count
    return abs(white - count / 2) <= allowed


def isolated(plane: Tensor) -> Tensor:
    """Mark black and white values ``H W`` of which at most one neighbour is on their side of gray.

    Such values are hardly ever parts of letters and lines.
    """
    same = _neighbours((plane < 0.5).float())
    return ((plane <= 0) & (same < 1.5)) | ((plane >= 1) & (same > 6.5))


def _near_lines(marked: Tensor) -> Tensor:
    """Mark what is near `_LINE` marked values in a row, along an axis or a diagonal."""
    height, width = marked.shape
    span = _LINE - 1
    padded = F.pad(marked, (span, span, 0, span))
    lines = torch.zeros_like(marked)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shifted = [
            padded[down * step :, span + right * step :][:height, :width] for step in range(_LINE)
        ]
        lines |= torch.stack(shifted).all(0)
    return _pool(lines.float(), 2 * _NEAR + 1) > 0


def _pool(values: Tensor, side: int = _WINDOW) -> Tensor:
    """Return the largest of the values around each."""
    rows = F.max_pool2d(values[None, None], (1, side), 1, (0, side // 2))
    return F.max_pool2d(rows, (side, 1), 1, (side // 2, 0))[0, 0]


def _share(marked: Tensor) -> Tensor:
    """Return the share of marked values around each."""
    options = {"count_include_pad": False}
    half = _WINDOW // 2
    rows = F.avg_pool2d(marked[None, None].float(), (1, _WINDOW), 1, (0, half), **options)
    return F.avg_pool2d(rows, (_WINDOW, 1), 1, (half, 0), **options)[0, 0]


def _neighbours(values: Tensor) -> Tensor:
    """Return the sum of the eight values around each."""
    padded = F.pad(values[None, None], (1, 1, 1, 1), mode="reflect")
    return 9 * F.avg_pool2d(padded, 3, 1)[0, 0] - values


def _pairs(area: Tensor, found: Tensor, least: int, most: int) -> tuple[int, int]:
    """Count the pairs of found values at distances, and the pairs of places in the area."""
    height, width = area.shape
    pairs = places = 0
    for down in range(most + 1):
        for right in range(-most, most + 1):
            if not least <= max(down, abs(right)) <= most or (down == 0 and right < 0):
                continue
            one = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
            two = (slice(down, height), slice(max(0, right), width + min(0, right)))
            places += int((area[one] & area[two]).sum())
            pairs += int((found[one] & found[two]).sum())
    return pairs, places


def _evenly_spread(
    area: Tensor, found: Tensor, rate: float, height: int | None, width: int | None
) -> bool:
    """Whether the numbers of found values in blocks vary as those of independent ones do."""
    sides = [
        whole if side is None else min(side, whole)
        for side, whole in zip((height, width), area.shape, strict=True)
    ]
    places, numbers = (
        F.avg_pool2d(each[None].double(), tuple(sides)).flatten() * math.prod(sides)
        for each in (area, found)
    )
    counted = places * rate >= 1
    blocks = int(counted.sum())
    if blocks < 2:
        return False
    expected = places[counted] * rate
    off = (numbers[counted] - expected).square() / (expected * (1 - rate))
    deviation = math.sqrt((2 + 1 / float(expected.mean())) / blocks)
    allowed = _DEVIATIONS * deviation + _SPREAD_SHARE
    return abs(float(off.mean()) - 1) <= allowed
