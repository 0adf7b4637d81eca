"""Decoded pictures kept on the device that trains, and crops of many of them in one gather."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.config import DataSection
from irae.data.folder import PictureSet
from irae.errors import DataError

# Of a GPU's free memory, what the pictures may take: the network's activations need the rest.
DEVICE_SHARE = 0.25


@dataclass(frozen=True)
class Crops:
    """Squares to cut out of pictures, one per sample; each tensor is int64 of that length.

    Attributes:
        pictures: numbers of the pictures, as `PictureCache.numbers` gives them.
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


class PictureCache:
    """All training pictures of a run, decoded when first used and kept while they fit.

    They are kept as uint8 on the device that cuts the patches, within ``data.cache_gb`` and, on
    CUDA, a share of what is free. What does not fit there is kept in host memory up to
    ``data.cache_gb``; what does not fit there either is decoded every time.

    Args:
        sets: the pictures.
        config: the section of the run's config.
        device: that cuts the patches.
        workers: that decode.
    """

    def __init__(
        self,
        sets: list[PictureSet],
        config: DataSection,
        device: torch.device,
        workers: ThreadPoolExecutor,
    ) -> None:
        self.sets = sets
        counts = torch.tensor([len(pictures) for pictures in self.sets])
        self.counts = counts
        self._first = counts.cumsum(0) - counts
        self._least = config.patch
        self._device, self._workers = device, workers
        room = int(config.cache_gb * 2**30)
        share = room
        if device.type == "cuda":
            share = min(room, int(DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]))
        self._buffer = PixelBuffer(share, device)
        self._host_room = room - share
        self._host: dict[int, Tensor] = {}
        # Of each picture: where it begins in the buffer (-1: elsewhere), its height and width.
        self._table = torch.full((int(counts.sum()), 3), -1)

    def numbers(self, which: Tensor, index: Tensor) -> Tensor:
        """Numbers of pictures: ``index`` within the set ``which``."""
        return self._first[which] + index

    def sizes(self, numbers: Tensor) -> Tensor:
        """Heights and widths ``B 2`` of pictures; those not seen before are decoded.

        Raises:
            DataError: one cannot be read, or is too small for the patches.
        """
        new = sorted(set(numbers[self._table[numbers, 1] < 0].tolist()))
        for number, picture in zip(new, self._workers.map(self._decode, new), strict=True):
            start = self._buffer.add(picture)
            height, width = picture.shape[1:]
            self._table[number] = torch.tensor((-1 if start is None else start, height, width))
            if start is None and picture.numel() <= self._host_room:
                self._host[number] = picture
                self._host_room -= picture.numel()
        return self._table[numbers, 1:]

    def _decode(self, number: int) -> Tensor:
        which = int((self._first <= number).sum()) - 1
        pictures, index = self.sets[which], number - int(self._first[which])
        picture = pictures.load(index)
        height, width = picture.shape[1:]
        down, right = max(0, self._least - height), max(0, self._least - width)
        if not down and not right:
            return picture
        if down >= height or right >= width:
            raise DataError(
                f"{pictures.paths[index]}: {width}×{height} is too small for patches "
                f"of {self._least}; lower data.patch or remove the picture"
            )
        padded = F.pad(picture[None].float(), (0, right, 0, down), mode="reflect")
        return padded[0].to(torch.uint8)

    def cut(self, crops: Crops, side: int) -> Tensor:
        """The pixels of crops of ``side`` pixels: uint8 ``B side side 3``, on the device."""
        start, width = self._table[crops.pictures, 0], self._table[crops.pictures, 2]
        here = start >= 0
        if here.all():
            return self._gather(self._buffer, start, width, crops, side)
        out = torch.empty(len(start), side, side, 3, dtype=torch.uint8, device=self._device)
        for kept in (True, False):
            rows = (here == kept).nonzero()[:, 0]
            if len(rows):
                found = self._cut_rows(crops.rows(rows), side, kept)
                out[rows.to(self._device)] = found.to(self._device, non_blocking=True)
        return out

    def _cut_rows(self, crops: Crops, side: int, kept: bool) -> Tensor:
        start, width = self._table[crops.pictures, 0], self._table[crops.pictures, 2]
        if kept:
            return self._gather(self._buffer, start, width, crops, side)
        numbers = crops.pictures.tolist()
        missing = [number for number in dict.fromkeys(numbers) if number not in self._host]
        decoded = dict(zip(missing, self._workers.map(self._decode, missing), strict=True))
        few = [self._host[n] if n in self._host else decoded[n] for n in numbers]
        cut = [_window(p, t, x, side) for p, t, x in zip(few, crops.top, crops.left, strict=True)]
        host = PixelBuffer(len(cut) * 3 * side * side, torch.device("cpu"))
        start = torch.tensor([host.add(window) for window in cut])
        zero = torch.zeros_like(start)
        moved = Crops(zero, zero, zero, crops.symmetry)
        return self._gather(host, start, torch.full_like(start, side), moved, side)

    def _gather(
        self, buffer: PixelBuffer, start: Tensor, width: Tensor, crops: Crops, side: int
    ) -> Tensor:
        device = buffer.device
        table = torch.stack([start, width, crops.top, crops.left, crops.symmetry])
        start, width, top, left, symmetry = upload(table, device)
        there = Crops(start, top, left, symmetry)
        along = torch.arange(side, device=device)[None]
        return buffer.gather(pixel_index(start, width, there, along, along))


def _window(picture: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    y, x = int(top), int(left)
    return picture[:, y : y + side, x : x + side]


def upload(x: Tensor, device: torch.device) -> Tensor:
    """A tensor from the host, on ``device``, without making the host wait for it."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
