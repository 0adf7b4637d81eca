"""Boxes around the holes of a picture, so that work depends on the holes, not on the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_BLOCK = 8  # Least side in pixels of the blocks of which boxes consist.
_LEAST = 64  # Boxes up to this side are not split further.
_OVERHEAD = 8192
"""Pixels that take as long as the start of work on one more crop does."""

Array = np.ndarray[tuple[int, int], np.dtype[np.int64]]


@dataclass(frozen=True)
class Box:
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right`` of a picture."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def part(self) -> tuple[slice, slice, slice]:
        """The index of the box in a picture ``C H W``."""
        return slice(None), slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return (self.bottom - self.top) * (self.right - self.left)

    def grown(self, margin: int, height: int, width: int) -> Box:
        """Return the box with a margin, inside a picture of this size."""
        return Box(
            max(0, self.top - margin),
            max(0, self.left - margin),
            min(height, self.bottom + margin),
            min(width, self.right + margin),
        )


def cover_holes(mask: Tensor, margin: int, longest: int, multiple: int = 1) -> list[Box]:
    """Cover the holes with disjoint boxes whose crops, the boxes and their margins, are few pixels.

    Boxes are halved until their sides are short, and are joined again where the crop of the whole
    is smaller than the crops of its parts. So a scratch gets a chain of narrow boxes, and dense
    dust gets large ones.

    Args:
        mask: bool ``1 H W``, True in the holes.
        margin: number of pixels around a box that its crop includes, a multiple of ``multiple``.
        longest: largest side of a crop, at least three times the margin and once the multiple.
        multiple: divisor of the boxes' positions.

    Returns:
        The boxes from top to bottom; none if there is no hole.
    """
    height, width = mask.shape[-2:]
    room = max(longest // multiple * multiple - 2 * margin, multiple)
    block = multiple * -(-_BLOCK // multiple)
    block = block if block <= room else multiple
    blocks = F.max_pool2d(_padded(mask, block), block)[0, 0] > 0
    places = np.stack(np.nonzero(blocks.numpy()), axis=1)
    if not len(places):
        return []
    _, found = _best(places, margin / block, room // block, _OVERHEAD / block**2)
    return [
        Box(block * y, block * x, min(height, block * v), min(width, block * u))
        for y, x, v, u in sorted(found)
    ]


def _padded(mask: Tensor, block: int) -> Tensor:
    height, width = mask.shape[-2:]
    # Half precision holds 0 and 1, in a quarter of the memory.
    hole = mask[None].cpu().to(torch.float16)
    return F.pad(hole, (0, -width % block, 0, -height % block))


def _best(
    places: Array, margin: float, room: int, overhead: float
) -> tuple[float, list[tuple[int, int, int, int]]]:
    """Return the cost of the best boxes around the blocks ``N 2``, and these boxes."""
    (top, left), (bottom, right) = places.min(0).tolist(), (places.max(0) + 1).tolist()
    height, width = bottom - top, right - left
    cost = (height + 2 * margin) * (width + 2 * margin) + overhead
    here = (cost, [(top, left, bottom, right)])
    longer = max(height, width)
    if longer <= max(1, min(room, _LEAST // _BLOCK)):
        return here
    axis, start = (0, top) if height >= width else (1, left)
    first = places[:, axis] < start + longer // 2
    parts = [_best(places[half], margin, room, overhead) for half in (first, ~first)]
    total = parts[0][0] + parts[1][0]
    if total < cost or longer > room:
        return total, parts[0][1] + parts[1][1]
    return here
