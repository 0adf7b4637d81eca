"""The lifted network: the identity untrained, and exactly reversible however it computes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from irae.errors import ModelError
from irae.flow.lifted import GRID, LiftedFlow, exact_range, to_grid
from irae.flow.subnets import set_network_dtype
from irae.models.inference.lifted_form import LiftedForm
from irae.models.networks.lifted import LiftedIRAE
from irae.runtime import generator

SMALL = {"width": 16, "couplings": 5, "hidden": 8}


def perturbed(amount: float = 0.1, seed: int = 0, **options: int) -> LiftedIRAE:
    """A network whose couplings all change their streams."""
    torch.manual_seed(seed)
    network = LiftedIRAE(**{**SMALL, **options}).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=generator(seed))
    return network


def eight_bits(*shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, 256, shape, generator=generator(seed)).float() / 255


def test_the_default_has_the_size_that_is_documented() -> None:
    assert sum(p.numel() for p in LiftedIRAE().parameters()) == 664_896


def test_the_untrained_network_is_the_identity() -> None:
    x = torch.rand(2, 3, 8, 10)
    assert torch.allclose(LiftedIRAE(**SMALL)(x), x, atol=1e-7)


def test_what_is_left_out_of_the_first_and_last_coupling_changes_nothing() -> None:
    network, x = perturbed(), torch.rand(2, 3, 8, 10)
    u = network.lift(x)
    a, b = network.flow(u, u)
    plain = torch.nn.functional.pixel_shuffle((a + b)[:, :12] / 2, 2) + 0.5
    assert torch.allclose(network(x), plain, atol=1e-6)
    assert torch.allclose(network.decode(network.encode(x)), plain, atol=1e-6)
    restored, _ = network.split(x, exact=False)
    assert torch.allclose(restored, plain, atol=1e-6)
    middle, end = network.middle_and_end(x)
    assert torch.allclose(end, plain, atol=1e-6)
    assert not torch.allclose(middle, end, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_restoring_form_is_the_network(dtype: torch.dtype) -> None:
    network, x = perturbed(), torch.rand(2, 3, 8, 10)
    set_network_dtype(network, dtype)
    with torch.no_grad():
        assert torch.allclose(LiftedForm(network, dtype=dtype)(x), network(x), atol=1e-6)


@given(
    height=st.integers(1, 13),
    width=st.integers(1, 13),
    batch=st.integers(1, 3),
    bits=st.sampled_from([8, 16]),
    precision=st.sampled_from(["fp32", "bf16", "fp64"]),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None)
def test_every_bit_comes_back(
    height: int, width: int, batch: int, bits: int, precision: str, seed: int
) -> None:
    network = perturbed(0.05, seed=seed % 7)
    top = 2**bits - 1
    x = torch.randint(0, top + 1, (batch, 3, height, width), generator=generator(seed)) / top
    if precision == "fp64":
        network, x = network.double(), x.double()
    set_network_dtype(network, torch.bfloat16 if precision == "bf16" else None)
    restored, remainder = network.split(x)
    assert restored.shape == x.shape
    assert remainder.size == (height, width)
    back = network.join(restored, remainder)
    assert torch.equal((back * top).round(), (x * top).round())
    assert float((back - x).abs().max()) <= GRID


@given(height=st.integers(1, 9), width=st.integers(1, 9), seed=st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_without_the_grid_float32_errs_a_little(height: int, width: int, seed: int) -> None:
    network, x = perturbed(seed=seed % 7), torch.rand(2, 3, height, width)
    back = network.join(*network.split(x, exact=False))
    assert float((back - x).abs().max()) <= 1e-5


def test_without_the_grid_bf16_networks_err_and_with_it_they_do_not() -> None:
    network, x = perturbed(), eight_bits(1, 3, 64, 64)
    set_network_dtype(network, torch.bfloat16)
    plain = network.join(*network.split(x, exact=False))
    assert float((plain - x).abs().max()) > 1e-4
    assert torch.equal((network.join(*network.split(x)) * 255).round(), (x * 255).round())


@pytest.mark.parametrize("condition", ["mask", "filled", "sigma"])
def test_a_condition_lies_in_channels_that_would_be_zero(condition: str) -> None:
    x = eight_bits(2, 3, 7, 9)
    if condition == "sigma":
        network = perturbed(0.05, takes_sigma=True)
        given, other = torch.full((2, 1, 1, 1), 0.1), torch.full((2, 1, 1, 1), 0.3)
    else:
        count = 1 if condition == "mask" else 4
        network = perturbed(0.05, condition_channels=count, width=28)
        given, other = torch.zeros(2, count, 7, 9), torch.ones(2, count, 7, 9)
    restored, remainder = network.split(x, given)
    assert not torch.equal(restored, network.split(x, other)[0])
    back = network.join(restored, remainder, given)
    assert torch.equal((back * 255).round(), (x * 255).round())
    with pytest.raises(ModelError, match="condition"):
        network.split(x)


def test_a_remainder_of_another_picture_is_refused() -> None:
    network = perturbed()
    first, second = eight_bits(1, 3, 8, 8), eight_bits(1, 3, 8, 8, seed=2)
    restored, _ = network.split(first)
    with pytest.raises(ModelError, match="not of this picture"):
        network.join(restored, network.split(second)[1])
    with pytest.raises(ModelError, match=r"1 pictures of 6×8, not of 1 of 8×8"):
        network.join(restored, network.split(eight_bits(1, 3, 8, 6))[1])
    with pytest.raises(ModelError, match="another width"):
        network.join(restored, perturbed(width=20).split(first)[1])


def test_a_state_out_of_the_exact_range_is_an_error_not_a_wrong_picture() -> None:
    network = perturbed(amount=3.0)
    with pytest.raises(ModelError, match="left ±16"):
        network.split(eight_bits(1, 3, 8, 8))


def test_streams_whose_difference_is_out_of_range_are_an_error_too() -> None:
    network = perturbed(0.01)
    with torch.no_grad():  # The streams end near 9 and -9.
        for number, value in ((3, -9.0), (4, 9.0)):
            network.flow.networks()[number].conv2.bias.fill_(value)
    with pytest.raises(ModelError, match="the difference of the streams has left ±16"):
        network.split(eight_bits(1, 3, 8, 8))


def test_the_grid_is_exact_just_below_its_range() -> None:
    assert exact_range(torch.float32) == 16
    largest = torch.tensor(16 - GRID)
    assert largest - GRID != largest
    assert to_grid(largest) == largest
    assert torch.tensor(16.0) + GRID == torch.tensor(16.0)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"width": 11}, "at least 12"),
        ({"width": 15, "condition_channels": 1}, "at least 16"),
        ({"couplings": 1}, "couplings 1"),
        ({"hidden": 0}, "hidden 0"),
        ({"takes_sigma": True, "condition_channels": 1}, "exclude"),
    ],
)
def test_options_that_make_no_network(options: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        LiftedIRAE(**options)


def test_hidden_units_start_anew_without_a_change_of_the_function() -> None:
    network, x = perturbed(), torch.rand(1, 3, 8, 8)
    coupling = network.flow.networks()[2]
    with torch.no_grad():
        coupling.conv1.bias[:3] = -100.0
    before, dead = network(x), torch.arange(8) < 3
    coupling.restart(dead, generator(5))
    assert torch.allclose(network(x), before, atol=1e-6)
    assert float(coupling.conv1.bias[:3].detach().abs().max()) == 0
    assert float(coupling.conv1.weight[:3].detach().std()) > 0.01


def test_a_flow_of_streams_is_undone_from_anywhere() -> None:
    flow = LiftedFlow(6, 5, 4).double()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    a, b = torch.rand(2, 2, 6, 5, 4).double()
    for start, stop in ((0, None), (1, 4), (2, 2)):
        c, d = flow(a, b, start=start, stop=stop)
        e, f = flow.inverse(c, d, start=start, stop=stop)
        assert torch.allclose(a, e, atol=1e-12) and torch.allclose(b, f, atol=1e-12)
