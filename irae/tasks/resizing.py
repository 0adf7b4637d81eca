"""Pictures that were made smaller or larger after they were damaged, as web sites do.

Noise and the marks of JPEG then look otherwise: they are coarser in enlarged pictures, and the
blocks of a JPEG are of no fixed size. Most of the results are saved as JPEG again.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.jpeg import compress_together, frame_pictures
from irae.tasks.batch_random import RandomColumns

# The smallest and the largest size, as factors; reducing is as frequent as enlarging.
_SIZES = (0.45, 2.0)

# Probability that what was a JPEG is saved as JPEG again, and the least and largest quality.
_SAVED, _QUALITY = 0.6, (70, 97)

_BLOCKS = 16  # The blocks of a JPEG 4:2:0 begin at any of so many rows and columns.


class Resizing:
    """Random changes of size of some patches of a batch.

    Args:
        share: share of the patches that are resized.
        random: random columns of ``B`` samples, in host memory.
    """

    def __init__(self, share: float, random: RandomColumns) -> None:
        self._chosen = random.bernoulli(share)
        low, high = (math.log(size) for size in _SIZES)
        self._size = torch.where(
            random.bernoulli(0.5), random.uniform(low, 0), random.uniform(0, high)
        ).exp()
        self._bicubic = random.bernoulli(0.6)
        self._down, self._right = random.uniform(), random.uniform()
        self._saved = random.bernoulli(_SAVED)
        self._quality = random.integer(*_QUALITY)
        self._subsampled = random.bernoulli(0.8)
        self._offset = [random.integer(0, _BLOCKS - 1) for _ in range(2)]

    def apply(self, clean: Tensor, degraded: Tensor, compressed: Tensor, quality: Tensor) -> Tensor:
        """Resize the chosen patches, ``B 3 H H`` in [0, 1], in place.

        Smaller patches are continued by reflection, of larger ones a part is kept.

        Args:
            clean, degraded: the patches before and after their damage.
            compressed: bool ``B`` in host memory; only these may be saved again.
            quality: JPEG quality ``B`` in host memory.

        Returns:
            The quality after saving again.
        """
        for row in self._chosen.nonzero()[:, 0].tolist():
            pair = torch.stack([clean[row], degraded[row]])
            clean[row], degraded[row] = self._resize(pair, row)
        again = self._chosen & self._saved & compressed
        index = again.nonzero()[:, 0]
        if len(index):
            there = index.to(degraded.device)
            top, left = (each[index].clamp(max=degraded.shape[2] - 1) for each in self._offset)
            framing = frame_pictures(degraded.shape[2], degraded.shape[3], top, left)
            saved = compress_together(
                degraded.index_select(0, there),
                self._quality[index],
                self._subsampled[index],
                framing,
            )
            degraded.index_copy_(0, there, saved.to(degraded))
        return torch.where(again, self._quality.to(quality), quality)

    def _resize(self, pictures: Tensor, row: int) -> Tensor:
        side, size = pictures.shape[-1], float(self._size[row])
        if size > 1:
            part = max(2, round(side / size))
            places = (float(self._down[row]), float(self._right[row]))
            top, left = (int(place * (side - part)) for place in places)
            pictures = pictures[:, :, top : top + part, left : left + part]
            length = side
        else:
            length = max(2, round(side * size))
        mode = "bicubic" if self._bicubic[row] else "bilinear"
        made = F.interpolate(pictures, size=(length, length), mode=mode, antialias=True)
        made = (made.clamp(0, 1) * 255).round() / 255
        if length == side:
            return made
        along = torch.arange(side) % (2 * length)
        along = torch.where(along < length, along, 2 * length - 1 - along).to(made.device)
        return made[:, :, along][:, :, :, along]
