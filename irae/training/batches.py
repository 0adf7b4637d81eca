"""Batches: random crops of cached pictures, augmented and degraded, a whole batch at a time.

Every sample is a function of (seed, step, its index in the batch) alone: its random parameters are
rows of one table per step. A resumed run therefore sees the same patches as one that was never
stopped, and several processes together see the batch that one would, without any sampler state.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.config import DegradationSection, RunConfig
from irae.imaging.degrade import apply_mask, jpeg_compress
from irae.imaging.filling import fill_holes
from irae.models.registry import resolve_options
from irae.runtime import generator, use_device
from irae.training.collection import Collection, open_collection
from irae.training.draws import Draws
from irae.training.holes import Holes
from irae.training.pictures import Crops, PictureCache, upload

# Keys of the random streams of a step; `irae.training.holes` has the next.
_TABLE, _NOISE, _LEVELS = 0, 1, 2

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


@dataclass(frozen=True)
class Batch:
    """What a network is trained on, on the device that trains.

    Attributes:
        clean: ``B 3 H W`` in [0, 1].
        degraded: the same; for inpainting its holes are filled as the network expects.
        mask: for inpainting ``B 1 H W``, True in the holes.
        sigma: for denoising the noise levels ``B`` in 8-bit units.
    """

    clean: Tensor
    degraded: Tensor
    mask: Tensor | None = None
    sigma: Tensor | None = None


class BatchMaker:
    """Makes the batch of any step of a run.

    Everything is done on ``device`` except JPEG, which is Pillow's, and therefore its patches.

    Args:
        config: of the run.
        device: where batches are wanted; the CPU by default.
        rows: the slice of the batch that this process trains on; all of it by default.
        collection: the pictures; found by the config if None.

    Raises:
        DataError: a source of pictures or masks is missing or empty.
    """

    def __init__(
        self,
        config: RunConfig,
        device: torch.device | None = None,
        rows: slice | None = None,
        collection: Collection | None = None,
    ) -> None:
        self._config, self._device = config, device or torch.device("cpu")
        self._size = config.training.batch
        self._rows = rows or slice(0, self._size)
        self._lock = Lock()  # The cache is filled as batches are made, of which one runs ahead.
        # Patches that go through Pillow are better cut where it runs.
        self._cutting = torch.device("cpu") if config.task == "jpeg" else self._device
        self._workers = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="pictures")
        collection = collection or open_collection(config.data)
        self._cache = PictureCache(collection.train, config.data, self._cutting, self._workers)
        self._weights = collection.weights
        options = resolve_options(config.model.network, config.model.preset, config.model.options)
        self._hole_fill: float | None = options.get("hole_fill")
        self._holes: Holes | None = None
        if config.task == "inpaint":
            self._holes = Holes(config.degradation, config.seed, config.data.patch)

    def batch(self, step: int, *, whole: bool = False) -> Batch:
        """The batch of optimisation step ``step`` in channels-last order.

        Args:
            step: from 0.
            whole: all of it, not only this process's rows.

        Raises:
            DataError: a picture cannot be read or is too small.
        """
        with self._lock:
            return self._make(step, slice(0, self._size) if whole else self._rows)

    def _make(self, step: int, rows: slice) -> Batch:
        draws = Draws(generator(self._config.seed, step, _TABLE), self._size, rows)
        clean, gray = self._clean(step, rows, draws)
        if self._config.task == "denoise":
            return self._noisy(step, rows, draws, clean, gray)
        if self._config.task == "jpeg":
            degraded = self._jpeg(clean, gray, draws)
            return Batch(upload(clean, self._device), upload(degraded, self._device))
        assert self._holes is not None
        mask = upload(self._holes.draw(step, self._size, rows, draws), self._device)
        filled = fill_holes(apply_mask(clean, mask), mask, self._hole_fill)
        return Batch(clean, filled, mask)

    def _noisy(self, step: int, rows: slice, draws: Draws, clean: Tensor, gray: Tensor) -> Batch:
        degradation = self._config.degradation
        sigma = upload(draws.uniform(*_range(degradation.sigma)).float(), self._device)
        noise = self._noise(torch.randn, step, _NOISE, clean.shape[2], rows)
        alike = _where(gray, self._device)
        noise.index_copy_(0, alike, noise[alike, :1].expand(-1, 3, -1, -1))
        degraded = noise.mul_(_per_sample(sigma / 255)).add_(clean)
        # As a file would hold it.
        filed = _where(draws.chance(degradation.clipped), self._device)
        levels = (degraded[filed].clamp_(0, 1) * 255).round_()
        degraded.index_copy_(0, filed, levels.div_(255))
        return Batch(clean, degraded, sigma=sigma)

    def _clean(self, step: int, rows: slice, draws: Draws) -> tuple[Tensor, Tensor]:
        """Clean patches ``B 3 patch patch``, and on the host which of them are gray."""
        cache, augment, patch = self._cache, self._config.data.augment, self._config.data.patch
        which = draws.choice(self._weights)
        numbers = cache.numbers(which, draws.integer(0, cache.counts[which] - 1))
        shrunk, down, right = draws.chance(augment.shrink), draws.uniform(), draws.uniform()
        symmetry = draws.integer(0, 7) if augment.flip else torch.zeros_like(numbers)
        kind, order = draws.uniform(), draws.permutation(3)
        saturation = draws.uniform(0.3, 2.5)

        sizes = cache.sizes(numbers)
        shrunk &= sizes.amin(1) >= 2 * patch
        room = sizes - torch.where(shrunk, 2 * patch, patch)[:, None] + 1
        corner = (torch.stack([down, right], 1) * room).long()
        crops = Crops(numbers, corner[:, 0], corner[:, 1], symmetry)
        clean = self._patches(step, rows, crops, shrunk)
        gray = kind < augment.gray
        _to_gray(clean, gray)
        coloured = ~gray & (kind < augment.gray + augment.colour)
        _recolour(clean, coloured, order, saturation)
        return clean, gray

    def _patches(self, step: int, rows: slice, crops: Crops, shrunk: Tensor) -> Tensor:
        patch, device = self._config.data.patch, self._cutting
        count = len(shrunk)
        out = torch.empty(count, patch, patch, 3, device=device).permute(0, 3, 1, 2)
        for side, selected in ((patch, ~shrunk), (2 * patch, shrunk)):
            if not selected.any():
                continue
            there = _where(selected, device)
            cut = self._cache.cut(crops.rows(selected), side).permute(0, 3, 1, 2)
            if self._config.data.protocol == "authors":
                levels = self._noise(torch.rand, step, _LEVELS, side, rows, device)[there]
                pixels = (cut // 8).float() / 32 + levels / 32
            else:
                pixels = cut.float() / 255
            out.index_copy_(0, there, pixels if side == patch else F.avg_pool2d(pixels, 2))
        return out

    def _noise(
        self,
        draw: Callable[..., Tensor],
        step: int,
        key: int,
        side: int,
        rows: slice,
        device: torch.device | None = None,
    ) -> Tensor:
        """``B 3 side side`` random numbers for these rows of the batch.

        They are drawn for all rows: one call, whose numbers do not depend on the slice.
        """
        device = device or self._device
        random = generator(self._config.seed, step, key, side, device=device)
        shape = (self._size, side, side, 3)
        return draw(shape, generator=random, device=device)[rows].permute(0, 3, 1, 2)

    def _jpeg(self, clean: Tensor, gray: Tensor, draws: Draws) -> Tensor:
        degradation = self._config.degradation
        quality = _qualities(degradation, draws)
        kinds = degradation.subsampling
        subsampling = draws.integer(0, len(kinds) - 1)
        # A picture cropped after compression: its blocks start anywhere.
        moved = ~draws.chance(degradation.aligned)
        down, right = (draws.integer(0, 15) * moved for _ in range(2))
        out = torch.empty_like(clean)

        def compress(i: int) -> None:
            patch = clean[i : i + 1, :1] if gray[i] else clean[i : i + 1]
            top, left = int(down[i]), int(right[i])
            padded = F.pad(patch, (left, 0, top, 0), mode="reflect")[0]
            kind = kinds[int(subsampling[i])]
            compressed = jpeg_compress(padded, int(quality[i]), subsampling=kind)
            out[i] = compressed[:, top:, left:]

        list(self._workers.map(compress, range(len(clean))))
        return out

    def prefetched(self, first: int) -> Iterator[Batch]:
        """Batches from step ``first`` on, the next one made while this one is trained on."""
        # A new thread's current GPU is the first; pinned memory would be tied to that.
        pool = ThreadPoolExecutor(1, "batches", use_device, (self._device,))
        with pool:
            step = first
            coming: Future[Batch] = pool.submit(self.batch, step)
            try:
                while True:
                    step += 1
                    ready, coming = coming, pool.submit(self.batch, step)
                    yield ready.result()
            finally:
                coming.cancel()


def _per_sample(x: Tensor) -> Tensor:
    return x[:, None, None, None]


def _where(wanted: Tensor, device: torch.device) -> Tensor:
    """Numbers, on ``device``, of the samples that ``wanted`` (on the host) marks."""
    return upload(wanted.nonzero()[:, 0], device)


def _range(value: float | tuple[float, float]) -> tuple[float, float]:
    return value if isinstance(value, tuple) else (value, value)


def _to_gray(clean: Tensor, wanted: Tensor) -> None:
    """Make the samples that ``wanted`` (on the host) marks gray, in place."""
    rows = _where(wanted, clean.device)
    red, green, blue = clean[rows].chunk(3, 1)
    luma = _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue
    clean.index_copy_(0, rows, luma.expand(-1, 3, -1, -1))


def _recolour(clean: Tensor, wanted: Tensor, order: Tensor, saturation: Tensor) -> None:
    """Permute the channels of some samples and scale their saturation, in place."""
    rows = _where(wanted, clean.device)
    channels = upload(order[wanted], clean.device)
    factor = _per_sample(upload(saturation[wanted].float(), clean.device))
    permuted = clean[rows[:, None], channels]
    gray = permuted.mean(1, keepdim=True)
    clean.index_copy_(0, rows, (gray + (permuted - gray) * factor).clamp(0, 1))


def _qualities(degradation: DegradationSection, draws: Draws) -> Tensor:
    quality = degradation.quality
    low, high = quality if isinstance(quality, tuple) else (quality, quality)
    if degradation.quality_distribution == "log":
        return draws.uniform(math.log(low), math.log(high)).exp().round().long()
    return draws.integer(low, high)
