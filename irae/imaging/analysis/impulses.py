"""Salt and pepper: single values at black or white that have nothing to do with their neighbours."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.hole_filling import fill_holes

_LEAST_SHARE, _MOST_SHARE = 0.002, 0.5

# An impulse differs from the median of the values around it by at least this many levels.
_JUMP = 24 / 255

# Impulses fall anywhere: a neighbour of one is another with the probability of any value, up to
# this factor and this excess. In letters, lines and dots it is far more likely, in regular dots
# less.
_FACTOR, _EXCESS = 1.6, 0.04
_LEAST_FACTOR = 0.5

# Impulses stand out: half of them jump by more than this factor times what four of five other
# values differ from those around them. Strong Gaussian noise, clipped, does not reach 2.
_OUTSTANDING = 3.0


def find_impulses(pixels: Tensor) -> Tensor | None:
    """Find the impulses in a picture.

    Args:
        pixels: float32 ``C H W`` in [0, 1].

    Returns:
        bool ``C H W``, True at the impulses, in each channel by itself; None if there are none:
        less than 0.2 % of the values jump to black or white, or they form lines or dots.
    """
    channels, height, width = pixels.shape
    if min(height, width) < 16:
        return None
    extreme = (pixels <= 0) | (pixels >= 1)
    share = float(extreme.float().mean())
    if not _LEAST_SHARE <= share <= _MOST_SHARE:
        return None
    around = _around(pixels, ~extreme)
    jump = (pixels - around).abs()
    found = extreme & (jump >= _JUMP)
    if not bool(found.any()) or bool(extreme.all()):
        return None
    usual = _sample(jump[~extreme]).quantile(0.8)
    if float(_sample(jump[found]).median()) < _OUTSTANDING * float(usual):
        return None
    return found if _is_random(found) else None


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
