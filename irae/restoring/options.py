"""What is asked of a restoring: the same for the command, a batch, the page and `Restorer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from irae.errors import UsageError
from irae.imaging.tiling import DEFAULT_OVERLAP
from irae.models.loaded import LoadedModel
from irae.tasks.matching import task_of


@dataclass(frozen=True)
class RestoreOptions:
    """How pictures are to be restored; it can be sent to another process.

    Attributes:
        task: what to undo; none: what the model is for, or else it is chosen for each picture.
        model: a packaged model's name, a model file or a run folder; none: the task's own.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: of the networks, ``fp32``, ``bf16``, or ``auto``: bf16 where the device is
            measured faster at it and the model loses at most 0.02 dB.
        tile: largest side restored at once, pixels; 0: always the whole picture; none: tiles for
            large pictures only.
        overlap: least pixels that neighbouring tiles share.
        sigma: the noise level in 8-bit units, for models that must be told (FFDNet, BM3D).
        strength: how much of the change is made, from 0 (the picture as it was, exactly) to 1
            (all of it): pixels in between are blended of the two. Not for inpainting.
        ensemble: take the mean over the picture's eight turns and reflections, each restored by
            itself: better by a little, in eight times the time.
        undoable: write beside each result what gives its original back.
        grow_mask: pixels by which the holes of masks become larger in every direction.

    Raises:
        UsageError: a strength or an overlap out of range.
    """

    task: str | None = None
    model: str | None = None
    device: str = "auto"
    precision: str = "auto"
    tile: int | None = None
    overlap: int = DEFAULT_OVERLAP
    sigma: float | None = None
    strength: float = 1.0
    ensemble: bool = False
    undoable: bool = False
    grow_mask: int = 0

    def __post_init__(self) -> None:
        # Written so that NaN fails it too.
        if not 0 <= self.strength <= 1:
            raise UsageError(f"strength {self.strength} is out of range; it goes from 0 to 1")
        if self.overlap < 0:
            raise UsageError(f"overlap {self.overlap} is negative; use 0 or more")

    def check(self, model: LoadedModel) -> None:
        """Make sure that a model can do what is asked.

        Raises:
            UsageError: a task that is not the model's, a tile smaller than its grid, a noise
                level that is missing or superfluous, or a strength below 1 for inpainting.
        """
        task = task_of(model)
        if self.task not in (None, task.name):
            raise UsageError(
                f"`task` {self.task}, but model {model.name!r} is for {task.name};"
                " drop one of the two"
            )
        if self.tile and self.tile < model.size_multiple:
            raise UsageError(
                f"tile {self.tile} is too small; use 0 (no tiles) or at least {model.size_multiple}"
            )
        if model.takes_sigma != (self.sigma is not None):
            told = self.sigma is not None
            wants = "takes no noise level" if told else "must be told the noise level"
            raise UsageError(f"model {model.name!r} {wants}; {'drop' if told else 'give'} `sigma`")
        if self.strength < 1 and task.needs_mask:
            raise UsageError(
                f"`strength` {self.strength:g}: model {model.name!r} fills holes, of which there"
                " is nothing to blend with; drop it"
            )

    def recorded(self) -> dict[str, Any]:
        """What results depend on besides the model and the picture, as plain JSON."""
        return {
            "task": self.task,
            "precision": self.precision,
            "sigma": self.sigma,
            "strength": self.strength,
            # Said only where they are so: manifests from before these options stay valid.
            **({"undoable": True} if self.undoable else {}),
            **({"ensemble": True} if self.ensemble else {}),
            **({"grow_mask": self.grow_mask} if self.grow_mask else {}),
        }
