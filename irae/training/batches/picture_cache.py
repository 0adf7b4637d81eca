"""A cache of decoded pictures on the training device; many crops are taken in one gather."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.config import DataSection
from irae.data.folder import PictureSet
from irae.errors import DataError
from irae.imaging.crops import Crops, PixelBuffer
from irae.runtime import free_host_memory, upload

# Share of a GPU's free memory for the pictures: the network's activations need the rest.
DEVICE_SHARE = 0.25

MOST_UNREADABLE = 100
"""Number of pictures in succession that may be unreadable; of more, their disk is gone."""

HOST_SHARE = 0.5
"""Share of the free host memory that ``data.cache_gb: auto`` takes."""


def cache_room(cache_gb: float | Literal["auto"]) -> int:
    """Return the bytes for decoded pictures that ``data.cache_gb`` allows."""
    if cache_gb == "auto":
        return int(HOST_SHARE * free_host_memory())
    return int(cache_gb * 2**30)


def overflow(pixels: int, cache_gb: float | Literal["auto"]) -> str | None:
    """Return a warning, in one line, if pictures do not fit the cache; None if they do.

    Args:
        pixels: number of pixels of all pictures.
        cache_gb: ``data.cache_gb`` of the run's config.
    """
    needed, room = 3 * pixels, cache_room(cache_gb)
    if needed <= room:
        return None
    return (
        f"the pictures take {needed / 2**30:.1f} GiB when decoded, and data.cache_gb "
        f"({cache_gb}) keeps {room / 2**30:.1f} of them; the rest is decoded again for every "
        "patch, which may be slow: scale the pictures down, or give more memory"
    )


class PictureCache:
    """All training pictures of a run, decoded when first used and kept while they fit.

    They are kept as uint8 on the device that cuts the patches, within ``data.cache_gb`` and, on
    CUDA, a share of the free memory. Pictures beyond that are kept in host memory up to
    ``data.cache_gb``; the rest is decoded every time. By default ``data.cache_gb`` is half of the
    free host memory.

    Args:
        sets: the sets of pictures.
        config: the section ``data`` of the run's config.
        device: the device that cuts the patches.
        workers: threads that decode.

    Attributes:
        left_out: pictures that could not be read, each with the reason.
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
        room = cache_room(config.cache_gb)
        share = room
        if device.type == "cuda":
            share = min(room, int(DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]))
        self._buffer = PixelBuffer(share, device)
        self._host_room = room - share
        self._host: dict[int, Tensor] = {}
        self.left_out: dict[Path, str] = {}
        self._unreadable: set[int] = set()
        # For each picture its offset in the buffer (-1 if it is elsewhere), height and width.
        self._table = torch.full((int(counts.sum()), 3), -1)

    def readable(self, which: Tensor, index: Tensor) -> Tensor:
        """Return the numbers of the pictures at ``index`` within the sets ``which``.

        Pictures not seen before are decoded. In place of one that cannot be read stands the next
        one of its set that can, so that the choice depends on the files alone.

        Raises:
            DataError: many pictures in succession cannot be read, or none of a set.
        """
        numbers = self._first[which] + index
        self._look_at(numbers)
        bad = self._unreadable
        if not bad:
            return numbers
        return torch.tensor([self._substitute(n) if n in bad else n for n in numbers.tolist()])

    def sizes(self, numbers: Tensor) -> Tensor:
        """Return heights and widths ``B 2`` of pictures that can be read; see `readable`."""
        self._look_at(numbers)
        return self._table[numbers, 1:]

    def _look_at(self, numbers: Tensor) -> None:
        """Decode the pictures that were not seen before, and keep them where there is room."""
        unseen = numbers[self._table[numbers, 1] < 0].tolist()
        new = sorted(number for number in set(unseen) if number not in self._unreadable)
        for number, picture in zip(new, self._workers.map(self._attempt, new), strict=True):
            if picture is None:
                continue
            start = self._buffer.add(picture)
            height, width = picture.shape[1:]
            self._table[number] = torch.tensor((-1 if start is None else start, height, width))
            if start is None and picture.numel() <= self._host_room:
                self._host[number] = picture
                self._host_room -= picture.numel()

    def _substitute(self, number: int, least: int = 0) -> int:
        """Return the first picture from ``number`` on that can be read and has sides of ``least``.

        After the last picture of its set the first follows.
        """
        which = self._set_of(number)
        first, count = int(self._first[which]), int(self.counts[which])
        for tried in range(min(count, MOST_UNREADABLE)):
            candidate = first + (number - first + tried) % count
            if candidate not in self._unreadable:
                self._look_at(torch.tensor([candidate]))
            if candidate not in self._unreadable and int(self._table[candidate, 1:].min()) >= least:
                return candidate
        path = self.sets[which].paths[number - first]
        raise DataError(
            f"{path}: neither this picture nor the next {min(count, MOST_UNREADABLE) - 1} can be "
            f"read ({self.left_out.get(path, 'they are too small')}); is their disk there?"
        )

    def _attempt(self, number: int) -> Tensor | None:
        """Decode a picture; None if it cannot be read, which is recorded."""
        try:
            return self._decode(number)
        except DataError as error:
            self._unreadable.add(number)
            which = self._set_of(number)
            path = self.sets[which].paths[number - int(self._first[which])]
            self.left_out.setdefault(path, str(error))
            return None

    def _set_of(self, number: int) -> int:
        return int((self._first <= number).sum()) - 1

    def _decode(self, number: int) -> Tensor:
        which = self._set_of(number)
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
        """Cut crops of ``side`` pixels: uint8 ``B side side 3``, on the device."""
        start, width = self._table[crops.pictures, 0], self._table[crops.pictures, 2]
        here = start >= 0
        if here.all():
            return self._buffer.cut(start, width, crops, side)
        out = torch.empty(len(start), side, side, 3, dtype=torch.uint8, device=self._device)
        for kept in (True, False):
            rows = (here == kept).nonzero()[:, 0]
            if len(rows):
                found = self._cut_rows(crops.rows(rows), side, kept)
                there = found if kept else upload(found, self._device)
                out.index_copy_(0, upload(rows, self._device), there)
        return out

    def _cut_rows(self, crops: Crops, side: int, kept: bool) -> Tensor:
        start, width = self._table[crops.pictures, 0], self._table[crops.pictures, 2]
        if kept:
            return self._buffer.cut(start, width, crops, side)
        numbers = crops.pictures.tolist()
        missing = [number for number in dict.fromkeys(numbers) if number not in self._host]
        decoded = dict(zip(missing, self._workers.map(self._attempt, missing), strict=True))
        found = [self._host[n] if n in self._host else decoded[n] for n in numbers]
        few = [
            self._later(n, side) if picture is None else picture
            for n, picture in zip(numbers, found, strict=True)
        ]
        cut = [_window(p, t, x, side) for p, t, x in zip(few, crops.top, crops.left, strict=True)]
        host = PixelBuffer(len(cut) * 3 * side * side, torch.device("cpu"))
        start = torch.tensor([host.add(window) for window in cut])
        zero = torch.zeros_like(start)
        moved = Crops(zero, zero, zero, crops.symmetry)
        return host.cut(start, torch.full_like(start, side), moved, side)

    def _later(self, number: int, least: int) -> Tensor:
        """Decode a substitute for a picture that could be read before, and cannot any more."""
        while True:
            found = self._substitute(number, least)
            picture = self._host[found] if found in self._host else self._attempt(found)
            if picture is not None:
                return picture


def _window(picture: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    # A substitute may be smaller than the picture for which the corner was drawn.
    y, x = min(int(top), picture.shape[1] - side), min(int(left), picture.shape[2] - side)
    return picture[:, y : y + side, x : x + side]
