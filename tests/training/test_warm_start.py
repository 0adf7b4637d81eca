"""Weights of another network, by name and shape."""

from __future__ import annotations

import pytest
import torch

from irae.models.networks.lifted import LiftedIRAE
from irae.training.warm_start import start_from


def lifted(couplings: int = 3, width: int = 16) -> LiftedIRAE:
    torch.manual_seed(couplings)
    network = LiftedIRAE(width=width, couplings=couplings, hidden=6)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return network


def test_the_same_network_gets_every_weight() -> None:
    source, network = lifted(), LiftedIRAE(width=16, couplings=3, hidden=6)
    start_from(network, source)
    for key, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[key], value)


def test_couplings_added_at_the_end_begin_as_the_identity() -> None:
    source, network, x = (
        lifted(),
        LiftedIRAE(width=16, couplings=5, hidden=6),
        torch.rand(1, 3, 8, 8),
    )
    start_from(network, source)
    assert torch.allclose(network(x), source(x), atol=1e-6)


@pytest.mark.parametrize("source", [lifted(couplings=4), lifted(width=20)])
def test_what_has_no_place_is_named(source: LiftedIRAE) -> None:
    with pytest.raises(ValueError, match=r"its tensor flow\.couplings\.\d"):
        start_from(LiftedIRAE(width=16, couplings=3, hidden=6), source)
