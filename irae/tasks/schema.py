"""The config sections that depend on the task: damage in training and in validation.

Each task has its own subclasses. Nothing here imports PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Level = int | float | str


class Section(BaseModel):
    """A config section in which an unknown key is an error, so that no typo goes unnoticed.

    Numbers are finite. ``folders`` names the keys of a section that hold folders, and
    ``former_defaults`` has the defaults that keys had in earlier versions.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)

    folders: ClassVar[tuple[str, ...]] = ()
    former_defaults: ClassVar[Mapping[str, Any]] = {}


class DegradationSection(Section):
    """The damage done to the clean training pictures."""


class ValidationSection(Section):
    """The pictures that decide which weights are best; they are never a test set."""

    folders: ClassVar[tuple[str, ...]] = ("source",)

    source: str | None = None  # a data set or folder; default: some of the training pictures
    images: int = Field(default=32, ge=1)
    crop: int = Field(default=256, ge=16)
    max_round_trip: float = Field(default=0.5, gt=0)  # in 8-bit units; above it, never the best


class PastedDamageSection(DegradationSection):
    """The damage that is pasted onto clean pictures, for a detector to find."""

    folders: ClassVar[tuple[str, ...]] = ("overlays",)

    # Pictures whose alpha is the shape of real damage (NAME_0001.png …); every fifth of each NAME
    # is kept apart for measuring. Half of the damage is then theirs, and all is drawn without.
    overlays: str | None = None
    undamaged: Share = 0.2  # share of the patches that stay without damage
    toned: Share = 0.2  # share of the patches that become toned black-and-white pictures
    noise: Share = 0.5  # share of the patches with noise, or grain, over all
    jpeg: Share = 0.5  # share of the patches that are compressed at last


def check_range(
    key: str, value: float | tuple[float, float], low: float, high: float
) -> tuple[float, float]:
    """Return a number or a rising pair as a pair.

    Raises:
        ValueError: it leaves [low, high] or the pair falls.
    """
    first, last = value if isinstance(value, tuple) else (value, value)
    if not low <= first <= last <= high:
        raise ValueError(f"{key} must lie in [{low:g}, {high:g}] and rise, not {value}")
    return first, last
