"""irae: restore pictures with invertible networks. Heavy parts are imported on first use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from irae._version import __version__

__all__ = ["Restorer", "__version__", "load_model"]

if TYPE_CHECKING:
    from irae.models.checkpoints.model_file import load_model
    from irae.restoring.restorer import Restorer


def __getattr__(name: str) -> Any:
    if name == "Restorer":
        from irae.restoring.restorer import Restorer

        return Restorer
    if name == "load_model":
        from irae.models.checkpoints.model_file import load_model

        return load_model
    raise AttributeError(f"module 'irae' has no attribute {name!r}")
