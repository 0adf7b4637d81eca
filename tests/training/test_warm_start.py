"""Weights of another network, by name and shape."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

from irae.config import load_config
from irae.errors import ModelError, TrainingError, UsageError
from irae.models.networks.lifted import LiftedIRAE
from irae.training.prepare import build, prepare
from irae.training.run import _start_network
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


@pytest.fixture
def photos(tmp_path: Path) -> str:
    torch.manual_seed(0)
    for index in range(4):
        save_image(torch.rand(3, 72, 80), tmp_path / f"{index}.png")
    return str(tmp_path)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("denoise.yaml", "denoise"),
        ("inpaint.yaml", "inpaint"),
        ("density/fashion.yaml", "fashion"),
        ("find-damage.yaml", "scratches"),
        ("density/patches.yaml", "patches"),
    ],
)
def test_every_kind_of_packaged_model_can_be_trained_further(
    name: str, start: str, photos: str
) -> None:
    ready = prepare(load_config(name), [photos], None, start)
    network = build(ready)
    source = _start_network(network, start)
    start_from(network, source)
    for key, value in source.state_dict().items():
        assert torch.equal(network.state_dict()[key], value)


@pytest.mark.parametrize("start", ["fashion", "scratches", "patches"])
def test_a_model_that_restores_nothing_is_not_trained_to_restore(start: str, photos: str) -> None:
    ready = prepare(load_config("denoise.yaml"), [photos], None, start)
    with pytest.raises(TrainingError, match="restores no pictures; choose one of irae, dncnn"):
        build(ready)


def test_what_holds_no_weights_is_told(photos: str) -> None:
    config = load_config("denoise.yaml")
    with pytest.raises(UsageError, match="`from` is empty"):
        prepare(config, [photos], None, "")
    with pytest.raises(ModelError, match="'bm3d' is a method without weights"):
        prepare(config, [photos], None, "bm3d")
    with pytest.raises(ModelError, match="'nobody' is neither packaged"):
        prepare(config, [photos], None, "nobody")
