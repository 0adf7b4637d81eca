"""Random masks for a whole batch: strokes cut from a pool of masks, centred and random boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from irae.errors import DataError
from irae.imaging.crops import Crops, PixelBuffer, pixel_index
from irae.imaging.degrade import irregular_mask
from irae.imaging.io.files import find_pictures
from irae.imaging.io.masks import read_mask
from irae.runtime import generator
from irae.tasks.batch_random import BatchRandom, RandomColumns
from irae.tasks.inpaint import InpaintSection

POOL = 256
POOL_SIDE = 256
ATTEMPTS = 100

# Differs from the keys of the step's other random streams.
_ATTEMPT_KEY = 3


class MaskMaker:
    """Draws the masks of batches in host memory: they are small, and the CPU must inspect them.

    Irregular masks come from a pool that is drawn once from the seed or read from a folder.

    Args:
        config: shares of the kinds of holes, sides of boxes, folder of masks.
        seed: seed of the run.
        side: side of the patches in pixels.

    Raises:
        DataError: the folder has no usable mask.
    """

    def __init__(self, config: InpaintSection, seed: int, side: int) -> None:
        self._config, self._side = config, side
        pool: list[Tensor] = []
        if config.masks is None and "irregular" in config.holes:
            pool = [
                irregular_mask(POOL_SIDE, POOL_SIDE, generator(seed, -1, i)) for i in range(POOL)
            ]
        elif config.masks is not None:
            pool = _read_pool(config.masks)
        room = sum(mask.numel() for mask in pool)
        self._pool = PixelBuffer(room, torch.device("cpu"), channels=1)
        self._starts = torch.tensor([self._pool.add(mask) for mask in pool])
        self._sizes = torch.tensor([mask.shape[1:] for mask in pool])

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
        if "irregular" in names:
            wanted = (kind == names.index("irregular")).nonzero()[:, 0]
            masks[wanted] = self._strokes(random, wanted)
        return masks

    def _boxes(self, size: Tensor, top: Tensor, left: Tensor) -> Tensor:
        along = torch.arange(self._side)[None]
        down = (along >= top[:, None]) & (along < (top + size)[:, None])
        across = (along >= left[:, None]) & (along < (left + size)[:, None])
        return (down[:, :, None] & across[:, None, :])[:, None]

    def _strokes(self, random: BatchRandom, wanted: Tensor) -> Tensor:
        """Random, randomly rotated crops of the pool, each with masked and known pixels."""
        masks = torch.empty(len(wanted), 1, self._side, self._side, dtype=torch.bool)
        open_ = torch.arange(len(wanted))
        for attempt in range(ATTEMPTS):
            # Each attempt has its own stream, so that a retry does not shift other numbers.
            found = self._crops(random.columns(_ATTEMPT_KEY, attempt), wanted[open_])
            masks[open_] = found
            share = found.float().mean((1, 2, 3))
            open_ = open_[(share == 0) | (share == 1)]
            if not len(open_):
                return masks
        # The pool's holes are too small to hit by chance; a box replaces the missing crop.
        more, side = random.columns(_ATTEMPT_KEY, ATTEMPTS), self._side // 4
        corner = [more.integer(0, self._side - side)[wanted[open_]] for _ in range(2)]
        masks[open_] = self._boxes(torch.full_like(corner[0], side), *corner)
        return masks

    def _crops(self, random: RandomColumns, rows: Tensor) -> Tensor:
        which = random.integer(0, len(self._starts) - 1)
        heights, widths = self._sizes[which].unbind(1)
        shorter = torch.minimum(heights, widths)
        # Crops of up to twice the patch are scaled down, which varies the width of the strokes.
        size = random.integer(shorter.clamp(max=self._side), shorter.clamp(max=2 * self._side))
        top, left = random.integer(0, heights - size), random.integer(0, widths - size)
        crops = Crops(which, top, left, random.integer(0, 7)).rows(rows)
        # Scale by nearest neighbour: the crop's index for every pixel of the mask.
        along = torch.arange(self._side) * size[rows, None] // self._side
        index = pixel_index(self._starts[which[rows]], widths[rows], crops, along, along)
        return self._pool.gather(index).permute(0, 3, 1, 2) > 0


def _read_pool(folder: str) -> list[Tensor]:
    pool = [read_mask(path) for path in find_pictures([folder])]
    pool = [mask for mask in pool if mask.any() and not mask.all()]
    if not pool:
        raise DataError(f"{folder}: no mask in it has both holes (white) and known pixels")
    return pool
