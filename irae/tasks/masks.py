"""Random masks for a whole batch: crops of a pool of masks, centred and random boxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from irae.errors import DataError
from irae.imaging.crops import Crops, PixelBuffer, pixel_index
from irae.imaging.degrade import irregular_mask
from irae.imaging.film_damage import find_overlays
from irae.imaging.io.find import find_pictures
from irae.imaging.io.masks import read_mask
from irae.imaging.thin_masks import thin_mask
from irae.runtime import generator
from irae.tasks.batch_random import BatchRandom, RandomColumns
from irae.tasks.inpaint import InpaintSection

POOL = 256
POOL_SIDE = 256
ATTEMPTS = 100

# Keys of the random streams of attempts; they differ from the step's other streams.
_IRREGULAR_KEY, _THIN_KEY = 3, 4


class MaskMaker:
    """Draws the masks of batches in host memory: they are small, and the CPU must inspect them.

    Irregular and thin masks are crops of pools that are drawn once from the seed or read from a
    folder.

    Args:
        config: shares of the kinds of holes, sides of boxes, folders of masks.
        seed: seed of the run.
        side: side of the patches in pixels.

    Raises:
        DataError: a folder has no usable mask.
    """

    def __init__(self, config: InpaintSection, seed: int, side: int) -> None:
        self._config, self._side = config, side
        self._pools: dict[str, _Pool] = {}
        if config.masks is not None:
            folder = config.masks
            self._pools["irregular"] = _Pool(_usable(folder, find_pictures([folder])))
        elif "irregular" in config.holes:
            drawn = [
                irregular_mask(POOL_SIDE, POOL_SIDE, generator(seed, -1, i)) for i in range(POOL)
            ]
            self._pools["irregular"] = _Pool(drawn)
        if "thin" in config.holes:
            thin = [thin_mask(POOL_SIDE, POOL_SIDE, generator(seed, -2, i)) for i in range(POOL)]
            # As many drawn masks as files, so that neither is rare.
            scans = config.overlays
            found = [] if scans is None else _usable(scans, find_overlays(scans, apart=False))
            self._pools["thin"] = _Pool([*thin[: max(len(found), POOL // 2)], *found])

    def draw(self, random: BatchRandom) -> Tensor:
        """Draw the masks of a batch's rows: bool ``B 1 side side``, True in the masked region."""
        kinds = self._config.holes
        kind = random.choice(kinds.values())
        low, high = (max(1, round(self._side * share)) for share in self._config.box_side)
        size = random.integer(low, high)
        corner = [random.integer(0, self._side - size) for _ in range(2)]
        names = list(kinds)
        if "center" in names:
            centred = kind == names.index("center")
            corner = [torch.where(centred, (self._side - size) // 2, at) for at in corner]
        masks = self._boxes(size, *corner)
        for name, key, scaled in (
            ("irregular", _IRREGULAR_KEY, True),
            # Scaled down by nearest neighbour, a thin line would become a row of dots.
            ("thin", _THIN_KEY, False),
        ):
            if name in names:
                wanted = (kind == names.index(name)).nonzero()[:, 0]
                masks[wanted] = self._cut(random, wanted, self._pools[name], key, scaled=scaled)
        return masks

    def _boxes(self, size: Tensor, top: Tensor, left: Tensor) -> Tensor:
        along = torch.arange(self._side)[None]
        down = (along >= top[:, None]) & (along < (top + size)[:, None])
        across = (along >= left[:, None]) & (along < (left + size)[:, None])
        return (down[:, :, None] & across[:, None, :])[:, None]

    def _cut(
        self, random: BatchRandom, wanted: Tensor, pool: _Pool, key: int, *, scaled: bool
    ) -> Tensor:
        """Random, randomly rotated crops of a pool, each with masked and known pixels."""
        masks = torch.empty(len(wanted), 1, self._side, self._side, dtype=torch.bool)
        open_ = torch.arange(len(wanted))
        for attempt in range(ATTEMPTS):
            # Each attempt has its own stream, so that a retry does not shift other numbers.
            columns = random.columns(key, attempt)
            found = pool.crops(columns, wanted[open_], self._side, scaled=scaled)
            masks[open_] = found
            share = found.float().mean((1, 2, 3))
            open_ = open_[(share == 0) | (share == 1)]
            if not len(open_):
                return masks
        # The pool's holes are too small to hit by chance; a box replaces the missing crop.
        more, side = random.columns(key, ATTEMPTS), self._side // 4
        corner = [more.integer(0, self._side - side)[wanted[open_]] for _ in range(2)]
        masks[open_] = self._boxes(torch.full_like(corner[0], side), *corner)
        return masks


class _Pool:
    """Masks of any sizes, of which crops are taken for many rows at once."""

    def __init__(self, masks: Sequence[Tensor]) -> None:
        room = sum(mask.numel() for mask in masks)
        self._buffer = PixelBuffer(room, torch.device("cpu"), channels=1)
        self._starts = torch.tensor([self._buffer.add(mask) for mask in masks])
        self._sizes = torch.tensor([mask.shape[1:] for mask in masks])

    def crops(self, random: RandomColumns, rows: Tensor, side: int, *, scaled: bool) -> Tensor:
        which = random.integer(0, len(self._starts) - 1)
        heights, widths = self._sizes[which].unbind(1)
        shorter = torch.minimum(heights, widths)
        # Crops of up to twice the patch are scaled down, which varies the width of the strokes.
        most = shorter.clamp(max=(2 if scaled else 1) * side)
        size = random.integer(shorter.clamp(max=side), most)
        top, left = random.integer(0, heights - size), random.integer(0, widths - size)
        crops = Crops(which, top, left, random.integer(0, 7)).rows(rows)
        # Scale by nearest neighbour: the crop's index for every pixel of the mask.
        along = torch.arange(side) * size[rows, None] // side
        index = pixel_index(self._starts[which[rows]], widths[rows], crops, along, along)
        return self._buffer.gather(index).permute(0, 3, 1, 2) > 0


def _usable(folder: str, paths: Sequence[Path]) -> list[Tensor]:
    masks = [read_mask(path) for path in paths]
    masks = [mask for mask in masks if mask.any() and not mask.all()]
    if not masks:
        raise DataError(f"{folder}: no mask in it has both holes (white) and known pixels")
    return masks
