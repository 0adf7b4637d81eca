"""Salt and pepper: single values at black or white, whatever their neighbours are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.analysis.flat_impulses import REACH, are_random, flat_impulses, isolated
from irae.imaging.hole_filling import fill_holes

_LEAST_SHARE, _MOST_SHARE = 0.002, 0.5

# Least share of values that equal the next one in a picture with areas of one colour.
_LEAST_FLAT = 0.05

# The middle of a large picture decides whether there are any; they are then marked in strips of so
# many rows, at a bounded cost of memory.
_SIDE, _ROWS = 1024, 256

# An impulse differs from the median of the values around it by at least this many levels.
_JUMP = 24 / 255

# Impulses fall anywhere: a neighbour of one is another with the probability of any value, up to
# this factor and this excess. In letters, lines and dots it is far more likely, in regular dots
# less.
_FACTOR, _EXCESS = 1.6, 0.04
_LEAST_FACTOR = 0.5

# There are letters if black or white is so many times as frequent as black or white impulses are.
_LETTERS = 1.2

# Impulses stand out: half of them jump by more than this factor times what 19 of 20 other values
# differ from those around them. Clipped Gaussian noise and pages of text do not reach 1.2, grass
# with impulses reaches 2.
_OUTSTANDING = 1.5


def find_impulses(pixels: Tensor) -> Tensor | None:
    """Find the impulses in a picture.

    Args:
        pixels: float32 ``C H W`` in [0, 1].

    Returns:
        bool ``C H W``, True at the impulses, in each channel by itself; None if there are none:
        less than 0.2 % of the values jump to black or white, or they form lines or dots, and they
        do not lie in areas of one colour by chance.
    """
    height, width = pixels.shape[1:]
    if min(height, width) < 16:
        return None
    top, left = (max(0, side - _SIDE) // 2 for side in (height, width))
    middle = pixels[:, top : top + _SIDE, left : left + _SIDE]
    on_paper = [_found_on_paper(plane) for plane in middle]
    if _has_impulses(middle) and not any(map(_has_letters, middle, on_paper)):
        return _in_strips(pixels, lambda strip: _jumps(strip)[0], 1)
    if on_paper == [None] * len(on_paper):
        return None
    spoilt = [shares is not None for shares in on_paper]
    return _in_strips(pixels, lambda strip: _mark_around_paper(strip, spoilt), REACH)


def _in_strips(pixels: Tensor, mark: Callable[[Tensor], Tensor], reach: int) -> Tensor:
    """Mark ``C H W`` in strips of rows; a mark depends on ``reach`` rows to either side."""
    strips = []
    for start in range(0, pixels.shape[1], _ROWS):
        above = min(start, reach)
        strip = pixels[:, start - above : start + _ROWS + reach]
        strips.append(mark(strip)[:, above : above + _ROWS])
    return torch.cat(strips, 1)


def _found_on_paper(plane: Tensor) -> tuple[float, float] | None:
    """Return the shares of black and of white impulses in areas of one colour, if there are any."""
    extreme = (plane <= 0) | (plane >= 1)
    # In a picture of two levels, dots are the content. A photograph has few values that equal the
    # next one.
    equal = (plane[:, 1:] == plane[:, :-1]).float().mean()
    if bool(extreme.all()) or float(extreme.float().mean()) < _LEAST_SHARE or equal < _LEAST_FLAT:
        return None
    flat_areas = flat_impulses(plane)
    if not are_random(plane, flat_areas):
        return None
    white = float(plane[flat_areas.found].mean())
    share = float(flat_areas.found.sum() / flat_areas.area.sum())
    return (1 - white) * share, white * share


def _has_letters(plane: Tensor, on_paper: tuple[float, float] | None) -> bool:
    """Whether there is more black or white than the impulses that were found on paper explain."""
    shares = [float(each.float().mean()) for each in (plane <= 0, plane >= 1)]
    pairs = zip(shares, on_paper or (), strict=False)
    return any(share > _LETTERS * found > 0 for share, found in pairs)


def _mark_around_paper(pixels: Tensor, spoilt: Sequence[bool]) -> Tensor:
    """Mark the impulses of those channels that have any."""
    marked = torch.zeros_like(pixels, dtype=torch.bool)
    for channel, plane in enumerate(pixels):
        if spoilt[channel]:
            marked[channel] = flat_impulses(plane).found | isolated(plane)
    return marked


def _has_impulses(pixels: Tensor) -> bool:
    extreme = (pixels <= 0) | (pixels >= 1)
    if not _LEAST_SHARE <= float(extreme.float().mean()) <= _MOST_SHARE:
        return False
    found, jump = _jumps(pixels)
    if not _is_random(found):
        return False
    usual = _sample(jump[~extreme]).quantile(0.95)
    return float(_sample(jump[found]).median()) >= _OUTSTANDING * float(usual)


def _jumps(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mark what jumps to black or white, and return how far each value jumps."""
    extreme = (pixels <= 0) | (pixels >= 1)
    jump = (pixels - _around(pixels, ~extreme)).abs()
    return extreme & (jump >= _JUMP), jump


def remove_impulses(pixels: Tensor) -> Tensor:
    """Fill the impulses of ``C H W`` smoothly from the values around them; see `find_impulses`."""
    found = find_impulses(pixels)
    if found is None:
        return pixels
    # Each channel is a picture by itself: its impulses are its own.
    return fill_holes(pixels[:, None], found[:, None])[:, 0]


def _around(pixels: Tensor, usable: Tensor) -> Tensor:
    """Return the median of the usable values around each; where there are none, of all."""
    padded = F.pad(pixels[None], (1, 1, 1, 1), mode="reflect")[0]
    allowed = F.pad(usable[None].float(), (1, 1, 1, 1), mode="reflect")[0] > 0
    shifts = [(y, x) for y in range(3) for x in range(3) if (y, x) != (1, 1)]
    height, width = pixels.shape[1:]
    values = torch.stack([padded[:, y : y + height, x : x + width] for y, x in shifts])
    known = torch.stack([allowed[:, y : y + height, x : x + width] for y, x in shifts])
    median = torch.where(known, values, torch.nan).nanmedian(0).values
    return torch.where(median.isnan(), values.median(0).values, median)


def _sample(values: Tensor) -> Tensor:
    """Return evenly spaced values, at most 100,000: a quantile of more is slow or impossible."""
    return values[:: len(values) // 100_000 + 1]


def _is_random(found: Tensor) -> bool:
    """Whether values are marked independently of their neighbours, and enough of them."""
    rate = float(found.float().mean())
    if rate < _LEAST_SHARE:
        return False
    down = (found[:, 1:] & found[:, :-1]).float().mean()
    right = (found[:, :, 1:] & found[:, :, :-1]).float().mean()
    beside = float(down + right) / 2 / rate
    return max(_LEAST_FACTOR * rate - _EXCESS, 0) <= beside <= _FACTOR * rate + _EXCESS
