"""The task ``jpeg``: compression by Pillow's JPEG encoder."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

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

Subsampling = Literal["4:2:0", "4:4:4"]


@dataclass(frozen=True)
class Jpeg(Degradation):
    """JPEG compression by Pillow at ``quality`` 1 to 100."""

    quality: int
    subsampling: Subsampling = "4:2:0"
    task: ClassVar[str] = "jpeg"

    def describe(self) -> str:
        """See `Degradation.describe`."""
        return f"quality {self.quality}, {self.subsampling}"

    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """See `Degradation.degrade`; CMYK is compressed as an RGB (CMY) and a gray (K) picture."""
        from torch import cat

        from irae.imaging.degrade import jpeg_compress

        parts = (clean[:3], clean[3:]) if len(clean) > 3 else (clean,)
        compressed = [
            jpeg_compress(part, self.quality, subsampling=self.subsampling) for part in parts
        ]
        return Damaged(cat(compressed))

    def training(self, patch: int, protocol: str) -> dict[str, Any]:
        """See `Degradation.training`."""
        return {"quality": self.quality, "subsampling": [self.subsampling], "aligned": 1}

    def validation(self) -> dict[str, Any]:
        """See `Degradation.validation`."""
        return {"quality": [self.quality]}

    @property
    def jpeg_options(self) -> dict[str, Any]:
        """See `Degradation.jpeg_options`."""
        return {"quality": self.quality, "subsampling": self.subsampling}


class JpegSection(DegradationSection):
    """JPEG damage of training pictures. One number is a fixed quality, a pair a range (blind)."""

    quality: int | tuple[int, int] = (5, 95)
    quality_distribution: Literal["uniform", "log"] = "uniform"  # log: 5-10 is as likely as 10-20
    subsampling: list[Subsampling] = Field(default=["4:2:0", "4:4:4"], min_length=1)
    aligned: Share = 0.5  # share of samples whose JPEG blocks start at the patch's corner

    @model_validator(mode="after")
    def _range(self) -> JpegSection:
        check_range("quality", self.quality, 1, 100)
        return self


class JpegValidation(ValidationSection):
    """JPEG damage of validation pictures, with 4:2:0 subsampling."""

    quality: list[int] = Field(default=[10, 20, 40], min_length=1)


class JpegTask(Task):
    """JPEG damage of unknown quality."""

    name = "jpeg"
    label = "Undo JPEG damage"
    done = "JPEG damage undone"
    axis = "JPEG quality"
    level_option = "quality"
    levels_help = "whole numbers from 1 to 100"
    default_levels = (10, 20, 30, 40)
    variants: ClassVar = {"subsampling": "4:2:0"}
    section = JpegSection
    validation_section = JpegValidation
    measures: ClassVar = {"psnr_y": ("PSNR-Y", 2), "psnr_b": ("PSNR-B", 2)}

    def read_level(self, value: Level, variant: Mapping[str, Any]) -> Degradation:
        """See `Task.level`."""
        quality = number(value, 1, 100)
        if not quality.is_integer():
            raise UsageError(f"{quality:g} is no whole number")
        subsampling = variant["subsampling"]
        if subsampling not in get_args(Subsampling):
            raise UsageError(f"subsampling {subsampling!r} is unknown; use 4:2:0 or 4:4:4")
        return Jpeg(int(quality), subsampling)

    def batch_damage(
        self, section: JpegSection, *, seed: int, patch: int, workers: Executor, root: Path
    ) -> DamageBatch:
        """See `Task.batch_damage`."""
        return partial(_compress, section)

    def validation_levels(
        self, section: JpegValidation, training: Any, height: int, width: int
    ) -> dict[str, Degradation]:
        """See `Task.validation_levels`; all are validated alike."""
        del training
        return {f"quality {quality}": Jpeg(quality) for quality in section.quality}

    def measure(self, pixels: Tensor, clean: Tensor) -> dict[str, list[float]]:
        """Measure PSNR and PSNR-B of the luma, clipped and not rounded."""
        from irae.imaging.metrics import psnr, psnr_b, rgb_to_y

        if pixels.shape[1] == 3:
            pixels, clean = rgb_to_y(pixels), rgb_to_y(clean)
        return {"psnr_y": psnr(pixels, clean).tolist(), "psnr_b": psnr_b(pixels, clean).tolist()}


def _compress(section: JpegSection, clean: Tensor, gray: Tensor, random: BatchRandom) -> Batch:
    import torch

    from irae.imaging.jpeg import compress_together, frame_pictures

    del gray  # Their chroma is zero, and stays so.
    quality = _qualities(section, random)
    kinds = section.subsampling
    subsampling = random.integer(0, len(kinds) - 1)
    # Shifted samples imitate pictures cropped after compression, whose blocks start anywhere.
    moved = ~random.bernoulli(section.aligned)
    down, right = (random.integer(0, 15) * moved for _ in range(2))
    halved = torch.tensor([kind == "4:2:0" for kind in kinds])[subsampling]
    framing = frame_pictures(clean.shape[2], clean.shape[3], down, right)
    return Batch(clean, compress_together(clean, quality, halved, framing))


def _qualities(section: JpegSection, random: BatchRandom) -> Tensor:
    low, high = check_range("quality", section.quality, 1, 100)
    if section.quality_distribution == "log":
        return random.uniform(math.log(low), math.log(high)).exp().round().long()
    return random.integer(int(low), int(high))


TASK = JpegTask()
