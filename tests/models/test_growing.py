"""A larger network computes what the smaller one did, and can learn what it could not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from irae.models.growing import start_from
from irae.models.irae import IRAE

SMALL: dict[str, Any] = {"width": 8, "depth": 2, "levels": 2}
LARGER: dict[str, dict[str, Any]] = {
    "the same": {},
    "wider": {"width": 12},
    "deeper": {"depth": 4, "levels": 1},
    "more levels": {"levels": 3},
    "bounded": {"coupling": "bounded"},
    "bounded above": {"coupling": ["bounded", "additive"], "coupling_bound": 0.5},
    "a wider bound": {"mixing_bound": 0.5},
    "a condition": {"condition_channels": 1},
    "larger kernels": {"kernels": [3, 1]},
    "shrinking": {"shrinking": 3.0},
    "all": {
        "width": 11,
        "levels": 3,
        "coupling": "bounded",
        "mixing_bound": 0.3,
        "condition_channels": 2,
        "kernels": [1, 5],
        "shrinking": 2.0,
    },
}


def trained(**options: Any) -> IRAE:
    torch.manual_seed(1)
    network = IRAE(**{**SMALL, **options})
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize("change", LARGER)
def test_the_function_stays(change: str) -> None:
    options = {**SMALL, **LARGER[change]}
    source = trained(levels=min(2, options["levels"])).double()
    torch.manual_seed(2)
    network = IRAE(**options).double()
    start_from(network, source)
    x = torch.rand(2, 3, 32, 40, dtype=torch.float64)
    extra = options.get("condition_channels", 0)
    condition = torch.rand(2, extra, 32, 40, dtype=torch.float64) if extra else None
    with torch.no_grad():
        expected, found = source(x), network(x, condition)
        assert (expected - x).abs().max() > 1e-3
        assert (expected - found).abs().max() < 1e-6
        assert (network.inverse(found, condition) - x).abs().max() < 1e-9


@pytest.mark.parametrize("change", [key for key in LARGER if key not in ("the same",)])
def test_every_new_part_is_reached_by_training(change: str) -> None:
    options = {**SMALL, **LARGER[change]}
    network = IRAE(**options)
    start_from(network, trained(levels=min(2, options["levels"])))
    extra = options.get("condition_channels", 0)
    condition = torch.rand(1, extra, 32, 32) if extra else None
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = [p.detach().clone() for p in network.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.rand(1, 3, 32, 32), condition).square().mean().backward()
        optimizer.step()
    for old, new in zip(before, network.parameters(), strict=True):
        assert not torch.equal(old, new)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"width": 9}, "width 9"),
        ({"levels": 3}, "3 levels"),
        ({"depth": 3}, "more steps"),
        ({"depth": 1}, "fewer steps"),
        ({"mixing_bound": 0.3}, "bound 0.3"),
        ({"kernels": [3]}, "kernel of it, 3"),
        ({"shrinking": 2.0}, "shrinks"),
        ({"condition_channels": 1}, "condition"),
        ({"coupling": "affine"}, "AffineCoupling"),
        ({"mixing": "dense"}, "InvertibleConv1x1"),
    ],
)
def test_what_does_not_fit_is_refused(source: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        start_from(IRAE(**SMALL), trained(**source))


def test_a_shrinking_takes_the_place_of_the_levels_below() -> None:
    source = trained()
    network = IRAE(**{**SMALL, "levels": 1, "shrinking": 4.0})
    start_from(network, source)
    x = torch.rand(1, 3, 32, 40)
    with torch.no_grad():
        latent, down = network.encoder(x - 0.5)
        expected = source.encoder.levels[0](x - 0.5).chunk(2, 1)
        torch.testing.assert_close(down, expected[0] / 25, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(latent, expected[1])
        torch.testing.assert_close(
            network(x), source.decoder.levels[0].inverse(torch.cat([down, latent], 1)) + 0.5
        )


def test_a_network_that_shrinks_is_gone_on_from() -> None:
    source = trained(shrinking=3.0)
    x = torch.rand(1, 3, 32, 40)
    network = IRAE(**{**SMALL, "shrinking": 4.0, "width": 10})
    start_from(network, source)
    with torch.no_grad():
        torch.testing.assert_close(network(x), source(x), atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="fewer steps"):
        start_from(
            IRAE(width=8, depth=3, levels=1, shrinking=3.0), trained(levels=1, shrinking=3.0)
        )


def test_another_network_must_have_the_same_tensors() -> None:
    with pytest.raises(ValueError, match="tensors"):
        start_from(torch.nn.Conv2d(3, 4, 3), torch.nn.Conv2d(3, 5, 3))


def test_a_hole_coupling_is_taken_over() -> None:
    source = trained(levels=1, condition_channels=1, hole_width=6).double()
    network = IRAE(width=12, depth=3, levels=1, condition_channels=1, hole_width=6).double()
    start_from(network, source)
    x = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    condition = torch.cat([(x[:, :1] > 0.5).double(), x], 1)
    with torch.no_grad():
        assert (source(x, condition) - network(x, condition)).abs().max() < 1e-6
    with pytest.raises(ValueError, match="has a HoleCoupling"):
        start_from(IRAE(width=12, depth=3, levels=1, condition_channels=1), source)
    with pytest.raises(ValueError, match="HoleCoupling of it has another size"):
        start_from(IRAE(width=12, depth=3, levels=1, condition_channels=1, hole_width=7), source)
