"""Real pairs: a noisy photograph and a clean one of the same scene.

They are files ``NAME_noisy.*`` and ``NAME_clean.*``. The clean one is usually the mean of a burst.
The light drifted during the burst, so the two differ by more than noise: `without_drift` gives the
clean picture the light of the noisy one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.data.folder import PictureSet, find_in_folder
from irae.errors import DataError, PictureError, UsageError
from irae.imaging.analysis.damage import UNDAMAGED
from irae.imaging.analysis.jpeg_quality import estimate_jpeg_quality
from irae.imaging.blur import gaussian_blur
from irae.imaging.io.files import read_picture
from irae.imaging.metrics import rgb_to_y
from irae.tasks.base import Damaged, Degradation

NOISY, CLEAN = "_noisy", "_clean"

DRIFT_SIGMA = 25.0
"""Standard deviation in pixels of the blur that separates drift from noise."""

_DRIFT_SCALE = 8  # The blur is computed at an eighth of the size, where it is 64 times as fast.


@dataclass(frozen=True)
class Pair:
    """The two files of one scene."""

    name: str
    noisy: Path
    clean: Path


def find_pairs(folder: Path) -> list[Pair]:
    """Find the pairs in a folder and its subfolders, sorted by name.

    Raises:
        DataError: the folder does not exist, has no pairs, or has a pair with a missing half.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give a folder of NAME_noisy.*, NAME_clean.*")
    halves: dict[str, dict[str, Path]] = {}
    for path in find_in_folder(folder):
        for mark in (NOISY, CLEAN):
            if path.stem.endswith(mark):
                name = (path.parent / path.stem.removesuffix(mark)).relative_to(folder).as_posix()
                other = halves.setdefault(name, {}).setdefault(mark, path)
                if other != path:
                    raise DataError(f"{path}: there is also {other.name}; keep one of the two")
    for name, found in halves.items():
        for mark in (NOISY, CLEAN):
            if mark not in found:
                here = next(iter(found.values()))
                raise DataError(f"{here}: its other half {name}{mark}.* is missing")
    if not halves:
        raise DataError(f"{folder}: has no pairs, pictures called NAME_noisy.* and NAME_clean.*")
    return [Pair(name, each[NOISY], each[CLEAN]) for name, each in sorted(halves.items())]


def read_pair(pair: Pair) -> tuple[Tensor, Tensor]:
    """Read the noisy and the clean picture, float32 ``3 H W`` in [0, 1].

    Raises:
        DataError: one of them cannot be read or is neither gray nor RGB, or their sizes differ.
    """
    found = []
    for path in (pair.noisy, pair.clean):
        try:
            pixels = read_picture(path).pixels
        except PictureError as error:
            raise DataError(str(error)) from None
        if pixels.shape[0] not in (1, 3):
            raise DataError(f"{path}: pairs are gray or RGB pictures; convert it")
        found.append(pixels.expand(3, -1, -1))
    noisy, clean = found
    if noisy.shape != clean.shape:
        raise DataError(
            f"{pair.noisy}: is {noisy.shape[2]}x{noisy.shape[1]}, its clean half "
            f"{clean.shape[2]}x{clean.shape[1]}; cut them to the same part"
        )
    return noisy, clean


@dataclass(frozen=True)
class RealPairs(Degradation):
    """The noisy halves of real pairs, as damage to their clean halves; see `open_pairs`.

    Attributes:
        task: name of the task of the model to measure.
        folder: folder of the pairs.
        noisy: paths of the noisy pictures, in the order of the clean ones.
        sigma: noise level in 8-bit units, for models that need it; None otherwise.
    """

    task: str  # type: ignore[misc]
    folder: Path
    noisy: tuple[Path, ...]
    sigma: float | None = None

    def describe(self) -> str:
        """See `Degradation.describe`."""
        told = "" if self.sigma is None else f", told sigma {self.sigma:g}"
        return f"pairs {self.folder.name or self.folder}{told}"

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """See `Degradation.degrade`; only the index of the picture matters."""
        path = self.noisy[seeds[-1]]
        # Read as the clean half is, its EXIF rotation applied.
        noisy = PictureSet(self.folder.name, list(self.noisy)).load(seeds[-1]).float() / 255
        if noisy.shape[1:] != clean.shape[1:]:
            raise UsageError(f"{path} and its clean half are of different sizes; cut them alike")
        if len(clean) == 1:
            noisy = (rgb_to_y(noisy[None])[0] * 255).round() / 255
        return Damaged(noisy, sigma=self.sigma)


