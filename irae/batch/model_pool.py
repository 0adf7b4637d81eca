"""The model pool of a batch: one model per task, loaded when a picture first needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from torch import Tensor

from irae.batch.jobs import Job
from irae.imaging.io.masks import has_soft_edges, mask_warning
from irae.imaging.io.picture import Picture
from irae.models.checkpoints.checksums import weights_checksum
from irae.restoring.inspection import choose_task, explain, inspect_read
from irae.restoring.options import RestoreOptions
from irae.restoring.restorer import Restorer
from irae.runtime import select_device
from irae.tasks import filling_task, task_names


@dataclass(frozen=True)
class TaskDecision:
    """The task chosen for one picture.

    Attributes:
        task: name of the task; None leaves the pixels as they are.
        damage: the damage found, as plain JSON; None if the picture was not inspected.
        why: one line for the user if the task was chosen automatically or nothing changes.
        notes: further lines for the user, such as a warning that the mask looks wrong.
    """

    task: str | None
    damage: dict[str, Any] | None = None
    why: str | None = None
    notes: tuple[str, ...] = ()

    def with_no_change(self, source: Path) -> TaskDecision:
        """Return the decision for a picture that equals its result: it is left as it is."""
        why = f"{source}: {self.task} changes nothing here, left as it is"
        return replace(self, task=None, why=why)


class ModelPool:
    """Finds the restorer for a task, and the task for a picture.

    Args:
        options: the user's options; ``device`` may name several devices, separated by commas.
        notify: called with one line when memory ran out and tiles are made smaller.

    Attributes:
        options: the options, with the first of the devices.
        devices: the names of all devices.

    Raises:
        UsageError: one of several devices does not exist.
    """

    def __init__(
        self, options: RestoreOptions, notify: Callable[[str], None] | None = None
    ) -> None:
        self.devices = options.device.split(",")
        if len(self.devices) > 1:
            for name in self.devices:
                select_device(name)
        self.options = replace(options, device=self.devices[0])
        self._notify = notify
        self._lock = Lock()
        self._loaded: dict[str, Restorer] = {}
        self._checksums: dict[str, str] = {}

    def restorer_for(self, task: str) -> Restorer:
        """Return the restorer for a task; if the user named a model, it serves every task.

        Raises:
            ModelError: the model cannot be loaded.
            UsageError: the model is for another task than the user's, or an option does not suit
                it.
        """
        name = self.options.model or task
        with self._lock:  # Several threads may need a model for the first time at once.
            if name not in self._loaded:
                self._loaded[name] = Restorer(name, options=self.options, notify=self._notify)
            return self._loaded[name]

    def on(self, device: str) -> ModelPool:
        """Return another pool with the same options on one device."""
        return ModelPool(replace(self.options, device=device), self._notify)

    def default_task(self, *, masked: bool) -> str:
        """Return a task whose model can check the options before any picture is read."""
        return filling_task().name if masked else task_names()[0]

    def weights_of(self, task: str) -> str:
        """Return the checksum of the network and the weights for a task."""
        restorer = self.restorer_for(task)
        if task not in self._checksums:
            self._checksums[task] = weights_checksum(restorer.model)
        return self._checksums[task]

    def choose(self, job: Job, picture: Picture, mask: Tensor | None = None) -> TaskDecision:
        """Choose the task for a picture: the one in the options, or else by inspection.

        Args:
            job: the picture's job; the source file must exist.
            picture: the picture as read.
            mask: the masked region, if the job has a mask.
        """
        if self.options.strength == 0:
            return TaskDecision(None, why=f"{job.source}: strength 0, left as it is")
        task = job.task or self.options.task
        if job.mask is not None and mask is not None:
            return TaskDecision(filling_task().name, notes=self._doubts(job, job.mask, mask))
        if task is not None:
            return TaskDecision(task)
        if self.options.model is not None:
            return TaskDecision(self.restorer_for("").task)
        found = inspect_read(job.source, picture)
        return TaskDecision(choose_task(found)[0], found.damage(), explain(found))

    def _doubts(self, job: Job, path: Path, mask: Tensor) -> tuple[str, ...]:
        """Return a line for each thing that looks wrong with a mask."""
        warning = mask_warning(mask)
        doubts = [] if warning is None else [f"{job.source}: {warning}"]
        if not self.options.grow_mask and mask.any() and has_soft_edges(path):
            doubts.append(
                f"{job.source}: its mask has soft edges, and pixels below half of white are not"
                " filled; `grow_mask` 2 makes the holes larger"
            )
        return tuple(doubts)
