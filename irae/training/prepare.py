"""Preparation of a run: its pictures, first weights and folder, and the values of ``auto``."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from irae.config import CPU_BATCH, RunConfig, load_config
from irae.data.registry import REGISTRY, data_root
from irae.errors import UsageError
from irae.flow.reversible import can_recompute
from irae.flow.subnets import set_network_dtype
from irae.models.call import network_autocast
from irae.models.checkpoints.model_file import packaged_models, trained_spec
from irae.models.networks.registry import build_network, resolve_options
from irae.runtime import network_dtype, resolve_precision
from irae.training.batches.collection import with_sources
from irae.training.checkpoint import CONFIG_FILE
from irae.training.distributed import Ranks
from irae.training.efficiency.activation_memory import activation_bytes, activation_room
from irae.training.objectives.choose import objective_of

# Patches of a step for each device of these kinds, with ``training.batch: auto``. On an H200 64 are
# seven times as many per second as 8 (docs/performance.md); still more change what is learnt.
_BATCHES = {"cuda": 64}


def new_folder(config: str | Path | dict[str, Any]) -> Path:
    """Name a folder for a new run below ``runs`` after its config and the time."""
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
    """Return a config with the pictures and the weights that a caller names.

    Args:
        config: the config as loaded.
        data: names of data sets or folders to train on; if empty, those of the config, or all
            below the data root.
        validation: name of a data set or a folder for choosing the best weights.
        start: packaged model, model file or run for a warm start.
        own_network: keep the config's network instead of taking that of ``start``.

    Raises:
        UsageError: there are no pictures, or a name is empty.
        ModelError: the weights cannot be loaded.
    """
    config = with_sources(config, data, validation)
    if start is None:
        return config
    if not start:
        raise UsageError("`from` is empty; give a packaged model, a model file or a run")
    config.model.init = start
    if not own_network:
        spec = trained_spec(start)
        config.model.network, config.model.preset = spec.network, None
        config.model.options = spec.options
    return config


def config_of(run: Path, overrides: list[str]) -> RunConfig:
    """Load the config of a run and override some of its keys.

    Raises:
        UsageError: the folder holds no run.
        ConfigError: a key does not exist.
    """
    path = run / CONFIG_FILE
    if not path.is_file():
        raise UsageError(f"{run}: holds no {CONFIG_FILE}; it is not a run")
    return load_config(path, overrides)


def build(config: RunConfig) -> nn.Module:
    """Build the network of a config with its random initial weights, on the CPU.

    Raises:
        ModelError: there is no such network or option.
        TrainingError: the objective, the task or the size of the patches does not fit the network.
    """
    # Layers initialise from the global generator; forking it keeps the caller's state unchanged.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        options = resolve_options(config.model.network, config.model.preset, config.model.options)
        network = build_network(config.model.network, options)
    objective_of(config).check(config, network)
    return network


def absolute_paths(config: RunConfig) -> RunConfig:
    """Return a config whose folders and files do not depend on the current folder.

    Names are looked up as where they are used: here and below the data root. A name of which
    there is neither stays, and is an error where it is used.
    """
    config = config.model_copy(deep=True)
    data = config.data
    root = data_root(data.root).resolve()
    data.root = str(root)
    for source in data.train:
        source.source = _absolute(source.source, Path(), root)
    for section in (config.degradation, data.validation):
        for key in section.folders:
            value = getattr(section, key)
            # Pairs below the data root come first; see `irae.tasks.mixture.pairs_folder`.
            places = (root, Path()) if key == "pairs" else (Path(), root)
            setattr(section, key, None if value is None else _absolute(value, *places))
    if config.model.init is not None and config.model.init not in packaged_models():
        config.model.init = _absolute(config.model.init, Path())
    return config


def _absolute(name: str, *folders: Path) -> str:
    if name in REGISTRY:
        return name
    below = (folder / Path(name).expanduser() for folder in folders)
    return next((str(path.resolve()) for path in below if path.exists()), name)


def resolve(config: RunConfig, device: torch.device, ranks: Ranks) -> RunConfig:
    """Return a config that no longer depends on the machine, the version or the current folder.

    Paths become absolute (see `absolute_paths`). The values ``auto`` of ``training.precision``,
    ``training.batch`` and ``training.reversible`` are replaced, and the options of the network's
    preset are written out, since a preset may change with a version. All processes of the run call
    this, and get the decision of the main process.

    Args:
        config: the config as loaded.
        device: the training device.
        ranks: the processes that train together.

    Raises:
        ModelError: there is no such network, preset or option.
        UsageError: the device does not support the precision.
    """

    def decide() -> RunConfig:
        whole = absolute_paths(config)
        model, section = whole.model, whole.training
        options = resolve_options(model.network, model.preset, model.options)
        pinned = model.model_copy(update={"preset": None, "options": options})
        precision = resolve_precision(section.precision, device)
        training = section.model_copy(update={"precision": precision})
        found = whole.model_copy(update={"model": pinned, "training": training})
        if section.batch == "auto":
            training.batch = _choose_batch(found, device, ranks)
        if section.reversible == "auto":
            training.reversible = _fills_memory(found, device, ranks)
        return found

    return ranks.on_main(decide)


def _choose_batch(config: RunConfig, device: torch.device, ranks: Ranks) -> int:
    """Choose the number of patches of a step for ``training.batch: auto``."""
    share = _BATCHES.get(device.type)
    if share is None:
        return -(-CPU_BATCH // ranks.count) * ranks.count
    needed = _activation_bytes(config, build(config), device)
    while share > 1 and share * needed > activation_room(device):
        share //= 2
    return share * ranks.count


def _fills_memory(config: RunConfig, device: torch.device, ranks: Ranks) -> bool:
    """Whether keeping the activations would take too much of the device's memory."""
    network = build(config)
    if not can_recompute(network):
        return False
    rows = ranks.rows(config.training.batch_size)
    needed = _activation_bytes(config, network, device)
    return bool((rows.stop - rows.start) * needed > activation_room(device))


def _activation_bytes(config: RunConfig, network: nn.Module, device: torch.device) -> int:
    """Measure the bytes that autograd keeps of one patch, in the precision of the training."""
    network.to(device).to(memory_format=torch.channels_last)
    set_network_dtype(network, network_dtype(config.training.precision))
    x, condition = objective_of(config).example(config, network, device)
    with network_autocast(network, device, config.training.precision):
        return activation_bytes(network, x, condition)
