"""Squares cut out of many pictures in one gather, turned and mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Crops:
    """Squares to cut out of pictures, one per sample; each tensor is int64 of that length.

    Attributes:
        pictures: numbers of the pictures, in whatever holds them.
        top, left: the corner in pixels.
        symmetry: 0 to 7, which of the eight symmetries of the square to apply.
    """

    pictures: Tensor
    top: Tensor
    left: Tensor
    symmetry: Tensor

    def rows(self, index: Tensor) -> Crops:
        """Those of some samples."""
        parts = (self.pictures, self.top, self.left, self.symmetry)
        return Crops(*(part[index] for part in parts))


class PixelBuffer:
    """Pictures of any size one after another, ``N C`` uint8; grows as they are added.

    Args:
        room: bytes it may grow to; while it grows, the old half is there besides.
        device: where it lies.
    """

    def __init__(self, room: int, device: torch.device, channels: int = 3) -> None:
        self._room = room // channels
        self._used = 0
        self._pixels = torch.empty(0, channels, dtype=torch.uint8, device=device)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self._pixels.device

    def add(self, picture: Tensor) -> int | None:
        """Keep ``C H W``; returns where its first pixel is, None if there is no room."""
        height, width = picture.shape[1:]
        start, end = self._used, self._used + height * width
        if end > self._room:
            return None
        if end > len(self._pixels):
            size = min(self._room, max(2 * len(self._pixels), end, 2**20))
            larger = self._pixels.new_empty(size, self._pixels.shape[1])
            larger[:start] = self._pixels[:start]
            self._pixels = larger
        self._pixels[start:end] = picture.permute(1, 2, 0).reshape(height * width, -1)
        self._used = end
        return start

    def gather(self, index: Tensor) -> Tensor:
        """Pixels by number: ``…`` int64 to ``… C``."""
        found = self._pixels.index_select(0, index.flatten())
        return found.view(*index.shape, self._pixels.shape[1])


def pixel_index(
    start: Tensor, width: Tensor, crops: Crops, rows: Tensor, columns: Tensor
) -> Tensor:
    """Numbers of the pixels of crops, ``B side side``, turned and mirrored.

    Args:
        start: where each crop's picture begins, ``B``.
        width: of each crop's picture, ``B``.
        crops: ``B`` crops; ``pictures`` is not looked at.
        rows: offsets of the crop's rows from its top, ``1 side`` or ``B side``.
        columns: offsets of its columns from its left, the same.
    """
    turned, upside, mirrored = (crops.symmetry >> bit & 1 == 1 for bit in range(3))
    rows = torch.where(upside[:, None], rows.flip(1), rows) + crops.top[:, None]
    columns = torch.where(mirrored[:, None], columns.flip(1), columns) + crops.left[:, None]
    rows = start[:, None] + rows * width[:, None]
    # The first axis of the result runs along the picture's columns where the crop is transposed.
    first = torch.where(turned[:, None], columns, rows)
    second = torch.where(turned[:, None], rows, columns)
    return first[:, :, None] + second[:, None, :]
