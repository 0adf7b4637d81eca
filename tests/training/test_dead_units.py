"""Hidden units that never fire are found in any network, and started anew where it can do so."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from irae.models.networks.lifted import LiftedIRAE
from irae.models.networks.registry import NETWORKS, build_network, resolve_options
from irae.training.dead_units import either, restart, watch_units
from irae.training.validation import Score


def test_units_of_every_relu_are_seen_and_of_nothing_that_cannot_die() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(torch.nn.functional.leaky_relu(x, 0.0) - 1)

    network = nn.Sequential(nn.ReLU(inplace=True), nn.PReLU(), nn.LeakyReLU(0.1), Two())
    x = torch.tensor([-1.0, 0.5, 2.0]).view(1, 3, 1, 1).expand(2, 3, 4, 4)
    with watch_units(network) as firing, torch.inference_mode():
        network(x.clone())
    assert {name: fires.tolist() for name, fires in firing.items()} == {
        "0": [False, True, True],
        "3": [False, True, True],
        "3, activation 2": [False, False, True],
    }


def test_a_unit_fires_if_it_does_on_any_picture() -> None:
    network = nn.Sequential(nn.ReLU())
    parts = []
    for value in (-1.0, 1.0):
        with watch_units(network) as firing:
            network(torch.tensor([value, -value, -1.0]).view(1, 3, 1, 1))
        parts.append(dict(firing))
    assert either(parts)["0"].tolist() == [True, True, False]
    score = Score({"x": (0.0, 0.0)}, None, either(parts))
    assert score.dead == pytest.approx(1 / 3)
    assert score.mostly_dead(0.05) == {"0": pytest.approx(1 / 3)}
    assert score.mostly_dead(0.5) == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_of_the_registry_can_be_watched(name: str) -> None:
    presets = NETWORKS[name].presets
    preset = "default" if "default" in presets else next(iter(presets), None)
    network = build_network(name, resolve_options(name, preset, {})).eval()
    side = 2 * int(getattr(network, "size_multiple", 8))
    x = torch.rand(1, getattr(network, "channels", 3) or 3, side, side)
    condition = torch.full((1, 1, 1, 1), 0.1) if getattr(network, "takes_sigma", False) else None
    if getattr(network, "condition_channels", 0):
        condition = torch.zeros(1, network.condition_channels, side, side)  # type: ignore[call-overload]
    with watch_units(network) as firing, torch.no_grad():
        network(x, condition)
    units = sum(len(fires) for fires in firing.values())
    assert units == 0 if name == "invdn" else units > 8  # InvDN has leaky ReLUs alone.


def test_dead_units_of_two_networks_start_anew_alike() -> None:
    first, second = (LiftedIRAE(width=12, couplings=2, hidden=8).eval() for _ in range(2))
    for network in (first, second):
        with torch.no_grad():
            network.flow.networks()[1].conv1.bias[:2] = -50
    x = torch.rand(1, 3, 8, 8)
    with watch_units(first) as firing, torch.no_grad():
        first(x)
    assert restart([first, second], firing, 3, 4) == sum(int((~f).sum()) for f in firing.values())
    a, b = (network.flow.networks()[1].conv1.weight for network in (first, second))
    assert torch.equal(a[:2], b[:2])
    with watch_units(first) as again, torch.no_grad():
        first(x)
    assert bool(again["flow.couplings.1"][:2].any())
