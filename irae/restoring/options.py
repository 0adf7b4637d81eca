"""The options of restoring, shared by the command, batches, the page and `Restorer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from irae.errors import UsageError
from irae.imaging.tiling import DEFAULT_OVERLAP
from irae.models.call import takes_damage
from irae.models.loaded import LoadedModel
from irae.tasks.matching import task_of


@dataclass(frozen=True)
class RestoreOptions:
    """How pictures are restored; instances can be sent to another process.

    Attributes:
        task: the damage to undo. None stands for the model's task or, without a model, for one
            chosen for each picture.
        model: a packaged model's name, a model file or a run folder; None is the task's own model.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``; of a batch also several,
            separated by commas.
        precision: precision of the networks, ``fp32``, ``bf16``, or ``auto``: bf16 where the
            device was measured to be faster with it and the model loses at most 0.02 dB.
        tile: largest side in pixels restored at once; 0 never tiles; None tiles large pictures.
        overlap: least number of pixels that neighbouring tiles share.
        sigma: noise level in 8-bit units, for models that require it (FFDNet, BM3D). A model that
            measures it, as ``photo`` does, is told this level in place of the measured one.
        strength: weight of the restored picture when it is blended with the input, from 0 (exactly
            the input) to 1. Not for inpainting.
        ensemble: average over the picture's eight rotations and reflections, each restored
            separately: slightly better, in eight times the time.
        undoable: write a sidecar beside each result that gives the original back.
        grow_mask: number of pixels by which masked regions grow in every direction.
        invert_mask: fill what masks do not mark.
        find_damage: find scratches, dust, hairs and stamps in pictures without a mask, and fill
            them: alone, or before another task is done.
        detector: what finds them: a packaged detector's name, a model file or a run folder; None
            is the packaged one.

    Raises:
        UsageError: the strength or the overlap is out of range, or there is a detector but nothing
            to find.
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
    invert_mask: bool = False
    find_damage: bool = False
    detector: str | None = None

    def __post_init__(self) -> None:
        # Written so that NaN fails too.
        if not 0 <= self.strength <= 1:
            raise UsageError(f"strength {self.strength} is out of range; it goes from 0 to 1")
        if self.overlap < 0:
            raise UsageError(f"overlap {self.overlap} is negative; use 0 or more")
        if self.detector is not None and not self.find_damage:
            raise UsageError("`detector` is for finding damage; add `find_damage`")

    def check(self, model: LoadedModel) -> None:
        """Check that the options suit a model.

        Raises:
            UsageError: the task is not the model's, a tile is smaller than its size multiple, the
                noise level is missing or superfluous, or strength is below 1 for inpainting.
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
        told = self.sigma is not None
        if model.takes_sigma != told and not takes_damage(model.network):
            wants = "takes no noise level" if told else "needs the noise level"
            raise UsageError(f"model {model.name!r} {wants}; {'drop' if told else 'give'} `sigma`")
        if self.strength < 1 and task.needs_mask:
            raise UsageError(
                f"`strength` {self.strength:g}: model {model.name!r} fills holes, and a hole has"
                " no pixels to blend with; drop it"
            )

    def recorded(self) -> dict[str, Any]:
        """Return the options on which results depend, apart from the model, as plain JSON."""
        return {
            "task": self.task,
            "precision": self.precision,
            "sigma": self.sigma,
            "strength": self.strength,
            # Left out at their defaults, so that manifests from before these options stay valid.
            **({"undoable": True} if self.undoable else {}),
            **({"ensemble": True} if self.ensemble else {}),
            **({"grow_mask": self.grow_mask} if self.grow_mask else {}),
            **({"invert_mask": True} if self.invert_mask else {}),
            **({"find_damage": True} if self.find_damage else {}),
        }
