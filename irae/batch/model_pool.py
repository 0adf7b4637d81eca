"""The model pool of a batch: one model per task, loaded when a picture first needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any

from torch import Tensor

from irae.batch.jobs import Job
from irae.errors import PictureError
from irae.imaging.io.encode import format_of
from irae.imaging.io.masks import NOTHING_KNOWN, has_soft_edges, mask_warning, read_mask
from irae.imaging.io.picture import Picture
from irae.models.checkpoints.checksums import weights_checksum
from irae.restoring.automatic.inspect_picture import inspect_read
from irae.restoring.automatic.inspection import LEFT, choose_task, explain
from irae.restoring.find_damage import DETECTOR, TOO_LITTLE_LEFT, DamageFinder, FoundDamage
from irae.restoring.options import RestoreOptions
from irae.restoring.restorer import Restorer
from irae.runtime import select_device
from irae.tasks import filling_task, get_task, task_names


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
        why = f"{source}: {self.task} changes nothing here, {LEFT}"
        return replace(self, task=None, why=why)

    def with_other_format(self, suffix: str) -> TaskDecision:
        """Return the decision for a picture that stays as it is in a file of another format."""
        if self.why is None:
            return self
        kind = format_of(suffix)
        return replace(self, why=self.why.replace(LEFT, f"only written as {kind}"))


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
        self._finder: DamageFinder | None = None
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

    def finder(self) -> DamageFinder:
        """Return what finds damage.

        Raises:
            ModelError: the detector cannot be loaded.
        """
        with self._lock:
            if self._finder is None:
                options = self.options
                self._finder = DamageFinder(options.detector or DETECTOR, device=options.device)
            return self._finder

    def filler(self) -> Restorer:
        """Return what fills found damage before another task is done."""
        name = filling_task().name
        with self._lock:
            if name not in self._loaded:
                own = replace(self.options, task=None, model=None, sigma=None, strength=1.0)
                self._loaded[name] = Restorer(name, options=own, notify=self._notify)
            return self._loaded[name]

    @property
    def only_fills(self) -> bool:
        """Whether the options leave all pixels outside of found damage bit-equal."""
        options = self.options
        if not options.find_damage:
            return False
        if options.task is None and options.model is not None:
            return get_task(self.restorer_for("").task).needs_mask
        return options.task is None or get_task(options.task).needs_mask

    def restore(
        self, task: str, pictures: Sequence[Picture], masks: Sequence[Tensor | None]
    ) -> list[Picture]:
        """Restore pictures; for a task that takes no mask, what masks mark is filled before.

        Args:
            task: name of the task.
            pictures: pictures, as for `Restorer.restore_pictures`.
            masks: for each picture its mask, bool ``1 H W``, or None.
        """
        restorer = self.restorer_for(task)
        if get_task(restorer.task).needs_mask:
            return restorer.restore_pictures(pictures, masks)
        filled = [
            picture if mask is None else self.filler().restore_picture(picture, mask)
            for picture, mask in zip(pictures, masks, strict=True)
        ]
        return restorer.restore_pictures(filled)

    def on(self, device: str) -> ModelPool:
        """Return another pool with the same options on one device."""
        return ModelPool(replace(self.options, device=device), self._notify)

    def default_task(self, *, masked: bool) -> str:
        """Return a task whose model can check the options before any picture is read."""
        return filling_task().name if masked else task_names()[0]

    def weights_of(self, task: str) -> str:
        """Return the checksum of the network and the weights for a task.

        With `RestoreOptions.find_damage` the checksums of what finds and fills follow.
        """
        restorer = self.restorer_for(task)
        if task not in self._checksums:
            parts = [weights_checksum(restorer.model)]
            if self.options.find_damage:
                parts.append(weights_checksum(self.finder().model))
                if not get_task(restorer.task).needs_mask:
                    parts.append(weights_checksum(self.filler().model))
            self._checksums[task] = "+".join(parts)
        return self._checksums[task]

    def prepare(
        self, job: Job, picture: Picture, *, resize_mask: bool = False
    ) -> tuple[Tensor | None, TaskDecision]:
        """Read or find the mask of a picture, and choose its task.

        Args:
            job: the picture's job; the source file must exist.
            picture: the picture as read, or a page of it.
            resize_mask: scale a mask of another size instead of refusing it.

        Returns:
            The mask, bool ``1 H W``, or None; and the decision.

        Raises:
            PictureError: the mask cannot be read or has another size.
        """
        if job.mask is None and self.options.find_damage and self.options.strength > 0:
            return self._choose_found(job, self.finder().find(picture.pixels))
        mask = None if job.mask is None else read_mask(
            job.mask,
            height=picture.height,
            width=picture.width,
            orientation=picture.orientation,
            resize=resize_mask,
            grow=self.options.grow_mask,
            invert=self.options.invert_mask,
        )  # fmt: skip
        return mask, self.choose(job, picture, mask)

    def _choose_found(self, job: Job, found: FoundDamage) -> tuple[Tensor | None, TaskDecision]:
        line, mask = f"{job.source}: {found.describe()}", found.mask
        fills = bool(mask.any()) and not found.too_much
        if found.too_much:
            line += f"; {TOO_LITTLE_LEFT}, so nothing is filled"
        if not self.only_fills:
            task = job.task or self.options.task or self.restorer_for("").task
            decision = TaskDecision(task, found.as_json(), notes=(line,))
            return mask if fills else None, decision
        if fills:
            return mask, TaskDecision(filling_task().name, found.as_json(), line)
        return None, TaskDecision(None, found.as_json(), f"{line}, {LEFT}")

    def choose(self, job: Job, picture: Picture, mask: Tensor | None = None) -> TaskDecision:
        """Choose the task for a picture: the one in the options, or else by inspection.

        Args:
            job: the picture's job; the source file must exist.
            picture: the picture as read.
            mask: the masked region, if the job has a mask.

        Raises:
            PictureError: the mask marks the whole picture.
        """
        if self.options.strength == 0:
            return TaskDecision(None, why=f"{job.source}: strength 0, {LEFT}")
        task = job.task or self.options.task
        if job.mask is not None and mask is not None:
            if bool(mask.all()):
                raise PictureError(f"{job.source}: its mask {NOTHING_KNOWN}")
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
