"""Finding dust, hairs, scratches and stamps: probabilities, the mask to fill, and words for both.

A picture is damaged if a pixel has at least the model's threshold, which is chosen by the rate of
false alarms on undamaged photographs, or if a region is certain all over. In a damaged picture,
less certain regions are believed too (hysteresis thresholding, Canny 1986, section V). The mask has
these regions, without those that are too small to be trusted, and grown by some pixels: damage has
soft rims that a network hardly sees, and a rim that is left would spoil what is filled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from irae.imaging.tiling import Progress, tile_spans
from irae.models.checkpoints.model_file import load_detector
from irae.models.loaded_detector import LoadedDetector
from irae.restoring.damage_kinds import shares_by_kind
from irae.runtime import select_device

DETECTOR = "scratches"
"""The packaged detector that is used if no other is named."""

WEAK = 0.65
"""Probability from which a pixel of a damaged picture is damaged. At 0.4, 1.4 times as much of
undamaged pictures was marked, and damaged ones were 0.1 dB worse when filled."""

SURE, SURE_LINE, SURE_AREA = 0.88, 0.75, 150
"""Least mean probability of a region that is certain all over, the same of a thin one, and the
least number of its pixels with which it makes a picture a damaged one: a long scratch may have no
single pixel that reaches the threshold. Of 32 pictures with drawn scratches 20 are found damaged,
without SURE_LINE 13."""

FAINT, THIN = 0.4, 2.5
"""Probability from which a found region goes on where the region of this probability is thin: a
scratch has faint places and ends. A region is thin if its middle is no farther from its rim, in
pixels."""

LEAST_AREA = 4
"""Least number of pixels of a region; smaller ones are not told from noise."""

GROWN = 1
"""Number of pixels by which the found regions grow in every direction."""

TILE, OVERLAP = 640, 96
"""Side of the tiles in pixels, and the pixels that neighbours share. The network's coarsest level
sees 96 pixels to either side and more."""

LONGEST = 3072
"""Longest side in pixels at which a picture is looked at. Larger ones, in which damage is larger
too, are reduced by the least whole number that makes them fit."""

MOST_DAMAGED = 0.7
"""Share of a picture above which what was found is no mask of holes: too little is known."""

TOO_LITTLE_LEFT = "too little is left to fill it from"
"""What messages say of more than that."""


@dataclass(frozen=True)
class FoundDamage:
    """The damage found in a picture.

    Attributes:
        mask: bool ``1 H W`` in host memory, True where the picture is damaged.
        shares: share of the picture by kind of damage, such as ``scratches and hairs``, the
            largest first; without the rim by which the mask has grown.
    """

    mask: Tensor
    shares: Mapping[str, float]

    @property
    def share(self) -> float:
        """Share of the picture that the mask marks."""
        return float(self.mask.float().mean())

    @property
    def too_much(self) -> bool:
        """Whether over `MOST_DAMAGED` of the picture is marked, which cannot be filled."""
        return self.share > MOST_DAMAGED

    def describe(self) -> str:
        """Describe what was found: ``2.14 % is damaged: scratches and hairs 1.20 %, …``."""
        if not self.mask.any():
            return "no damage found"
        kinds = ", ".join(f"{kind} {_percent(share)}" for kind, share in self.shares.items())
        return f"{_percent(self.share)} of the picture is damaged: {kinds}"

    def as_json(self) -> dict[str, Any]:
        """Return the shares as plain JSON."""
        kinds = {kind: round(share, 6) for kind, share in self.shares.items()}
        return {"damaged": round(self.share, 6), "kinds": kinds}


class _Regions:
    """The connected regions of pixels with at least some probability, and figures of each.

    There is at least one such pixel. Only these are looked at: they are few.
    """

    def __init__(self, found: NDArray[Any], least: float) -> None:
        self._inside = found >= least
        self.numbers, self.count = ndimage.label(self._inside, structure=[[1, 1, 1]] * 3)
        self._numbers, self._values = self.numbers[self._inside], found[self._inside]

    @cached_property
    def areas(self) -> NDArray[Any]:
        return np.bincount(self._numbers)[1:]

    @property
    def means(self) -> NDArray[Any]:
        means: NDArray[Any] = np.bincount(self._numbers, self._values)[1:] / self.areas
        return means

    @property
    def peaks(self) -> NDArray[Any]:
        return self._largest(self._values)

    @cached_property
    def thickness(self) -> NDArray[Any]:
        """The largest distance of a pixel from the rim."""
        return self._largest(ndimage.distance_transform_edt(self._inside)[self._inside])

    def _largest(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.atleast_1d(ndimage.maximum(values, self._numbers, range(1, self.count + 1)))

    def mask(self, chosen: NDArray[Any]) -> NDArray[Any]:
        """Return the pixels of the chosen regions, bool ``H W``."""
        found: NDArray[Any] = np.concatenate([[False], chosen])[self.numbers]
        return found


class DamageFinder:
    """Finds damage with one model.

    Example:
        >>> from irae.restoring.find_damage import DamageFinder
        >>> found = DamageFinder().find(picture.pixels)
        >>> print(found.describe())
    """

    def __init__(
        self,
        model: str | Path | LoadedDetector = DETECTOR,
        *,
        device: str = "auto",
        threshold: float | None = None,
        grow: int = GROWN,
    ) -> None:
        """Load a model and move it to its device. It computes in float32, as its threshold was.

        Args:
            model: a packaged detector's name, a model file, a run folder or a loaded model.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            threshold: probability from which a picture is damaged; None is the model's own.
            grow: number of pixels by which found regions grow.

        Raises:
            ModelError: the model cannot be loaded, or finds no damage.
            UsageError: the device does not exist.
        """
        self.model = model if isinstance(model, LoadedDetector) else load_detector(model)
        self.model.to(select_device(device))
        self.threshold = self.model.threshold if threshold is None else threshold
        self._grow = grow

    def probabilities(self, pixels: Tensor, progress: Progress | None = None) -> Tensor:
        """Return the probability that each pixel is damaged, float32 ``1 H W`` in host memory.

        A picture of more than `LONGEST` is reduced before, and the probabilities are enlarged. A
        large picture is looked at in tiles, so that the memory beside the result is bounded.

        Args:
            pixels: float32 ``C H W`` in [0, 1]; C is 3 (RGB), 1 (gray) or 4 (CMYK as 1 − ink, of
                which the three colours are looked at).
            progress: called after each tile with the share that is done; may raise to end the work.

        Raises:
            ModelError: the network returned numbers that are not finite.
        """
        size, factor = pixels.shape[1:], _reduction(pixels.shape[1:])
        if factor == 1:
            return self._in_tiles(pixels[:3], progress)
        reduced = F.avg_pool2d(pixels[:3], factor, ceil_mode=True, count_include_pad=False)
        return _enlarged(self._in_tiles(reduced, progress), factor, size)

    def _in_tiles(self, pixels: Tensor, progress: Progress | None) -> Tensor:
        height, width = pixels.shape[1:]
        rows = tile_spans(height, TILE, OVERLAP, self.model.size_multiple)
        columns = tile_spans(width, TILE, OVERLAP, self.model.size_multiple)
        found = torch.zeros(1, height, width)
        for number, row in enumerate(rows):
            for place, column in enumerate(columns, 1):
                part = (slice(None), slice(row.start, row.stop), slice(column.start, column.stop))
                near = self.model.probabilities(pixels[part].clamp(0, 1)[None])[0].cpu()
                found[part] += near * row.weight[:, None] * column.weight
                if progress is not None:
                    progress((number * len(columns) + place) / (len(rows) * len(columns)))
        return found

    def mask_of(self, probabilities: Tensor) -> Tensor:
        """Return the found regions of probabilities ``1 H W``: bool ``1 H W``, not grown."""
        found = probabilities[0].numpy()
        nothing = torch.zeros(probabilities.shape, dtype=torch.bool)
        if found.max(initial=0) < min(WEAK, self.threshold):
            return nothing
        regions = _Regions(found, min(WEAK, self.threshold))
        surely = np.where(regions.thickness <= THIN, SURE_LINE, SURE).clip(max=self.threshold)
        sound = regions.areas >= LEAST_AREA
        sure = (regions.means >= surely) & (regions.areas >= SURE_AREA)
        if not (sound & (sure | (regions.peaks >= self.threshold))).any():
            return nothing
        mask = regions.mask(sound)
        faint = _Regions(found, min(FAINT, self.threshold))
        goes_on = np.bincount(faint.numbers[mask], minlength=faint.count + 1)[1:] > 0
        mask |= faint.mask(goes_on & (faint.thickness <= THIN))
        return torch.from_numpy(mask[None])

    def find(self, pixels: Tensor, progress: Progress | None = None) -> FoundDamage:
        """Find the damage of a picture; the arguments are those of `probabilities`."""
        return self.found_in(self.probabilities(pixels, progress), pixels)

    def found_in(self, probabilities: Tensor, pixels: Tensor) -> FoundDamage:
        """Return the damage that probabilities say is in a picture ``C H W``."""
        size, factor = pixels.shape[1:], _reduction(pixels.shape[1:])
        # Regions are judged at the size at which the picture was looked at.
        regions = _enlarged(self.mask_of(probabilities[:, ::factor, ::factor]), factor, size)
        shares = shares_by_kind(regions[0].numpy(), pixels) if regions.any() else {}
        return FoundDamage(grown(regions, self._grow * factor), shares)


def _reduction(size: Sequence[int]) -> int:
    """Return the whole number by which a picture of a height and width is reduced."""
    return -(-max(size) // LONGEST)


def _enlarged(reduced: Tensor, factor: int, size: Sequence[int]) -> Tensor:
    """Repeat the pixels of ``1 h w``, and cut it to a height and width."""
    rows = reduced.repeat_interleave(factor, 1)[:, : size[0]]
    return rows.repeat_interleave(factor, 2)[:, :, : size[1]]


def grown(mask: Tensor, by: int) -> Tensor:
    """Grow a mask, bool ``1 H W``, by a number of pixels in every direction."""
    if not by:
        return mask
    rows = F.max_pool2d(mask.float(), (1, 2 * by + 1), 1, (0, by))
    return F.max_pool2d(rows, (2 * by + 1, 1), 1, (by, 0)) > 0.5


def _percent(share: float) -> str:
    """Return a share in per cent with two digits, of which small ones have at least one."""
    return f"{100 * share:.2f} %" if share >= 5e-5 else "under 0.01 %"
