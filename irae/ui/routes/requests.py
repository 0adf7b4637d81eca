"""The JSON bodies of the API."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from irae.imaging.tiling import DEFAULT_OVERLAP
from irae.models.checkpoints.model_file import packaged_models
from irae.restoring.options import RestoreOptions
from irae.tasks import get_task
from irae.ui.errors import RefusedError


class RestoreBody(BaseModel):
    """The fields of `irae.restoring.options.RestoreOptions` that a request may choose.

    The device and the precision are those of the server, and a model is a packaged one.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    task: str | None = Field(None, description="what to undo; null lets irae choose")
    model: str | None = Field(None, description="a packaged model; null is the task's own")
    tile: int | None = Field(None, ge=0, le=65536, description="largest side restored at once")
    overlap: int = Field(DEFAULT_OVERLAP, ge=0, le=4096, description="pixels shared by tiles")
    sigma: float | None = Field(None, ge=0, le=255, description="noise level, if the model asks")
    strength: float = Field(1.0, description="0 leaves the picture as it is, 1 restores it fully")
    ensemble: bool = Field(False, description="average over eight orientations")
    find_damage: bool = Field(False, description="find scratches, dust and hairs, and fill them")
    grow_mask: int = Field(0, ge=0, le=1000, description="pixels by which holes grow")

    def options(self) -> RestoreOptions:
        """Return the options.

        Raises:
            UsageError: there is no such task, or the strength is out of range.
            RefusedError: the model is not a packaged one.
        """
        if self.task is not None:
            get_task(self.task)
        known = packaged_models()
        if self.model is not None and self.model not in known:
            raise RefusedError(
                422, f"there is no packaged model of this name; use {', '.join(known)}"
            )
        return RestoreOptions(**self.model_dump())


class PicturesBody(BaseModel):
    """Some pictures by their ids."""

    model_config = ConfigDict(extra="forbid")

    pictures: list[str] = Field(max_length=100_000)
