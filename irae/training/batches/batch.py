"""Batches: random crops of cached pictures, augmented and degraded, a whole batch at a time.

Every sample depends on the seed, the step and its index in the batch alone: its random parameters
are rows of one table per step. A resumed run therefore sees the same patches as an uninterrupted
one, and several processes together the same batch as a single one, without any sampler state.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock

import torch
from torch import Tensor

from irae.config import RunConfig
from irae.data.registry import data_root
from irae.imaging.crops import Crops, halve
from irae.imaging.hole_filling import fill_holes
from irae.imaging.metrics import rgb_to_y
from irae.models.networks.registry import resolve_options
from irae.runtime import host_threads, upload, use_device
from irae.tasks import get_task
from irae.tasks.base import Batch, DamageBatch
from irae.tasks.batch_random import BatchRandom
from irae.training.batches.collection import Collection, open_collection
from irae.training.batches.picture_cache import PictureCache, cache_room, overflow
from irae.training.batches.processes import batches_from_processes, count_processes

_log = logging.getLogger(__name__)

# Key of a random stream of a step; `irae.tasks.batch_random` has the keys 0 and 1.
_LEVELS = 2


class BatchMaker:
    """Makes the batch of any step of a run.

    Patches are cut and damaged on ``device``, or on the CPU by processes of their own
    (``data.workers``).

    Args:
        config: config of the run.
        device: device of the batches; the CPU by default.
        rows: the slice of the batch that this process trains on; all of it by default.
        collection: the pictures; opened from the config if None.
        damage: makes the function that damages the patches, given the keyword ``workers``, an
            executor for the work in host memory; that of the config's task if None.
        on_device: whether a GPU damages faster than processes do; as the task says if None. Given
            as False, the damage is done on the CPU in any case.
        threads: number of threads that decode pictures; this process's share of the cores if None.

    Attributes:
        left_out: training pictures that could not be read, each with the reason.

    Raises:
        DataError: a source of pictures or masks is missing or empty.
    """

    def __init__(
        self,
        config: RunConfig,
        device: torch.device | None = None,
        rows: slice | None = None,
        collection: Collection | None = None,
        damage: Callable[..., DamageBatch] | None = None,
        on_device: bool | None = None,
        threads: int | None = None,
    ) -> None:
        self._config, self._target = config, device or torch.device("cpu")
        on_cpu = on_device is False
        if on_device is None:
            on_device = get_task(config.task).damages_on_device
        self._processes = count_processes(config.data.workers, self._target, on_device=on_device)
        self._device = torch.device("cpu") if self._processes or on_cpu else self._target
        self._size = config.training.batch_size
        self._rows = rows or slice(0, self._size)
        self._lock = Lock()  # Making a batch fills the cache, and one is prefetched in a thread.
        self._workers = ThreadPoolExecutor(threads or host_threads(), thread_name_prefix="pictures")
        collection = collection or open_collection(config.data)
        self._again = partial(
            BatchMaker, rows=rows, collection=collection, damage=damage, on_device=True, threads=1
        )
        warning = overflow(collection.pixels * max(1, self._processes), config.data.cache_gb)
        # Of several processes that train the first warns, and none that only makes batches.
        if warning is not None and self._rows.start == 0 and threads is None:
            _log.warning("irae: warning: %s", warning)
        self._cache = PictureCache(collection.train, config.data, self._device, self._workers)
        self.left_out = self._cache.left_out
        self._weights = collection.weights
        options = resolve_options(config.model.network, config.model.preset, config.model.options)
        self._hole_fill: float | None = options.get("hole_fill")
        make = damage or partial(
            get_task(config.task).batch_damage,
            config.degradation,
            seed=config.seed,
            patch=config.data.patch,
            root=data_root(config.data.root),
        )
        self._damage = make(workers=self._workers)

    def batch(self, step: int, *, whole: bool = False) -> Batch:
        """Make the batch of optimisation step ``step`` in channels-last order.

        Args:
            step: the step, from 0.
            whole: make the whole batch, not only this process's rows.

        Raises:
            DataError: no picture of a source can be read.
        """
        with self._lock:
            made = self._make(step, slice(0, self._size) if whole else self._rows)
        return made if self._device == self._target else _moved(made.tensors(), self._target)

    def _make(self, step: int, rows: slice) -> Batch:
        seed = self._config.seed
        random = BatchRandom(seed, step, self._size, rows, self._device)
        clean, gray = self._clean(random)
        batch = self._damage(clean, gray, random)
        if batch.mask is None:
            return batch
        return replace(batch, degraded=fill_holes(batch.degraded, batch.mask, self._hole_fill))

    def _clean(self, random: BatchRandom) -> tuple[Tensor, Tensor]:
        """Cut clean patches ``B 3 patch patch``; a bool ``B`` on the host marks the gray ones."""
        cache, augment, patch = self._cache, self._config.data.augment, self._config.data.patch
        which = random.choice(self._weights)
        numbers = cache.readable(which, random.integer(0, cache.counts[which] - 1))
        shrunk, down, right = random.bernoulli(augment.shrink), random.uniform(), random.uniform()
        symmetry = random.integer(0, 7) if augment.flip else torch.zeros_like(numbers)
        kind, order = random.uniform(), random.permutation(3)
        saturation = random.uniform(0.3, 2.5)

        sizes = cache.sizes(numbers)
        shrunk &= sizes.amin(1) >= 2 * patch
        room = sizes - torch.where(shrunk, 2 * patch, patch)[:, None] + 1
        corner = (torch.stack([down, right], 1) * room).long()
        crops = Crops(numbers, corner[:, 0], corner[:, 1], symmetry)
        clean = self._patches(random, crops, shrunk)
        gray = kind < augment.gray
        _to_gray(clean, gray)
        coloured = ~gray & (kind < augment.gray + augment.colour)
        _recolour(clean, coloured, order, saturation)
        return clean, gray

    def _patches(self, random: BatchRandom, crops: Crops, shrunk: Tensor) -> Tensor:
        patch, device = self._config.data.patch, self._device
        count = len(shrunk)
        out = torch.empty(count, patch, patch, 3, device=device).permute(0, 3, 1, 2)
        for side, selected in ((patch, ~shrunk), (2 * patch, shrunk)):
            if not selected.any():
                continue
            there = _where(selected, device)
            cut = self._cache.cut(crops.rows(selected), side).permute(0, 3, 1, 2)
            if self._config.data.protocol == "authors":
                levels = random.pixels(torch.rand, side, _LEVELS, device)[there]
                pixels = (cut // 8).float() / 32 + levels / 32
            else:
                pixels = torch.div(cut, 255)
            out.index_copy_(0, there, pixels if side == patch else halve(pixels))
        return out

    def prefetched(self, first: int) -> Iterator[Batch]:
        """Yield batches from step ``first`` on; a thread or processes make the next in advance."""
        if self._processes:
            found = batches_from_processes(
                self._opened, first, self._processes, self._target, self.left_out
            )
            yield from (_moved(tensors, self._target) for tensors in found)
            return
        # In a new thread the current GPU is the first, and pinned memory would be tied to it.
        pool = ThreadPoolExecutor(1, "batches", use_device, (self._target,))
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

    def _opened(self) -> tuple[Callable[[int], Batch], dict[Path, str]]:
        """Open the pictures anew in one of the processes, with its share of the memory."""
        config = self._config.model_copy(deep=True)
        config.data.workers = 0
        config.data.cache_gb = cache_room(config.data.cache_gb) / 2**30 / self._processes
        maker = self._again(config)
        return maker.batch, maker.left_out


def _moved(tensors: Mapping[str, Tensor], device: torch.device) -> Batch:
    """Copy the tensors of a batch to a device."""
    return Batch(**{name: upload(x, device) for name, x in tensors.items()})


def undamaged(clean: Tensor, gray: Tensor, random: BatchRandom) -> Batch:
    """Return a batch of clean patches alone; a `DamageBatch`."""
    del gray, random
    return Batch(clean, clean)


def _per_sample(x: Tensor) -> Tensor:
    return x[:, None, None, None]


def _where(wanted: Tensor, device: torch.device) -> Tensor:
    """Return the indices, on ``device``, of the samples that ``wanted`` (on the host) marks."""
    return upload(wanted.nonzero()[:, 0], device)


def _to_gray(clean: Tensor, wanted: Tensor) -> None:
    """Convert the samples that ``wanted`` (on the host) marks to gray, in place."""
    rows = _where(wanted, clean.device)
    clean.index_copy_(0, rows, rgb_to_y(clean[rows]).expand(-1, 3, -1, -1))


def _recolour(clean: Tensor, wanted: Tensor, order: Tensor, saturation: Tensor) -> None:
    """Permute the channels of some samples and scale their saturation, in place."""
    rows = _where(wanted, clean.device)
    channels = upload(order[wanted], clean.device)
    factor = _per_sample(upload(saturation[wanted].float(), clean.device))
    permuted = clean[rows[:, None], channels]
    gray = permuted.mean(1, keepdim=True)
    clean.index_copy_(0, rows, (gray + (permuted - gray) * factor).clamp(0, 1))
