"""Predicting what a model would gain on a picture, without its original.

A small network maps the features of a picture (`irae.restoring.automatic.trial`) to two gains in
PSNR for each model: one that it can be relied on for, which about nine of ten such pictures exceed,
and a typical one, which half of them exceed. It was fitted to simulated and real damage with known
originals by ``scripts/measure_auto.py``, which remakes its numbers, ``gain.json``, when packaged
weights have changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from irae.restoring.automatic.trial import FEATURES, TRIED

NUMBERS = Path(__file__).parent / "gain.json"
"""The fitted numbers."""

QUANTILES = (0.1, 0.5)
"""Shares of pictures that gain less than predicted: than the gain to rely on, and the typical."""

LARGEST = 6.0
"""Gains in dB are cut off at this, and losses likewise."""

HIDDEN, MEMBERS = 48, 4
"""Hidden units of one network, and the number of networks whose mean predicts."""


@dataclass(frozen=True)
class Gains:
    """Predicted gains in dB, by task.

    Attributes:
        least: gain to rely on.
        typical: gain that is as often exceeded as not.
    """

    least: dict[str, float]
    typical: dict[str, float]


def gain_network(hidden: int = HIDDEN * MEMBERS) -> nn.Sequential:
    """Return the network, not fitted.

    It maps ``N FEATURES`` to ``N len(QUANTILES)·len(TRIED)`` in dB, first all tasks of the first
    quantile.
    """
    outputs = len(QUANTILES) * len(TRIED)
    return nn.Sequential(nn.Linear(FEATURES, hidden), nn.Tanh(), nn.Linear(hidden, outputs))


def mean_of(networks: Sequence[nn.Sequential]) -> nn.Sequential:
    """Join networks of one hidden layer to one that returns their mean."""
    joined = gain_network(HIDDEN * len(networks))
    states = [network.state_dict() for network in networks]
    joined.load_state_dict(
        {
            "0.weight": torch.cat([state["0.weight"] for state in states]),
            "0.bias": torch.cat([state["0.bias"] for state in states]),
            "2.weight": torch.cat([state["2.weight"] for state in states], 1) / len(states),
            "2.bias": torch.stack([state["2.bias"] for state in states]).mean(0),
        }
    )
    return joined


def normalised(features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Normalise features as the network takes them; none is far beyond what it was fitted to."""
    return ((features - mean) / scale).clamp(-4, 4)


def predict_gains(features: Tensor) -> Gains:
    """Predict the gains of each task of `TRIED`."""
    network, mean, scale = _fitted()
    with torch.inference_mode():
        found = network(normalised(features, mean, scale)[None])[0]
    least, typical = found.unflatten(0, (len(QUANTILES), len(TRIED))).tolist()
    return Gains(dict(zip(TRIED, least, strict=True)), dict(zip(TRIED, typical, strict=True)))


def save_numbers(network: nn.Sequential, mean: Tensor, scale: Tensor, path: Path = NUMBERS) -> None:
    """Write a fitted network and the normalisation of its features."""
    content: dict[str, Any] = {
        "tasks": list(TRIED),
        "mean": _rounded(mean),
        "scale": _rounded(scale),
        "network": {name: _rounded(value) for name, value in network.state_dict().items()},
    }
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    _fitted.cache_clear()


def read_numbers(path: Path = NUMBERS) -> tuple[nn.Sequential, Tensor, Tensor]:
    """Read what `save_numbers` wrote: the network, and the features' means and scales."""
    content = json.loads(path.read_text(encoding="utf-8"))
    network = gain_network()
    network.load_state_dict({k: torch.tensor(v) for k, v in content["network"].items()})
    return network.eval(), torch.tensor(content["mean"]), torch.tensor(content["scale"])


@cache
def _fitted() -> tuple[nn.Sequential, Tensor, Tensor]:
    return read_numbers()


def _rounded(values: Tensor) -> Any:
    return (values.double() * 1e4).round().div(1e4).tolist()
