"""The kinds of found damage, told by the shape and the colour of each connected region."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

LINES, SPECKS, STAINS, STAMP = "scratches and hairs", "dust and specks", "stains", "a stamp"

_LONG = 7.0
"""Least ratio of the length of a line to its thickness; that of a disc is 3."""

_STAIN = 5e-4
"""Least share of the picture of a region that is no speck any more."""

_COLOURFUL = 0.35
"""Least difference between the channels of a stamp's colour, which is mostly orange or red."""


def shares_by_kind(mask: NDArray[Any], pixels: Tensor) -> dict[str, float]:
    """Return the share of the picture by kind of damage, the largest first.

    Args:
        mask: bool ``H W``, True where the picture is damaged.
        pixels: the damaged picture, ``C H W`` in [0, 1].
    """
    numbers, count = ndimage.label(mask, structure=[[1, 1, 1]] * 3)
    marked = numbers[mask]
    areas = np.bincount(marked, minlength=count + 1)[1:]
    # Of a long line, half of the rim is its length; of thin lines all pixels are rim.
    rim = mask & ~ndimage.binary_erosion(mask)
    rims = np.bincount(numbers[rim], minlength=count + 1)[1:]
    length = rims / 2
    long = length * length >= _LONG * areas
    coloured = _colourfulness(mask, marked, count, pixels) >= _COLOURFUL
    kinds = {
        STAMP: coloured,
        LINES: long & ~coloured,
        STAINS: ~long & ~coloured & (areas >= _STAIN * mask.size),
        SPECKS: ~long & ~coloured & (areas < _STAIN * mask.size),
    }
    shares = {kind: float(areas[chosen].sum() / mask.size) for kind, chosen in kinds.items()}
    found = {kind: share for kind, share in shares.items() if share}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _colourfulness(
    mask: NDArray[Any], marked: NDArray[Any], count: int, pixels: Tensor
) -> NDArray[Any]:
    """Return the largest difference between the channels of each region's mean colour."""
    if pixels.shape[0] < 3:
        return np.zeros(count)
    sums = [
        np.bincount(marked, weights=plane[mask], minlength=count + 1)[1:]
        for plane in pixels[:3].numpy()
    ]
    sizes = np.bincount(marked, minlength=count + 1)[1:]
    means = np.stack(sums) / sizes
    found: NDArray[Any] = means.max(0) - means.min(0)
    return found
