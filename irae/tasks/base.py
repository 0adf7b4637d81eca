"""What a task is, and what one level of its damage is.

A new task is a file with a subclass of `Task` and one of `Degradation` (see `irae.tasks.denoise`,
the shortest), a line in `irae.tasks` and a config. Modules of tasks are imported by the command
line before PyTorch is: they import what needs it inside their functions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from irae.errors import UsageError
from irae.tasks.schema import DegradationSection, Level, ValidationSection

if TYPE_CHECKING:
    from torch import Tensor

    from irae.tasks.batch_random import BatchRandom


@dataclass(frozen=True)
class Damaged:
    """A damaged picture, and what a model is given besides.

    Attributes:
        pixels: float32 ``C H W``; unclipped noise passes [0, 1]. Holes are 0 unless stated.
        mask: bool ``1 H W``, True in the holes; None where there are none to fill.
        mask_path: the file the mask is from.
        sigma: the noise level in 8-bit units, where it is known.
    """

    pixels: Tensor
    mask: Tensor | None = None
    mask_path: Path | None = None
    sigma: float | None = None


@dataclass(frozen=True)
class Batch:
    """What a network is trained on.

    Attributes:
        clean: ``B 3 H W`` in [0, 1].
        degraded: the same, damaged.
        mask: ``B 1 H W``, True in the holes, where there are some to fill.
        sigma: the noise levels ``B`` in 8-bit units, where they are known.
    """

    clean: Tensor
    degraded: Tensor
    mask: Tensor | None = None
    sigma: Tensor | None = None


DamageBatch = Callable[["Tensor", "Tensor", "BatchRandom"], Batch]
"""Clean patches ``B 3 H W``, which of them are gray (bool ``B``, in host memory), and the random
numbers of the batch → what to train on."""


@dataclass(frozen=True)
class Degradation(ABC):
    """One level of damage to test pictures; subclasses are frozen dataclasses.

    All randomness comes from the seeds: a picture gets the same noise pattern at every level.

    Attributes:
        task: name of the task that undoes it.
    """

    task: ClassVar[str]

    @abstractmethod
    def describe(self) -> str:
        """For a table: one short phrase."""

    @abstractmethod
    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """Damage a picture.

        Args:
            clean: float32 ``C H W`` in [0, 1], C 1 or 3, or 4 for CMYK.
            seeds: of all randomness; the last is the picture's place in its set.

        Raises:
            UsageError: the damage does not fit the picture.
            IraeError: a file that it needs cannot be read.
        """

    def check_published(self) -> None:
        """Raise UsageError if the published code has no such damage."""
        return

    def degrade_as_published(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """As `degrade`, in the manner of the code published with the paper."""
        return self.degrade(clean, seeds)

    def training(self, patch: int, protocol: str) -> dict[str, Any]:
        """Keys of the task's config section that train for just this level.

        Args:
            patch: side of the training patches in pixels.
            protocol: of the test.
        """
        del patch, protocol
        return {}

    def validation(self) -> dict[str, Any]:
        """Keys of the task's validation section that validate at just this level."""
        return {}

    @property
    def jpeg_options(self) -> dict[str, Any] | None:
        """Options of Pillow that give a JPEG file which is this damage and no more; else None."""
        return None


class Task(ABC):
    """One kind of damage, and all that the toolkit must know to undo it.

    Attributes:
        name: as typed by users and kept in model files.
        label: on a button, in the imperative.
        done: what a restored picture is said to have had done to it.
        axis: under a plot over the levels.
        level_option: the word for a level on the command line: ``--sigma``.
        levels_help: what a level may be, for help texts and errors.
        default_levels: those measured when nothing is said; empty where there is no default.
        variants: what else levels may be told, with defaults: ``{"clipped": False}``.
        section: schema of the config section ``degradation``.
        validation_section: schema of the config section ``data.validation``.
        gives: what it can tell a network besides the picture: ``"sigma"``, ``"mask"``.
        needs_mask: the user must say where the holes are.
        in_host_memory: its damage is done on the CPU, whatever device trains.
        published_batch: pictures tested at a time by the code published with the paper.
        measures: what is measured besides PSNR and SSIM: a heading and the decimals that count.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    done: ClassVar[str]
    axis: ClassVar[str] = "level"
    level_option: ClassVar[str] = "level"
    levels_help: ClassVar[str]
    default_levels: ClassVar[tuple[Level, ...]] = ()
    variants: ClassVar[Mapping[str, Any]] = {}
    section: ClassVar[type[DegradationSection]]
    validation_section: ClassVar[type[ValidationSection]] = ValidationSection
    gives: ClassVar[frozenset[str]] = frozenset()
    needs_mask: ClassVar[bool] = False
    in_host_memory: ClassVar[bool] = False
    published_batch: ClassVar[int] = 100
    measures: ClassVar[Mapping[str, tuple[str, int]]] = {}

    @abstractmethod
    def read_level(self, value: Level, variant: Mapping[str, Any]) -> Degradation:
        """See `level`; ``variant`` has a value for every key of ``variants``."""

    def level(self, value: Level, **variant: Any) -> Degradation:
        """One level of damage, from the command line, a benchmark or Python.

        Args:
            value: a number or word; numbers may come as text.
            variant: of ``variants``.

        Raises:
            UsageError: there is no such level; the message does not name the option.
        """
        for name in variant:
            if name not in self.variants:
                raise UsageError(f"task {self.name} knows no {name!r}")
        return self.read_level(value, {**self.variants, **variant})

    def levels(self, text: str | None = None, **variant: Any) -> list[Degradation]:
        """Several levels, parted by commas; the default ones if None.

        Raises:
            UsageError: one is malformed or out of range, or there is no default.
        """
        if text is None and not self.default_levels:
            raise UsageError(f"task {self.name} needs {self.levels_help}")
        words: Iterable[Level] = self.default_levels if text is None else text.split(",")
        return [self.level(word, **variant) for word in words]

    @abstractmethod
    def batch_damage(
        self, section: Any, *, seed: int, patch: int, workers: Executor, root: Path
    ) -> DamageBatch:
        """What damages the batches of a run.

        Args:
            section: of the run's config.
            seed: of the run.
            patch: side of the patches in pixels.
            workers: for what is done in host memory.
            root: of the data.

        Raises:
            DataError: files that it needs are missing or unfit.
        """

    @abstractmethod
    def validation_levels(self, section: Any, height: int, width: int) -> dict[str, Degradation]:
        """Name → damage of the levels that a run of this task is validated at.

        Args:
            section: of the run's config.
            height, width: of the picture in pixels.
        """

    def validation_pairs(self, section: Any, root: Path) -> list[tuple[str, Tensor, Damaged]]:
        """Real pictures to validate on besides: level, clean ``3 H W``, damaged.

        Args:
            section: of the run's config.
            root: of the data.

        Raises:
            DataError: one is missing or unfit.
        """
        del section, root
        return []

    def measure(self, pixels: Tensor, clean: Tensor) -> dict[str, list[float]]:
        """Scores of ``B C H W`` against the target, by the keys of ``measures``; one a picture."""
        del pixels, clean
        return {}


def number(value: Level, low: float, high: float) -> float:
    """A level that is a number.

    Raises:
        UsageError: it is none, or not from ``low`` to ``high``.
    """
    try:
        found = float(value)
    except ValueError:
        raise UsageError(f"{str(value).strip()!r} is no number; write them as in 10,20") from None
    # Written so that "nan" fails too.
    if not low <= found <= high:
        raise UsageError(f"{str(value).strip()} is not from {low:g} to {high:g}")
    return found
