"""The network that finds damage: its size, its shapes, and what it sees."""

from __future__ import annotations

import pytest
import torch

from irae.errors import ModelError
from irae.models.networks.damage_detector import DamageDetector
from irae.models.networks.registry import DETECTORS, build_network, resolve_options


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_presets_are_small(name: str) -> None:
    for preset in DETECTORS[name].presets:
        with torch.device("meta"):
            network = build_network(name, resolve_options(name, preset, {}))
        assert sum(p.numel() for p in network.parameters()) <= 500_000


def test_every_pixel_has_a_logit_that_starts_at_rare() -> None:
    network = DamageDetector(width=4)
    logits = network(torch.rand(2, 3, 32, 48))
    assert logits.shape == (2, 1, 32, 48)
    assert torch.allclose(logits.sigmoid(), torch.tensor(0.018), atol=1e-3)


def test_a_pixel_is_judged_by_far_surroundings_too() -> None:
    torch.manual_seed(0)
    network = DamageDetector(width=4).eval()
    torch.nn.init.normal_(network.last.weight)
    picture = torch.rand(1, 3, 192, 192, requires_grad=True)
    network(picture)[0, 0, 96, 96].backward()
    assert picture.grad is not None
    seen = picture.grad.abs().amax((0, 1)) > 0
    rows = seen.any(1).nonzero()
    assert int(rows.max() - rows.min()) >= 96


def test_all_weights_learn() -> None:
    torch.manual_seed(0)
    network = DamageDetector(width=4)
    torch.nn.init.normal_(network.last.weight)
    network(torch.rand(2, 3, 32, 32)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


def test_too_narrow() -> None:
    with pytest.raises(ModelError, match="width is 2; use at least 4"):
        build_network("damage-detector", {"width": 2})
