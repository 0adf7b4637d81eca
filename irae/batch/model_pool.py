"""The models of a batch: one per task, each loaded when the first picture needs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from irae.batch.jobs import Job
from irae.imaging.io.files import has_soft_edges
from irae.imaging.io.picture import Picture
from irae.models.checkpoints.checksums import weights_checksum
from irae.restoring.inspection import choose_task, explain, inspect_read
from irae.restoring.options import RestoreOptions
from irae.restoring.restorer import Restorer
from irae.tasks import filling_task, task_names


@dataclass(frozen=True)
class TaskDecision:
    """What is to be done to one picture.

    Attributes:
        task: what to undo; none: nothing, its pixels stay as they are.
        damage: what was found wrong with it, as plain JSON; none where nobody looked.
        why: one line for the user, where the task was not asked for or the mask may disappoint.
    """

    task: str | None
    damage: dict[str, Any] | None = None
    why: str | None = None


class ModelPool:
    """Finds the restorer of a task, and the task of a picture.

    Args:
        options: what the user asked for.
        notify: told in one line when memory ran out and tiles are made smaller.
    """

    def __init__(
        self, options: RestoreOptions, notify: Callable[[str], None] | None = None
    ) -> None:
        self.options = options
        self._notify = notify
        self._loaded: dict[str, Restorer] = {}
        self._checksums: dict[str, str] = {}

    def restorer_for(self, task: str) -> Restorer:
        """The restorer of a task; with a model asked for, that model's, whatever the task.

        Raises:
            ModelError: the model cannot be loaded.
            UsageError: it does not do the task that was asked for, or an option does not fit it.
        """
        name = self.options.model or task
        if name not in self._loaded:
            self._loaded[name] = Restorer(name, options=self.options, notify=self._notify)
        return self._loaded[name]

    def default_task(self, *, masked: bool) -> str:
        """The task whose model shows whether the options fit, before a picture is looked at."""
        return filling_task().name if masked else task_names()[0]

    def weights_of(self, task: str) -> str:
        """The checksum of the network and the weights that do a task."""
        restorer = self.restorer_for(task)
        if task not in self._checksums:
            self._checksums[task] = weights_checksum(restorer.model)
        return self._checksums[task]

    def choose(self, job: Job, picture: Picture) -> TaskDecision:
        """What is to be done to a picture: what was asked for, or else what it needs.

        Args:
            job: the picture's; its file must be there.
            picture: what was read of it.
        """
        task = job.task or self.options.task
        if job.mask is not None:
            return TaskDecision(filling_task().name, why=self._doubt(job.source, job.mask))
        if task is not None:
            return TaskDecision(task)
        if self.options.model is not None:
            return TaskDecision(self.restorer_for("").task)
        found = inspect_read(job.source, picture)
        return TaskDecision(choose_task(found)[0], found.damage(), explain(found))

    def _doubt(self, source: Path, mask: Path) -> str | None:
        if self.options.grow_mask or not has_soft_edges(mask):
            return None
        return (
            f"{source}: its mask has soft edges, of which what is more black than white stays;"
            " --grow-mask 2 makes the holes larger"
        )
