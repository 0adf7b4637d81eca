"""Batches: random crops of cached pictures, augmented and degraded.

Every sample is a function of (seed, step, its index in the batch) alone. A resumed run therefore
sees the same patches as one that was never stopped, without any sampler state to keep.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from irae.config import AugmentSection, DataSection, DegradationSection, RunConfig
from irae.data.folder import PictureSet
from irae.data.protocols import dequantise
from irae.data.registry import open_data
from irae.errors import DataError
from irae.imaging.degrade import (
    add_noise,
    apply_mask,
    box_mask,
    center_mask,
    fill_holes,
    integer,
    irregular_mask,
    jpeg_compress,
    uniform,
)
from irae.imaging.files import find_pictures, read_mask
from irae.models.registry import resolve_options
from irae.runtime import generator

MASK_POOL = 256
MASK_POOL_SIDE = 256


@dataclass(frozen=True)
class Batch:
    """Clean and degraded ``B 3 H W``; for inpainting the mask ``B 1 H W`` (True in the holes),
    and the degraded picture's holes already filled as the network expects."""

    clean: Tensor
    degraded: Tensor
    mask: Tensor | None = None


class PatchSource:
    """Random patches of several picture sets, drawn in given shares.

    Pictures are decoded when first drawn and kept as uint8 while they fit in ``cache_gb``.
    """

    def __init__(self, config: DataSection) -> None:
        root = None if config.root is None else Path(config.root)
        self._sets: list[PictureSet] = [
            open_data(source.source, root=root, split="train", protocol=config.protocol)
            for source in config.train
        ]
        self._protocol = config.protocol
        self._weights = torch.tensor([source.weight for source in config.train])
        self._patch = config.patch
        self._augment = config.augment
        self._cache: dict[tuple[int, int], Tensor] = {}
        self._room = int(config.cache_gb * 2**30)

    def __len__(self) -> int:
        return sum(len(pictures) for pictures in self._sets)

    def _load(self, which: int, index: int) -> Tensor:
        cached = self._cache.get((which, index))
        if cached is not None:
            return cached
        picture = self._sets[which].load(index)
        height, width = picture.shape[1:]
        if min(height, width) < self._patch:
            down, right = max(0, self._patch - height), max(0, self._patch - width)
            if down >= height or right >= width:
                raise DataError(
                    f"{self._sets[which].paths[index]}: {width}×{height} is too small for patches "
                    f"of {self._patch}; lower data.patch or remove the picture"
                )
            padded = F.pad(picture[None].float(), (0, right, 0, down), mode="reflect")
            picture = padded[0].to(torch.uint8)
        if picture.numel() <= self._room:
            self._cache[which, index] = picture
            self._room -= picture.numel()
        return picture

    def draw(self, rng: Generator) -> Tensor:
        """One clean patch, float32 ``C patch patch`` in [0, 1]; C is 1 for a gray one, else 3."""
        which = int(torch.multinomial(self._weights, 1, generator=rng))
        picture = self._load(which, integer(rng, 0, len(self._sets[which]) - 1))
        height, width = picture.shape[1:]
        chance = self._augment
        shrink = uniform(rng) < chance.shrink and min(height, width) >= 2 * self._patch
        side = self._patch * (2 if shrink else 1)
        top, left = integer(rng, 0, height - side), integer(rng, 0, width - side)
        crop = picture[:, top : top + side, left : left + side]
        patch = dequantise(crop, rng) if self._protocol == "authors" else crop.float() / 255
        if shrink:
            patch = F.avg_pool2d(patch, 2)
        return _augment(patch, chance, rng).contiguous()


def _augment(patch: Tensor, chance: AugmentSection, rng: Generator) -> Tensor:
    if chance.flip:
        symmetry = integer(rng, 0, 7)
        patch = patch.rot90(symmetry % 4, (1, 2))
        patch = patch.flip(2) if symmetry >= 4 else patch
    kind = uniform(rng)
    if kind < chance.gray:
        weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
        return (patch * weights).sum(0, keepdim=True)
    if kind < chance.gray + chance.colour:
        patch = patch[torch.randperm(3, generator=rng)]
        gray = patch.mean(0, keepdim=True)
        saturation = uniform(rng, 0.3, 2.5)
        patch = (gray + (patch - gray) * saturation).clamp(0, 1)
    return patch


