"""irae: restore pictures with invertible networks. Heavy parts are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from irae import errors
from irae._version import __version__

if TYPE_CHECKING:
    from irae.api import TrainedRun, create_model, evaluate, list_models, save_model, train
    from irae.imaging.io.files import read_picture, write_picture
    from irae.imaging.io.picture import Picture
    from irae.models.checkpoints.model_file import load_density
    from irae.restoring.model import Model, load_model
    from irae.restoring.restorer import Restorer

__all__ = [
    "Model",
    "Picture",
    "Restorer",
    "TrainedRun",
    "__version__",
    "create_model",
    "errors",
    "evaluate",
    "list_models",
    "load_density",
    "load_model",
    "read_picture",
    "save_model",
    "train",
    "write_picture",
]

_HOMES = {
    "Model": "irae.restoring.model",
    "Picture": "irae.imaging.io.picture",
    "Restorer": "irae.restoring.restorer",
    "TrainedRun": "irae.api",
    "create_model": "irae.api",
    "evaluate": "irae.api",
    "list_models": "irae.api",
    "load_density": "irae.models.checkpoints.model_file",
    "load_model": "irae.restoring.model",
    "read_picture": "irae.imaging.io.files",
    "save_model": "irae.api",
    "train": "irae.api",
    "write_picture": "irae.imaging.io.files",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'irae' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
