"""Creation of untrained models."""

from __future__ import annotations

from typing import Any

import torch

from irae.errors import ModelError
from irae.models.checkpoints.model_file import load_model
from irae.models.density import Density
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.loaded_density import LoadedDensity
from irae.models.networks.registry import DENSITIES, NETWORKS, build_network, resolve_options


def untrained(
    network: str, preset: str | None, options: dict[str, Any], task: str = "", name: str = ""
) -> LoadedModel:
    """Build a network with initial weights drawn from PyTorch's global generator.

    Args:
        network: a name in `irae.models.networks.registry.NETWORKS`.
        preset: name of one of the network's presets.
        options: options that override the preset's.
        task: name of the task to train for, or empty.
        name: name of the model; the network's name if empty.

    Raises:
        ModelError: the network, preset or option does not exist, or a value is invalid.
    """
    resolved = resolve_options(network, preset, options)
    built = build_network(network, resolved)
    return LoadedModel(built, ModelSpec(network, resolved, task), name or network)


def untrained_density(network: str, options: dict[str, Any], name: str = "") -> LoadedDensity:
    """Build a density with initial weights; see `untrained`.

    Args:
        network: a name in `irae.models.networks.registry.DENSITIES`.
        options: all of its options.
        name: name of the model; the network's name if empty.

    Raises:
        ModelError: there is no such density, or an option is invalid.
    """
    built = build_network(network, options)
    if not isinstance(built, Density):
        raise ModelError(f"network {network!r} is no density; use {', '.join(DENSITIES)}")
    return LoadedDensity(built, ModelSpec(network, options, ""), name or network)


def usual_preset(network: str) -> str | None:
    """Return a network's preset ``default``, else its first; None if it has no presets."""
    presets = NETWORKS[network].presets
    return "default" if "default" in presets else next(iter(presets), None)


def named_model(name: str) -> LoadedModel:
    """Load a packaged model, model file or run, or build ``NETWORK[:PRESET]`` untrained.

    Raises:
        ModelError: the name is none of these.
    """
    network, _, preset = name.partition(":")
    if network not in NETWORKS:
        return load_model(name)
    # The weights are the same every time; the fork leaves the caller's generator unchanged.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return untrained(network, preset or usual_preset(network), {}, name=name)
