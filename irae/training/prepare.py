"""What is settled before a run exists: pictures, first weights, folder, and what auto means."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from irae.config import RunConfig, load_config
from irae.errors import UsageError
from irae.flow.reversible import can_recompute
from irae.flow.subnets import set_network_dtype
from irae.models.call import condition_for
from irae.models.checkpoints.model_file import load_model
from irae.models.networks.registry import build_network, resolve_options
from irae.runtime import network_dtype, resolve_precision
from irae.training.activation_memory import fits
from irae.training.batches.collection import with_sources
from irae.training.checkpoint import CONFIG_FILE
from irae.training.distributed import Ranks


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


def build(config: RunConfig) -> nn.Module:
    """The network of a config with the weights it starts from, on the CPU.

    Raises:
        ModelError: there is no such network or option.
    """
    # Layers draw their start from the global generator; a fork keeps the caller's untouched.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        options = resolve_options(config.model.network, config.model.preset, config.model.options)
        return build_network(config.model.network, options)


def resolve(config: RunConfig, device: torch.device, ranks: Ranks) -> RunConfig:
    """A config in which nothing depends on the machine or the version any more.

    ``training.precision`` and ``training.reversible`` are what ``auto`` comes to here, and the
    options of the network's preset are written out: a preset may change with a version, a run does
    not. All processes of the run call this, and get what the first one decides.

    Args:
        config: as loaded.
        device: where to train.
        ranks: the processes that train together.

    Raises:
        ModelError: there is no such network, preset or option.
        UsageError: a precision that the device does not have.
    """

    def decide() -> RunConfig:
        model, section = config.model, config.training
        options = resolve_options(model.network, model.preset, model.options)
        pinned = model.model_copy(update={"preset": None, "options": options})
        precision = resolve_precision(section.precision, device)
        training = section.model_copy(update={"precision": precision})
        found = config.model_copy(update={"model": pinned, "training": training})
        if section.reversible == "auto":
            training.reversible = _fills_memory(found, device, ranks)
        return found

    return ranks.on_main(decide)


def _fills_memory(config: RunConfig, device: torch.device, ranks: Ranks) -> bool:
    """Whether kept activations would take too much of the device's memory."""
    network = build(config)
    if not can_recompute(network):
        return False
    network.to(device).to(memory_format=torch.channels_last)
    set_network_dtype(network, network_dtype(config.training.precision))
    side = config.data.patch
    x = torch.full((1, 3, side, side), 0.5, device=device)
    mask = torch.zeros(1, 1, side, side, dtype=torch.bool, device=device)
    rows = ranks.rows(config.training.batch)
    condition = condition_for(network, mask=mask, sigma=0.0, filled=x)
    return not fits(network, x, condition, rows.stop - rows.start)
