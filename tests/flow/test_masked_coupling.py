"""The coupling of holes with what is known: exact both ways, blind to nothing it may see."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from irae.flow.masked_coupling import MaskedCoupling, MaskedNetwork
from irae.models.networks.irae import IRAE, PRESETS


def perturbed(coupling: MaskedCoupling) -> MaskedCoupling:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in coupling.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return coupling


def condition(picture: Tensor, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    batch, _, height, width = picture.shape
    mask = torch.rand(batch, 1, height, width, generator=generator) > 0.6
    return torch.cat([mask.to(picture), picture], 1)


@settings(max_examples=20, deadline=None)
@given(
    batch=st.integers(1, 3),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    scales=st.integers(1, 4),
)
def test_inverse_and_volume(batch: int, rows: int, columns: int, scales: int) -> None:
    coupling = perturbed(MaskedCoupling(MaskedNetwork(4, scales))).double()
    multiple = coupling.size_multiple
    assert multiple == 2**scales
    x = torch.rand(batch, 3, rows * multiple, columns * multiple, dtype=torch.float64)
    given_ = condition(x)
    z, log_det = coupling.forward_and_log_det(x, given_)
    assert torch.equal(z, coupling(x, given_)) and not log_det.any()
    assert (coupling.inverse(z, given_) - x).abs().max() < 1e-12
    holes = given_[:, :1].bool().expand_as(x)
    assert torch.equal(z[~holes], x[~holes])
    assert holes.any() == (z[holes] != x[holes]).any()


def test_it_starts_as_no_change_and_all_of_it_can_be_learned() -> None:
    coupling = MaskedCoupling(MaskedNetwork(4))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(coupling(x, condition(x)), x)
    perturbed(coupling)(x, condition(x)).square().mean().backward()
    for name, parameter in coupling.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name


def test_a_pixel_far_away_is_seen() -> None:
    coupling = perturbed(MaskedCoupling(MaskedNetwork(4)))
    x = torch.rand(1, 3, 96, 96)
    given_ = condition(x)
    other = given_.clone()
    other[..., 0, 0] = 1 - other[..., 0, 0]
    with torch.no_grad():
        changed = coupling(x, given_) != coupling(x, other)
    assert changed[..., 60:, 60:].any()


def test_a_condition_without_the_picture_is_an_error() -> None:
    x = torch.rand(1, 3, 16, 16)
    for given_ in (None, torch.zeros(1, 1, 16, 16)):
        with pytest.raises(ValueError, match="mask and the filled picture"):
            MaskedCoupling(MaskedNetwork(4))(x, given_)


@pytest.mark.parametrize(("width", "scales"), [(0, 4), (4, 0)])
def test_sizes_that_make_no_network(width: int, scales: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        MaskedNetwork(width, scales)


def test_a_whole_network_inverts() -> None:
    network = IRAE(**{**PRESETS["holes"], "width": 8, "hole_width": 6}).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    x = torch.rand(2, 3, 32, 48, dtype=torch.float64)
    given_ = condition(x)
    restored, log_det = network.forward_and_log_det(x, given_)
    assert torch.equal(restored, network(x, given_)) and log_det.shape == (2,)
    assert (restored - x).abs().max() > 0.01
    assert (network.inverse(restored, given_) - x).abs().max() < 1e-9


def test_without_a_mask_it_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="condition_channels 1"):
        IRAE(hole_width=8)
