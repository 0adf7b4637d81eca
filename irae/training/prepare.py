"""What is settled before a run exists: its pictures, its weights to start from, its folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from irae.config import RunConfig, load_config
from irae.errors import UsageError
from irae.models.checkpoints.model_file import load_model
from irae.training.batches.collection import with_sources
from irae.training.checkpoint import CONFIG_FILE


def new_folder(config: str | Path | dict[str, Any]) -> Path:
    """A folder for a new run below ``runs``, named after its config and the time."""
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    stem = str(config.get("task", "run")) if isinstance(config, dict) else Path(config).stem
    return Path("runs") / f"{stem}-{stamp}"


def prepare(
    config: RunConfig,
    data: Sequence[str] = (),
    validation: str | None = None,
    start: str | None = None,
    *,
    own_network: bool = False,
) -> RunConfig:
    """A config with the pictures and the weights that a caller names.

    Args:
        config: as loaded.
        data: names of data sets or folders to train on; none: those of the config, or what lies
            below the data root.
        validation: one such to choose the best weights by.
        start: a packaged name, model file or run whose weights training starts from.
        own_network: the config's network stays; otherwise ``start`` brings its own.

    Raises:
        UsageError: there are no pictures.
        ModelError: the weights cannot be loaded.
    """
    config = with_sources(config, data, validation)
    if start is None:
        return config
    config.model.init = start
    if not own_network:
        spec = load_model(start).spec
        config.model.network, config.model.preset = spec.network, None
        config.model.options = spec.options
    return config


def config_of(run: Path, overrides: list[str]) -> RunConfig:
    """The config of a run with some of its keys changed.

    Raises:
        UsageError: the folder holds no run.
        ConfigError: a key that there is not.
    """
    path = run / CONFIG_FILE
    if not path.is_file():
        raise UsageError(f"{run}: holds no {CONFIG_FILE}; it is not a run")
    return load_config(path, overrides)
