"""The interface of an objective: everything in a run that depends on what is optimised."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from irae.config import RunConfig, TrainingSection
from irae.models.loaded import ModelSpec
from irae.tasks.base import Batch
from irae.training.dead_units import Firing
from irae.training.distributed import Ranks


class Batches(Protocol):
    """Makes the batch of any step.

    Attributes:
        left_out: training pictures that could not be read, each with the reason.
    """

    left_out: dict[Path, str]

    def batch(self, step: int, *, whole: bool = False) -> Batch:
        """Make the batch of a step, from 0; the whole batch, or this process's rows."""
        ...

    def prefetched(self, first: int) -> Iterator[Batch]:
        """Yield batches from step ``first`` on."""
        ...


class Described(Protocol):
    """The pictures of a run."""

    def notices(self) -> list[str]:
        """Describe the pictures in one line, and add warnings where there is cause for them."""
        ...


class ValidationScore(Protocol):
    """The score of one validation."""

    round_trip: float | None
    firing: Firing

    @property
    def mean(self) -> float:
        """The number by which checkpoints are ranked; larger is better."""
        ...

    @property
    def dead(self) -> float:
        """Share of hidden units that never fired."""
        ...

    def mostly_dead(self, limit: float) -> dict[str, float]:
        """Return the share of dead units of each layer in which it exceeds ``limit``."""
        ...

    def record(self) -> dict[str, Any]:
        """Return the figures for the log."""
        ...

    def describe(self) -> str:
        """Describe the score in one phrase."""
        ...

    def card(self) -> dict[str, Any]:
        """Return what the card of the validated model states."""
        ...


class Objective(ABC):
    """What a run optimises; one of `irae.training.objectives.choose.objective_of`."""

    @abstractmethod
    def check(self, config: RunConfig, network: nn.Module) -> None:
        """Check that a network can be trained for this.

        Raises:
            TrainingError: it cannot.
        """

    def example(self, config: RunConfig, network: nn.Module, device: torch.device) -> Any:
        """Return the arguments of the network for one sample of training: a patch, no condition."""
        side = config.data.patch
        return torch.full((1, 3, side, side), 0.5, device=device), None

    @abstractmethod
    def open(
        self, config: RunConfig, network: nn.Module, device: torch.device, rows: slice
    ) -> tuple[Described, Batches, Any]:
        """Open the pictures of a run, and make its batches and its validation.

        Raises:
            IraeError: the pictures are missing or do not fit.
        """

    @abstractmethod
    def loss(
        self,
        network: nn.Module,
        forward: Callable[..., Tensor],
        batch: Batch,
        section: TrainingSection,
        ranks: Ranks,
    ) -> tuple[Tensor, Tensor]:
        """Return this process's share of the batch's loss, and a second number (no gradient).

        Their sums over the processes are those of the whole batch.

        Args:
            network: the network in training.
            forward: its forward pass, perhaps compiled.
            batch: this process's rows.
            section: the section ``training`` of the run's config.
            ranks: the processes that share the batch.
        """

    @abstractmethod
    def load(self, network: nn.Module, spec: ModelSpec) -> Any:
        """Return the averaged network as a model for validation."""

    @abstractmethod
    def write_samples(self, model: Any, validation: Any, folder: Path, count: int) -> list[str]:
        """Write sample pictures of the current model into a folder.

        Returns:
            a line for each that could not be made.
        """

    @abstractmethod
    def progress(self, loss: float, error: float) -> tuple[str, dict[str, float]]:
        """Return a phrase about a training step, and its figures for the log.

        Args:
            loss: the loss of the whole batch.
            error: the second number that `irae.training.step.TrainStep.step` returns.
        """

    @abstractmethod
    def best(self, score: float) -> str:
        """Describe the best validation score."""

    @abstractmethod
    def command(self, folder: str) -> str:
        """Return a command that uses the model of a run."""
