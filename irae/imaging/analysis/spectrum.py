"""The spectra of a picture's patches, from quiet to lively ones: features that tell its damage.

Noise is everywhere, texture is not: so the patches are ordered by their power, and what the quiet
ones, the middle ones and the lively ones have in each frequency tells both apart. A network of few
units reads the level of the noise, its correlation and the quality of a JPEG from these numbers
(`irae.imaging.analysis.damage`).
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.analysis.dct import BLOCK, cut_patches, dct_matrix, frequency_sums
from irae.imaging.analysis.noise import spread_tiles
from irae.imaging.metrics import LUMA

PATCHES = 1200
"""Largest number of patches used in each plane at each scale, approximately."""

SHARES = (0.01, 0.2, 0.8)
"""Places in the order of the patches, as shares, around which their spectra are averaged."""

SCALES = (1, 2)
"""Sides of the squares whose means are taken before: full size and half."""

FREQUENCIES = 14
"""Number of sums of row and column frequency above 0."""

FEATURES = 3 * len(SCALES) * len(SHARES) * FREQUENCIES + 6
"""Number of features of a picture."""

LEAST_PATCHES = 40
"""A picture of fewer patches at full size is too small."""

# Patches are ordered by the mean power of these sums of frequencies, from 1.
_ORDERED_BY = 7

# Share of the patches whose spectra are averaged at one place of their order; the least number.
_AROUND, _LEAST_AROUND = 0.02, 8

# In 8-bit levels; patches with more than this share of pixels at black or white are left out, if
# this share of all is left. Otherwise, as on the paper of a page, the quiet parts are those.
_AT_LIMIT, _CLIPPED = 0.5, 0.05
_LEAST_FREE = 0.4

# Added to a power before its logarithm is taken; a fourth of what rounding to 8 bits adds.
_FLOOR = 0.02

_BLUE, _RED = 0.56, 0.71  # Cb and Cr of ITU-R BT.601, in shares of blue and red less luma.


def spectral_features(pixels: Tensor, visible: Tensor | None = None) -> Tensor | None:
    """Compute the features of a picture.

    Args:
        pixels: ``C H W`` in [0, 1], C 1 or 3. Of large pictures, evenly spread tiles count.
        visible: bool ``1 H W``, False for transparent pixels; patches with such a pixel are left
            out.

    Returns:
        float32 of length `FEATURES`; None for a picture that is too small.
    """
    levels = 255 * spread_tiles(pixels.float()).expand(3, -1, -1)
    hidden = None if visible is None else (~spread_tiles(visible)).float()
    luma = (levels * levels.new_tensor(LUMA)[:, None, None]).sum(0)
    found: list[Tensor] = []
    for plane in (luma, _BLUE * (levels[2] - luma), _RED * (levels[0] - luma)):
        for scale in SCALES:
            parts = [plane, luma] if hidden is None else [plane, luma, hidden[0]]
            spectra = _spectra(*(_reduced(part, scale) for part in parts))
            if spectra is None:
                return None
            found += _by_share(spectra)
    return torch.cat([*found, _steps(luma)])


def _reduced(plane: Tensor, scale: int) -> Tensor:
    return plane if scale == 1 else F.avg_pool2d(plane[None, None], scale)[0, 0]


def _spectra(plane: Tensor, luma: Tensor, hidden: Tensor | None = None) -> Tensor | None:
    """Mean power of patches by sum of frequencies, ``N FREQUENCIES``; None for few patches."""
    if min(plane.shape) < BLOCK:
        return None
    stride = max(1, math.isqrt(plane.numel() // PATCHES))
    patches, brightness = cut_patches(plane, stride), cut_patches(luma, stride)
    if hidden is not None:
        seen = cut_patches(hidden, stride).amax(1) == 0
        patches, brightness = patches[seen], brightness[seen]
    if len(patches) < LEAST_PATCHES:
        return None
    ends = (brightness <= _AT_LIMIT) | (brightness >= 255 - _AT_LIMIT)
    free = ends.float().mean(1) < _CLIPPED
    if int(free.sum()) > max(LEAST_PATCHES, _LEAST_FREE * len(patches)):
        patches = patches[free]
    return (patches @ dct_matrix().T).square() @ _groups()


@cache
def _groups() -> Tensor:
    """Return the matrix ``64 FREQUENCIES`` that averages powers by their sum of frequencies."""
    inside = frequency_sums()[:, None] == torch.arange(1, FREQUENCIES + 1)
    return inside.float() / inside.sum(0)


def _by_share(spectra: Tensor) -> list[Tensor]:
    """Logarithms of the mean spectra around each of `SHARES` in the order of the patches."""
    count = len(spectra)
    ordered = spectra[spectra[:, :_ORDERED_BY].sum(1).argsort()]
    around = max(_LEAST_AROUND, int(_AROUND * count))
    found = []
    for share in SHARES:
        last = max(_LEAST_AROUND, int(share * count))
        found.append((ordered[max(0, last - around) : last].mean(0) + _FLOOR).log())
    return found


def _steps(luma: Tensor) -> Tensor:
    """Shares of equal neighbours and of black and white, and how the edges of blocks stand out."""
    across, down = ((luma.diff(dim=axis)).abs() for axis in (1, 0))
    equal = [(across < level).float().mean() for level in (0.5, 1.5)]
    limits = [(end <= _AT_LIMIT).float().mean() for end in (luma, 255 - luma)]
    return torch.stack([*equal, *limits, _blocks(across.mean(0)), _blocks(down.mean(1))])


def _blocks(steps: Tensor) -> Tensor:
    """Logarithm of the mean step at the strongest of the eight places, over that of all."""
    phases = [steps[start::BLOCK].mean() for start in range(min(BLOCK, len(steps)))]
    return (torch.stack(phases).amax() / (steps.mean() + 1e-3) + 1e-3).log()
