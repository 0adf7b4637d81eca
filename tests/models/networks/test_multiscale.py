"""The lifted network that sees far: the identity untrained, exactly reversible, and far-sighted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irae.flow.reversible import set_reversible
from irae.flow.subnets import set_network_dtype
from irae.models.networks.multiscale import MultiscaleIRAE
from irae.models.networks.registry import build_network, resolve_options
from irae.runtime import generator

SMALL: dict[str, Any] = {
    "width": 20,
    "couplings": 3,
    "scales": [8, 6, 10, 7],
    "condition_channels": 1,
}


def perturbed(amount: float = 0.02, **options: Any) -> MultiscaleIRAE:
    """A network whose couplings all change their streams."""
    torch.manual_seed(0)
    network = MultiscaleIRAE(**{**SMALL, **options}).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter += amount * torch.randn(parameter.shape, generator=generator(1))
    return network.requires_grad_()


def test_the_preset_has_the_size_that_is_documented() -> None:
    options = resolve_options("irae", "inpaint", {})
    with torch.device("meta"):
        network = build_network("irae", options)
    assert sum(p.numel() for p in network.parameters()) == 2_333_568
    assert network.size_multiple == 32


def test_the_untrained_network_is_the_identity() -> None:
    x = torch.rand(2, 3, 16, 32)
    assert torch.allclose(MultiscaleIRAE(**SMALL)(x, torch.ones(2, 1, 16, 32)), x, atol=1e-7)


@given(
    height=st.integers(1, 35),
    width=st.integers(1, 35),
    bits=st.sampled_from([8, 16]),
    bf16=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=30, deadline=None)
def test_every_bit_comes_back(height: int, width: int, bits: int, bf16: bool, seed: int) -> None:
    network, top = perturbed(), 2**bits - 1
    x = torch.randint(0, top + 1, (1, 3, height, width), generator=generator(seed)) / top
    mask = torch.randint(0, 2, (1, 1, height, width), generator=generator(seed, 1)).float()
    set_network_dtype(network, torch.bfloat16 if bf16 else None)
    restored, remainder = network.split(x, mask)
    assert remainder.size == (height, width)
    back = network.join(restored, remainder, mask)
    assert torch.equal((back * top).round(), (x * top).round())


def test_what_is_left_out_of_the_first_and_last_coupling_changes_nothing() -> None:
    network, x, mask = perturbed(), torch.rand(1, 3, 32, 16), torch.ones(1, 1, 32, 16)
    restored, _ = network.split(x, mask, exact=False)
    assert torch.allclose(network(x, mask), restored, atol=1e-6)
    assert torch.allclose(network.decode(network.encode(x, mask)), restored, atol=1e-6)


def test_gradients_by_inversion_are_the_gradients() -> None:
    found = []
    for reversible in (False, True):
        network = perturbed().double()
        set_reversible(network, reversible)
        x = torch.rand(1, 3, 16, 16, generator=generator(2)).double()
        network(x, torch.ones(1, 1, 16, 16).double()).square().mean().backward()
        found.append([p.grad for p in network.parameters() if p.grad is not None])
    assert len(found[0]) == len(found[1]) > 20
    for plain, again in zip(*found, strict=True):
        assert torch.allclose(plain, again, rtol=1e-6, atol=1e-12)


def test_one_pixel_reaches_the_other_side_of_a_large_hole() -> None:
    network = perturbed().requires_grad_(False)
    x, mask = torch.zeros(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    changed = x.clone()
    changed[..., 0, 32] = 1
    difference = (network(changed, mask) - network(x, mask)).abs().amax((0, 1))
    assert float(difference[40:, 24:40].max()) > 1e-6


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"couplings": 1}, "couplings 1"),
        ({"scales": [8]}, "at least two"),
        ({"scales": [8, 0]}, "at least two"),
        ({"width": 15}, "at least 16"),
    ],
)
def test_options_that_make_no_network(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        MultiscaleIRAE(**{**SMALL, **options})