def open_pairs(folder: Path, task: str, sigma: float | None = None) -> tuple[PictureSet, RealPairs]:
    """Open pairs for measuring: the clean pictures, and the damage that yields the noisy ones.

    Args:
        folder: folder of ``NAME_noisy.*`` and ``NAME_clean.*``.
        task: name of the task of the model to measure.
        sigma: noise level in 8-bit units, for models that need it.

    Raises:
        DataError: as for `find_pairs`.
    """
    pairs = find_pairs(folder)
    pictures = PictureSet(folder.resolve().name, [pair.clean for pair in pairs], folder=folder)
    return pictures, RealPairs(task, folder, tuple(pair.noisy for pair in pairs), sigma)


def without_drift(noisy: Tensor, clean: Tensor) -> Tensor:
    """Give the clean picture the light of the noisy one: clean + blur(noisy - clean), ``3 H W``."""
    height, width = clean.shape[1:]
    difference = (noisy - clean)[None]
    side = max(1, min(_DRIFT_SCALE, height // 8, width // 8))
    small = F.interpolate(
        difference, size=(max(1, height // side), max(1, width // side)), mode="area"
    )
    sigma = DRIFT_SIGMA / side
    blurred = gaussian_blur(small, torch.tensor([sigma]), largest=sigma)
    drift = F.interpolate(blurred, size=(height, width), mode="bilinear", align_corners=False)
    return clean + drift[0]


class PairPool:
    """Real pairs in host memory, from which patches are cut.

    Args:
        folder: folder of the pairs.
        least: side of the patches in pixels, hence the least side of a picture.
        correct_drift: whether to apply `without_drift`.

    Raises:
        DataError: as for `find_pairs` and `read_pair`, or a picture is smaller than a patch.
    """

    def __init__(self, folder: Path, least: int, *, correct_drift: bool = True) -> None:
        self._quality: dict[int, int] = {}
        self._noisy: list[Tensor] = []
        self._clean: list[Tensor] = []
        for pair in find_pairs(folder):
            noisy, clean = read_pair(pair)
            if min(noisy.shape[1:]) < least:
                raise DataError(
                    f"{pair.noisy}: is too small for patches of {least}; lower data.patch"
                )
            target = without_drift(noisy, clean) if correct_drift else clean
            self._noisy.append((noisy * 255).round().to(torch.uint8))
            # The mean of a burst is finer than 8 bits.
            self._clean.append(target.half())
        # Large scenes show more, but the small ones of another camera must not drown in them.
        self.weights = [noisy[0].numel() ** 0.5 for noisy in self._noisy]

    def quality(self, number: int) -> int:
        """Return the JPEG quality of a noisy picture, found at its first use; 100 without JPEG."""
        if number not in self._quality:
            found = estimate_jpeg_quality(self._noisy[number].float() / 255)
            self._quality[number] = UNDAMAGED if found is None else found.quality
        return self._quality[number]

    def cut(
        self, number: int, down: float, right: float, symmetry: int, side: int
    ) -> tuple[Tensor, Tensor]:
        """Cut a noisy and a clean patch, float32 ``3 side side``.

        Args:
            number: index of the pair.
            down, right: position of the corner, as shares in [0, 1) of the possible range.
            symmetry: which of the eight symmetries of the square to apply, 0 to 7.
            side: side of the patch in pixels.
        """
        noisy, clean = self._noisy[number], self._clean[number]
        y = int(down * (noisy.shape[1] - side + 1))
        x = int(right * (noisy.shape[2] - side + 1))
        patches = []
        for whole in (noisy, clean):
            patch = whole[:, y : y + side, x : x + side].float()
            patch = patch.transpose(1, 2) if symmetry & 1 else patch
            patch = patch.flip(1) if symmetry & 2 else patch
            patches.append(patch.flip(2) if symmetry & 4 else patch)
        return patches[0] / 255, patches[1]
