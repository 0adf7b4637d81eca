"""The task ``photo``: whatever a camera, a phone, a scanner and the web do to a photograph.

A network trained on white noise does little on real photographs: their noise is weak, correlated
between neighbours and channels, and mostly compressed by JPEG, so that it looks like texture. What
can be measured in the whole picture may be told to the network (`irae.imaging.analysis.damage`).
Its training patches are damaged by a mixture (`irae.tasks.mixture`), and some are replaced by real
pairs (`irae.tasks.pairs`), which help most.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from irae.errors import UsageError
from irae.tasks.base import DamageBatch, Damaged, Degradation, Task, number
from irae.tasks.schema import DegradationSection, Level, Share, ValidationSection, check_range

if TYPE_CHECKING:
    from torch import Tensor

Kind = Literal["camera", "coloured", "white", "toned", "jpeg", "clean"]
KINDS: tuple[Kind, ...] = ("camera", "coloured", "white", "toned", "jpeg", "clean")

CAMERA = "camera"
"""The level that stands for random sensor noise, developed and saved as cameras do."""


@dataclass(frozen=True)
class NoisyJpeg(Degradation):
    """White Gaussian noise of ``sigma``, then JPEG 4:2:0 of ``quality``; rounding only if None."""

    sigma: float
    quality: int | None = None
    task: ClassVar[str] = "photo"

    def describe(self) -> str:
        """See `Degradation.describe`."""
        quality = "" if self.quality is None else f", quality {self.quality}"
        return f"sigma {self.sigma:g}{quality}"

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """See `Degradation.degrade`."""
        from irae.imaging.degrade import add_noise
        from irae.runtime import generator
        from irae.tasks.jpeg import Jpeg

        noisy = add_noise(clean, self.sigma, generator(*seeds), clip=True)
        if self.quality is None:
            return Damaged(noisy, sigma=self.sigma)
        return Damaged(Jpeg(self.quality).degrade(noisy, seeds).pixels, sigma=self.sigma)


@dataclass(frozen=True)
class Developed(Degradation):
    """The picture as a camera would have taken and saved it; see `irae.imaging.camera`."""

    task: ClassVar[str] = "photo"

    def describe(self) -> str:
        """See `Degradation.describe`."""
        return CAMERA

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """See `Degradation.degrade`."""
        from irae.tasks.mixture import damage_picture

        return Damaged(damage_picture(clean, CAMERA, seeds))


class PhotoSection(DegradationSection):
    """The damage of photographs, drawn at random for each training patch."""

    folders = ("pairs",)

    # Relative probability of each kind. camera: sensor noise, demosaiced; coloured and white:
    # Gaussian noise; toned: black-and-white pictures with grain; jpeg: JPEG alone; clean: no
    # damage. The first four are mostly compressed by JPEG as well.
    kinds: dict[Kind, float] = {
        "camera": 0.36,
        "coloured": 0.20,
        "white": 0.20,
        "toned": 0.07,
        "jpeg": 0.11,
        "clean": 0.06,
    }
    sigma: tuple[float, float] = (0.5, 50.0)  # noise except the camera's, in 8-bit units
    quality: tuple[int, int] = (20, 98)  # JPEG quality; mostly 75 or more
    # How often clean pictures are softened before the damage, as photographs at full size are
    # soft: 1 is as often as was measured best (3/4 of the camera's, 1/3 of the noisy), 0 is never.
    soft: Share = 1.0
    # Share of the patches in which up to a tenth of the values are black or white. Restoring fills
    # most of these before the network, so 0 is enough for salt and pepper alone.
    impulses: Share = 0.0
    drawn: Share = 0.06  # share of the patches that are pages of text and drawings
    # Share of the patches that were made smaller or larger after the damage, as on the web.
    resized: Share = 0.1
    pairs: str | None = None  # folder of NAME_noisy.*, NAME_clean.*; below data.root, or a path
    pair_share: Share = 0.35  # share of the patches that are real pairs, if there are any
    correct_drift: bool = True  # remove the change of light between the pictures of a pair

    @model_validator(mode="after")
    def _ranges(self) -> PhotoSection:
        check_range("sigma", self.sigma, 0, 255)
        check_range("quality", self.quality, 1, 100)
        if not self.kinds or min(self.kinds.values()) < 0 or sum(self.kinds.values()) <= 0:
            raise ValueError("kinds needs at least one kind with a positive share")
        return self


class PhotoValidation(ValidationSection):
    """The pictures that decide which weights are best; real pairs count as one more level."""

    folders = ("source", "pairs")

    levels: list[Level] = Field(
        default=["8/95", "15/90", "25/80", "10", "0/90", "0/95"], min_length=1
    )
    pairs: str | None = None  # folder of real pairs; their scenes must not be the training's

    @model_validator(mode="after")
    def _known(self) -> PhotoValidation:
        for level in self.levels:
            try:
                TASK.level(level)
            except UsageError as error:
                raise ValueError(str(error)) from None
        return self


class Photo(Task):
    """Damage of real photographs, of unknown kind and strength."""

    name = "photo"
    label = "Clean up a photograph"
    done = "Photograph cleaned up"
    axis = "noise, sigma of 255, and JPEG quality"
    levels_help = "SIGMA or SIGMA/QUALITY (noise, then JPEG), or camera"
    keeps_tone = True
    fills_impulses = True
    leaves_shared_noise = True
    default_levels = ("8/95", "15/90", "25/80")
    section = PhotoSection
    validation_section = PhotoValidation

    def read_level(self, value: Level, variant: Mapping[str, Any]) -> Degradation:
        """See `Task.level`."""
        if value == CAMERA:
            return Developed()
        sigma, slash, quality = str(value).partition("/")
        found = number(quality, 1, 100) if slash else None
        if found is not None and not found.is_integer():
            raise UsageError(f"{quality} is no whole number")
        return NoisyJpeg(number(sigma, 0, 255), None if found is None else int(found))

    def batch_damage(
        self, section: PhotoSection, *, seed: int, patch: int, workers: Executor, root: Path
    ) -> DamageBatch:
        """See `Task.batch_damage`."""
        from irae.tasks.mixture import Mixture

        return Mixture(section, patch, workers, root)

    def validation_levels(
        self, section: PhotoValidation, training: Any, height: int, width: int
    ) -> dict[str, Degradation]:
        """See `Task.validation_levels`; all are validated alike."""
        del training
        levels = [self.level(value) for value in section.levels]
        return {level.describe(): level for level in levels}

    def validation_pairs(
        self, section: PhotoValidation, root: Path
    ) -> list[tuple[str, Tensor, Damaged]]:
        """See `Task.validation_pairs`."""
        from irae.tasks.mixture import pairs_folder
        from irae.tasks.pairs import find_pairs, read_pair

        if section.pairs is None:
            return []
        found = [read_pair(pair) for pair in find_pairs(pairs_folder(section.pairs, root))]
        return [("real pairs", clean, Damaged(noisy)) for noisy, clean in found]


TASK = Photo()
