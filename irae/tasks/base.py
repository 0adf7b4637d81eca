"""The base classes of a task and of one level of its damage.

A new task is a file with a subclass of `Task` and one of `Degradation` (see `irae.tasks.denoise`,
the shortest), a line in `irae.tasks` and a config. The command line imports these modules without
PyTorch, so they import everything that needs it inside their functions.
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
    """A damaged picture and the other inputs of a model.

    Attributes:
        pixels: float32 ``C H W``; unclipped noise leaves [0, 1]. Masked pixels are 0 by default.
        mask: bool ``1 H W``, True in the masked region; None where nothing is to be filled.
        mask_path: the file from which the mask was read.
        sigma: the noise level in 8-bit units, if known.
        empty_masks: mask files that were passed over because they mark nothing.
    """

    pixels: Tensor
    mask: Tensor | None = None
    mask_path: Path | None = None
    sigma: float | None = None
    empty_masks: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Batch:
    """One training batch.

    Attributes:
        clean: target patches ``B 3 H W`` in [0, 1].
        degraded: the damaged patches, of the same shape.
        mask: bool ``B 1 H W``, True in the masked region; None if there is none.
        sigma: noise levels ``B`` in 8-bit units, if known.
        codes: codes of the damage ``B CODES``, see `irae.imaging.analysis.damage`, if known.
        damaged: bool ``B 1 H W``, True where a detector is to find damage; None if nothing is to
            be found.
    """

    clean: Tensor
    degraded: Tensor
    mask: Tensor | None = None
    sigma: Tensor | None = None
    codes: Tensor | None = None
    damaged: Tensor | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Return what there is, by the attributes' names."""
        return {name: value for name, value in vars(self).items() if value is not None}


DamageBatch = Callable[["Tensor", "Tensor", "BatchRandom"], Batch]
"""Maps clean patches ``B 3 H W``, a bool ``B`` in host memory that marks the gray ones, and the
batch's random numbers to a training batch."""