class _Masks:
    """A pool of irregular masks, drawn once or read from a folder; crops of them are cheap."""

    def __init__(self, folder: str | None, seed: int, device: torch.device) -> None:
        if folder is None:
            pool = [
                irregular_mask(MASK_POOL_SIDE, MASK_POOL_SIDE, generator(seed, -1, i))
                for i in range(MASK_POOL)
            ]
        else:
            pool = [read_mask(path) for path in find_pictures([folder])]
            pool = [mask for mask in pool if mask.any() and not mask.all()]
            if not pool:
                raise DataError(f"{folder}: no mask in it has both holes (white) and known pixels")
        self._pool = [mask.to(device) for mask in pool]

    def draw(self, side: int, rng: Generator) -> Tensor:
        """A random crop, turned, with at least one hole and one known pixel."""
        for _ in range(100):
            mask = self._pool[integer(rng, 0, len(self._pool) - 1)]
            # A crop of at most twice the patch, scaled: strokes of many widths from one pool.
            size = integer(rng, min(side, *mask.shape[1:]), min(2 * side, *mask.shape[1:]))
            top = integer(rng, 0, mask.shape[1] - size)
            left = integer(rng, 0, mask.shape[2] - size)
            crop = mask[None, :, top : top + size, left : left + size].float()
            crop = F.interpolate(crop, size=(side, side), mode="nearest")[0] > 0.5
            crop = crop.rot90(integer(rng, 0, 3), (1, 2))
            if crop.any() and not crop.all():
                return crop
        # Masks with tiny holes only: a box is a fair stand-in for the crop that was not found.
        return box_mask(side, side, side // 4, rng).to(self._pool[0].device)


class BatchMaker:
    """Makes the batch of any step of a run.

    Crops are cut on the CPU, and JPEG is Pillow's; noise, masks and the filling of holes are made
    on the device that trains.
    """

    def __init__(self, config: RunConfig, device: torch.device | None = None) -> None:
        self._config = config
        self._device = torch.device("cpu") if device is None else device
        self._source = PatchSource(config.data)
        options = resolve_options(config.model.network, config.model.preset, config.model.options)
        self._hole_fill: float | None = options.get("hole_fill")
        self._masks: _Masks | None = None
        if config.task == "inpaint":
            self._masks = _Masks(config.degradation.masks, config.seed, self._device)

    def batch(self, step: int) -> Batch:
        """The batch of optimisation step ``step``, on the device, in channels-last order."""
        samples = [self._sample(step, i) for i in range(self._config.training.batch)]
        clean = _stack([sample[0] for sample in samples])
        degraded = _stack([sample[1] for sample in samples])
        if self._masks is None:
            return Batch(clean, degraded)
        mask = torch.stack([sample[2] for sample in samples])
        return Batch(clean, fill_holes(degraded, mask, self._hole_fill), mask)

    def _sample(self, step: int, index: int) -> tuple[Tensor, Tensor, Tensor]:
        seed, degradation = self._config.seed, self._config.degradation
        rng = generator(seed, step, index)
        cut = self._source.draw(rng)
        clean = cut.to(self._device, non_blocking=True)
        if self._config.task == "denoise":
            sigma = _draw(degradation.sigma, rng)
            clip = uniform(rng) < degradation.clipped
            noise = generator(seed, step, index, 1, device=self._device)
            return clean, add_noise(clean, sigma, noise, clip=clip), clean
        if self._config.task == "jpeg":
            return clean, _random_jpeg(cut, degradation, rng).to(self._device), clean
        mask = self._hole(clean.shape[-1], rng)
        return clean, apply_mask(clean, mask), mask

    def _hole(self, side: int, rng: Generator) -> Tensor:
        kinds = self._config.degradation.holes
        shares = torch.tensor(list(kinds.values()))
        kind = list(kinds)[int(torch.multinomial(shares, 1, generator=rng))]
        if kind == "irregular" and self._masks is not None:
            return self._masks.draw(side, rng)
        low, high = (round(side * share) for share in self._config.degradation.box_side)
        size = integer(rng, max(1, low), max(1, high))
        centred = kind == "center"
        mask = center_mask(side, side, size) if centred else box_mask(side, side, size, rng)
        return mask.to(self._device)

    def prefetched(self, first: int) -> Iterator[Batch]:
        """Batches from step ``first`` on, the next one made while this one is trained on."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            step = first
            coming: Future[Batch] = pool.submit(self.batch, step)
            try:
                while True:
                    step += 1
                    ready, coming = coming, pool.submit(self.batch, step)
                    yield ready.result()
            finally:
                coming.cancel()


def _stack(pictures: list[Tensor]) -> Tensor:
    batch = torch.stack([picture.expand(3, -1, -1) for picture in pictures])
    return batch.contiguous(memory_format=torch.channels_last)


def _draw(value: float | tuple[float, float], rng: Generator) -> float:
    return uniform(rng, *value) if isinstance(value, tuple) else value


def _random_jpeg(clean: Tensor, degradation: DegradationSection, rng: Generator) -> Tensor:
    quality = degradation.quality
    if not isinstance(quality, tuple):
        chosen = quality
    elif degradation.quality_distribution == "log":
        low, high = (math.log(end) for end in quality)
        chosen = round(math.exp(uniform(rng, low, high)))
    else:
        chosen = integer(rng, *quality)
    kinds = degradation.subsampling
    subsampling = kinds[integer(rng, 0, len(kinds) - 1)]
    down = right = 0
    if uniform(rng) >= degradation.aligned:
        # A picture cropped after compression: its blocks start anywhere.
        down, right = integer(rng, 0, 15), integer(rng, 0, 15)
    padded = F.pad(clean[None], (right, 0, down, 0), mode="reflect")[0]
    return jpeg_compress(padded, chosen, subsampling=subsampling)[:, down:, right:]
