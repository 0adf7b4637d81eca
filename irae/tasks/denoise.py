"""The task ``denoise``: additive white Gaussian noise."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from irae.errors import UsageError
from irae.tasks.base import Batch, DamageBatch, Damaged, Degradation, Task, number
from irae.tasks.schema import (
    DegradationSection,
    Level,
    Share,
    ValidationSection,
    check_range,
)

if TYPE_CHECKING:
    from torch import Tensor

    from irae.tasks.batch_random import BatchRandom


@dataclass(frozen=True)
class Noise(Degradation):
    """White Gaussian noise of ``sigma`` in 8-bit units, ``clipped`` and rounded as in a file."""

    sigma: float
    clipped: bool = False
    task: ClassVar[str] = "denoise"

    def describe(self) -> str:
        """See `Degradation.describe`."""
        return f"sigma {self.sigma:g}" + (", clipped" if self.clipped else "")

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """See `Degradation.degrade`."""
        from irae.imaging.degrade import add_noise
        from irae.runtime import generator

        noisy = add_noise(clean, self.sigma, generator(*seeds), clip=self.clipped)
        return Damaged(noisy, sigma=self.sigma)

    def check_published(self) -> None:
        """See `Degradation.check_published`."""
        if self.clipped:
            raise UsageError("protocol authors has no clipped noise; use protocol standard")

    def training(self, patch: int, protocol: str) -> dict[str, Any]:
        """See `Degradation.training`."""
        return {"sigma": self.sigma, "clipped": float(self.clipped)}

    def validation(self) -> dict[str, Any]:
        """See `Degradation.validation`."""
        return {"sigma": [self.sigma]}


class DenoiseSection(DegradationSection):
    """Noise of training pictures. One number is a fixed level, a pair is a range (blind)."""

    sigma: float | tuple[float, float] = (0.0, 55.0)  # in 8-bit units
    clipped: Share = 0.5  # share of samples whose noise is clipped and rounded as in a file

    @model_validator(mode="after")
    def _range(self) -> DenoiseSection:
        check_range("sigma", self.sigma, 0, 255)
        return self


class DenoiseValidation(ValidationSection):
    """Noise of validation pictures."""

    sigma: list[float] = Field(default=[15.0, 25.0, 50.0], min_length=1)
    clipped: bool = False  # each sigma also clipped and rounded as in a file


class Denoise(Task):
    """White Gaussian noise of a known or unknown level."""

    name = "denoise"
    label = "Remove noise"
    done = "Noise removed"
    axis = "noise, sigma of 255"
    level_option = "sigma"
    levels_help = "numbers from 0 to 255"
    default_levels = (15, 25, 50)
    variants: ClassVar = {"clipped": False}
    section = DenoiseSection
    validation_section = DenoiseValidation
    gives = frozenset({"sigma"})
    damages_on_device = True

    def read_level(self, value: Level, variant: Mapping[str, Any]) -> Degradation:
        """See `Task.level`."""
        return Noise(number(value, 0, 255), variant["clipped"])

    def batch_damage(
        self, section: DenoiseSection, *, seed: int, patch: int, workers: Executor, root: Path
    ) -> DamageBatch:
        """See `Task.batch_damage`."""
        return partial(_add_noise, section)

    def validation_levels(
        self, section: DenoiseValidation, training: Any, height: int, width: int
    ) -> dict[str, Degradation]:
        """See `Task.validation_levels`; all are validated alike."""
        del training
        rounded = (False, True) if section.clipped else (False,)
        levels = [Noise(sigma, clipped) for clipped in rounded for sigma in section.sigma]
        return {level.describe(): level for level in levels}


def _add_noise(section: DenoiseSection, clean: Tensor, gray: Tensor, random: BatchRandom) -> Batch:
    sigma = random.on_device(random.uniform(*check_range("sigma", section.sigma, 0, 255)).float())
    noise = random.normal_pixels(clean.shape[2])
    alike = random.where(gray)
    noise.index_copy_(0, alike, noise[alike, :1].expand(-1, 3, -1, -1))
    degraded = noise.mul_((sigma / 255)[:, None, None, None]).add_(clean)
    # Some samples are clipped and rounded, as noisy pictures in 8-bit files are.
    filed = random.where(random.bernoulli(section.clipped))
    levels = (degraded[filed].clamp_(0, 1) * 255).round_()
    degraded.index_copy_(0, filed, levels.div_(255))
    return Batch(clean, degraded, sigma=sigma)


TASK = Denoise()
