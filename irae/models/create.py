"""Models with the weights that a training begins with."""

from __future__ import annotations

from typing import Any

import torch

from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.registry import NETWORKS, build_network, resolve_options


def untrained(
    network: str, preset: str | None, options: dict[str, Any], task: str = "", name: str = ""
) -> LoadedModel:
    """A network with the weights it starts from, drawn from PyTorch's global generator.

    Args:
        network: a name of `irae.models.networks.registry.NETWORKS`.
        preset: one of the network's.
        options: over the preset's.
        task: what it is to be trained for; empty where that is open.
        name: what the model is called; the network's name if empty.

    Raises:
        ModelError: there is no such network, preset or option, or a value it refuses.
    """
    resolved = resolve_options(network, preset, options)
    built = build_network(network, resolved)
    return LoadedModel(built, ModelSpec(network, resolved, task), name or network)


def usual_preset(network: str) -> str | None:
    """The preset ``default`` of a network, else its first; None where it has none."""
    presets = NETWORKS[network].presets
    return "default" if "default" in presets else next(iter(presets), None)


def named_model(name: str) -> LoadedModel:
    """A packaged model, a model file or run, or ``NETWORK[:PRESET]`` with untrained weights.

    Raises:
        ModelError: it is none of these.
    """
    network, _, preset = name.partition(":")
    if network not in NETWORKS:
        return load_model(name)
    # The same weights every time; a fork keeps the caller's generator untouched.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return untrained(network, preset or usual_preset(network), {}, name=name)