@dataclass(frozen=True)
class Degradation(ABC):
    """One level of damage to test pictures; subclasses are frozen dataclasses.

    All randomness comes from the seeds: a picture gets the same noise pattern at every level.

    Attributes:
        task: name of the task that undoes this damage.
    """

    task: ClassVar[str]

    @abstractmethod
    def describe(self) -> str:
        """Return one short phrase for a table."""

    @abstractmethod
    def degrade(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """Damage a picture.

        Args:
            clean: float32 ``C H W`` in [0, 1], C 1 or 3, or 4 for CMYK.
            seeds: seeds of all randomness; the last is the picture's index in its set.

        Raises:
            UsageError: the damage does not fit the picture.
            IraeError: a file that the damage needs cannot be read.
        """

    def check_published(self) -> None:
        """Raise `UsageError` if the published code has no such damage."""
        return

    def degrade_as_published(self, clean: Tensor, seeds: tuple[int, ...]) -> Damaged:
        """Damage a picture as the code published with the paper does; otherwise as `degrade`."""
        return self.degrade(clean, seeds)

    def training(self, patch: int, protocol: str) -> dict[str, Any]:
        """Return the keys of the task's config section that train for this level alone.

        Args:
            patch: side of the training patches in pixels.
            protocol: name of the test protocol.
        """
        del patch, protocol
        return {}

    def validation(self) -> dict[str, Any]:
        """Return the keys of the task's validation section that validate at this level alone."""
        return {}

    @property
    def jpeg_options(self) -> dict[str, Any] | None:
        """Pillow's options for a JPEG file with exactly this damage; None if no file has it."""
        return None


class Task(ABC):
    """One kind of damage, and everything that the toolkit needs in order to undo it.

    Attributes:
        name: the name that users type and that model files store.
        label: the caption of a button, in the imperative.
        done: the phrase that describes a restored picture.
        axis: label of the axis in a plot over the levels.
        level_option: name of the command-line option for a level: ``"sigma"`` for ``--sigma``.
        levels_help: the values that a level may have, for help texts and errors.
        default_levels: levels measured if the user names none; empty if there is no default.
        variants: further parameters of a level, with their defaults: ``{"clipped": False}``.
        section: schema of the config section ``degradation``.
        validation_section: schema of the config section ``data.validation``.
        gives: inputs it provides besides the picture: ``"sigma"``, ``"mask"``.
        needs_mask: whether the user must supply a mask.
        keeps_tone: whether toned black-and-white pictures are restored along the line of their
            colours (`irae.imaging.analysis.tone`).
        fills_impulses: whether salt and pepper is filled before the network sees a picture
            (`irae.imaging.analysis.impulses`).
        leaves_shared_noise: whether the packaged model leaves noise that all channels share to the
            packaged denoiser (`irae.restoring.whitening`).
        damages_on_device: whether a GPU damages training batches faster than the cores beside it.
        published_batch: number of pictures that the published code tests at a time.
        measures: scores besides PSNR and SSIM; for each a heading and the number of decimals.
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
    keeps_tone: ClassVar[bool] = False
    fills_impulses: ClassVar[bool] = False
    leaves_shared_noise: ClassVar[bool] = False
    damages_on_device: ClassVar[bool] = False
    published_batch: ClassVar[int] = 100
    measures: ClassVar[Mapping[str, tuple[str, int]]] = {}

    @abstractmethod
    def read_level(self, value: Level, variant: Mapping[str, Any]) -> Degradation:
        """Parse a level; see `level`. ``variant`` has a value for every key of ``variants``."""

    def level(self, value: Level, **variant: Any) -> Degradation:
        """Parse one level of damage from the command line, a benchmark or Python.

        Args:
            value: a number or a word; a number may be given as text.
            variant: parameters from ``variants``.

        Raises:
            UsageError: there is no such level; the message does not name the option.
        """
        for name in variant:
            if name not in self.variants:
                raise UsageError(f"task {self.name} knows no {name!r}")
        return self.read_level(value, {**self.variants, **variant})

    def levels(self, text: str | None = None, **variant: Any) -> list[Degradation]:
        """Parse several levels, separated by commas; None gives the default levels.

        Raises:
            UsageError: a level is malformed or out of range, or there is no default.
        """
        if text is None and not self.default_levels:
            raise UsageError(f"task {self.name} needs {self.levels_help}")
        words: Iterable[Level] = self.default_levels if text is None else text.split(",")
        return [self.level(word, **variant) for word in words]

    @abstractmethod
    def batch_damage(
        self, section: Any, *, seed: int, patch: int, workers: Executor, root: Path
    ) -> DamageBatch:
        """Return the function that damages the training batches of a run.

        Args:
            section: the section ``degradation`` of the run's config.
            seed: seed of the run.
            patch: side of the patches in pixels.
            workers: executor for the work done in host memory.
            root: root folder of the data.

        Raises:
            DataError: a file that the damage needs is missing or unsuitable.
        """

    @abstractmethod
    def validation_levels(
        self, section: Any, training: Any, height: int, width: int
    ) -> dict[str, Degradation]:
        """Return the levels at which a run of this task is validated, by name.

        Args:
            section: the section ``data.validation`` of the run's config.
            training: the section ``degradation``: what the run learns to undo.
            height, width: size of the picture in pixels.
        """

    def validation_pairs(self, section: Any, root: Path) -> list[tuple[str, Tensor, Damaged]]:
        """Return further, real pictures for validation: level, clean ``3 H W``, damaged.

        Args:
            section: the section ``data.validation`` of the run's config.
            root: root folder of the data.

        Raises:
            DataError: a picture is missing or unsuitable.
        """
        del section, root
        return []

    def measure(self, pixels: Tensor, clean: Tensor) -> dict[str, list[float]]:
        """Score ``B C H W`` against the target: one number per picture and key of ``measures``."""
        del pixels, clean
        return {}


def number(value: Level, low: float, high: float) -> float:
    """Parse a level that is a number.

    Raises:
        UsageError: it is not a number, or lies outside [``low``, ``high``].
    """
    try:
        found = float(value)
    except ValueError:
        raise UsageError(f"{str(value).strip()!r} is no number; write them as in 10,20") from None
    # Written so that "nan" fails too.
    if not low <= found <= high:
        raise UsageError(f"{str(value).strip()} is not from {low:g} to {high:g}")
    return found
