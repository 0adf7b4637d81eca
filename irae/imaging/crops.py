"""Square crops of many pictures in one gather, with rotations and reflections."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from irae.runtime import upload


@dataclass(frozen=True)
class Crops:
    """Square crops, one per sample; each tensor is int64 ``B``.

    Attributes:
        pictures: numbers of the pictures in their container.
        top, left: upper left corner in pixels.
        symmetry: which of the eight symmetries of the square to apply, 0 to 7.
    """

    pictures: Tensor
    top: Tensor
    left: Tensor
    symmetry: Tensor

    def rows(self, index: Tensor) -> Crops:
        """Select the crops of some samples."""
        parts = (self.pictures, self.top, self.left, self.symmetry)
        return Crops(*(part[index] for part in parts))


class PixelBuffer:
    """A buffer of the pixels of many pictures, uint8 ``N C``, which grows as they are added.

    Args:
        room: largest size in bytes; while it grows, the old buffer exists as well.
        device: device of the buffer.
        channels: number of channels C.
    """

    def __init__(self, room: int, device: torch.device, channels: int = 3) -> None:
        self._room = room // channels
        self._used = 0
        self._pixels = torch.empty(0, channels, dtype=torch.uint8, device=device)

    @property
    def device(self) -> torch.device:
        """The device of the buffer."""
        return self._pixels.device

    def add(self, picture: Tensor) -> int | None:
        """Add ``C H W``; return the number of its first pixel, or None if there is no room."""
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
        """Look up pixels by number: ``…`` int64 to ``… C``."""
        found = self._pixels.index_select(0, index.flatten())
        return found.view(*index.shape, self._pixels.shape[1])

    def cut(self, start: Tensor, width: Tensor, crops: Crops, side: int) -> Tensor:
        """Cut crops of ``side`` pixels, with their symmetries applied: uint8 ``B side side C``.

        Args:
            start: number of the first pixel of each crop's picture, int64 ``B`` on the host.
            width: width of each crop's picture, ``B``.
            crops: ``B`` crops on the host; ``pictures`` is ignored.
            side: side of the crops in pixels.
        """
        if self.device.type == "cpu":
            return self._cut_here(start, width, crops, side)
        table = torch.stack([start, width, crops.top, crops.left, crops.symmetry])
        start, width, top, left, symmetry = upload(table, self.device)
        along = torch.arange(side, device=self.device)[None]
        there = Crops(start, top, left, symmetry)
        return self.gather(pixel_index(start, width, there, along, along))

    def _cut_here(self, start: Tensor, width: Tensor, crops: Crops, side: int) -> Tensor:
        # The pixels of a crop's row lie together, and are copied at once.
        channels = self._pixels.shape[1]
        run = side * channels
        rows = torch.arange(side)[None]
        upside = (crops.symmetry >> 1 & 1 == 1)[:, None]
        rows = torch.where(upside, rows.flip(1), rows) + crops.top[:, None]
        first = channels * (start[:, None] + rows * width[:, None] + crops.left[:, None])
        runs = self._pixels.view(-1).as_strided((self._pixels.numel() - run + 1, run), (1, 1))
        cut = runs.index_select(0, first.flatten()).view(-1, side, side, channels)
        turned, mirrored = crops.symmetry & 1 == 1, crops.symmetry >> 2 & 1 == 1
        for transpose, flip in ((False, True), (True, False), (True, True)):
            chosen = ((turned == transpose) & (mirrored == flip)).nonzero()[:, 0]
            # Seen as a picture, since of one in channels-last order whole pixels are moved.
            part = cut.index_select(0, chosen).permute(0, 3, 1, 2)
            part = (part.flip(3) if flip else part).permute(0, 2, 3, 1)
            part = part.transpose(1, 2).contiguous() if transpose else part
            cut.index_copy_(0, chosen, part)
        return cut


def halve(x: Tensor) -> Tensor:
    """Average squares of 2×2 pixels of ``B C H W``, H and W even.

    The result is that of `torch.nn.functional.avg_pool2d`, which is three times slower on a CPU for
    pictures in channels-last order.
    """
    total = x[..., ::2, ::2] + x[..., ::2, 1::2]
    return total.add_(x[..., 1::2, ::2]).add_(x[..., 1::2, 1::2]).mul_(0.25)


def pixel_index(
    start: Tensor, width: Tensor, crops: Crops, rows: Tensor, columns: Tensor
) -> Tensor:
    """Compute the numbers of the pixels of crops, ``B side side``, with their symmetries applied.

    Args:
        start: number of the first pixel of each crop's picture, ``B``.
        width: width of each crop's picture, ``B``.
        crops: ``B`` crops; ``pictures`` is ignored.
        rows: offsets of the crop's rows from its top, ``1 side`` or ``B side``.
        columns: offsets of the crop's columns from its left, ``1 side`` or ``B side``.
    """
    turned, upside, mirrored = (crops.symmetry >> bit & 1 == 1 for bit in range(3))
    rows = torch.where(upside[:, None], rows.flip(1), rows) + crops.top[:, None]
    columns = torch.where(mirrored[:, None], columns.flip(1), columns) + crops.left[:, None]
    rows = start[:, None] + rows * width[:, None]
    # In a transposed crop the first axis of the result runs along the picture's columns.
    first = torch.where(turned[:, None], columns, rows)
    second = torch.where(turned[:, None], rows, columns)
    return first[:, :, None] + second[:, None, :]
