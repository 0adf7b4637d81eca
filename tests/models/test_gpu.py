"""On a GPU every network computes what it computes on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from irae.models.call import condition_for
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.registry import NETWORKS, build_network, resolve_options

CASES: list[tuple[str, str | None, dict[str, Any]]] = [
    ("irae", "default", {}),
    ("irae", "paper", {"depth": 2}),
    ("irae", "holes", {}),
    ("dncnn", None, {}),
    ("ffdnet", None, {}),
    ("rednet", None, {}),
    ("arcnn", None, {}),
    ("unet", None, {}),
    ("rdn", None, {"blocks": 2}),
    ("pconv", None, {}),
    ("invdn", None, {"blocks": 2}),
    ("gradnet", None, {"blocks": 1}),
    ("contextual-attention", None, {"width": 8}),
    ("shift-net", None, {"width": 8, "depth": 3, "shift_level": 1}),
    ("csa", None, {"width": 8, "depth": 3, "attention_level": 1}),
]


def test_every_network_is_compared() -> None:
    assert {name for name, _, _ in CASES} == set(NETWORKS)


@pytest.mark.parametrize(("name", "preset", "options"), CASES)
def test_every_network_restores_alike(
    name: str, preset: str | None, options: dict[str, Any], cuda: torch.device
) -> None:
    torch.manual_seed(0)
    resolved = resolve_options(name, preset, options)
    model = LoadedModel(build_network(name, resolved), ModelSpec(name, resolved, ""), name)
    picture = torch.rand(2, 3, 64, 96)
    mask = torch.zeros(2, 1, 64, 96, dtype=torch.bool)
    mask[..., 10:30, 20:50] = True
    given = mask if model.takes_mask else None
    here = model.restore(picture, given, sigma=25.0)
    there = model.to(cuda, "fp32").restore(picture, given, sigma=25.0)
    torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=0)


@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint", "photo"])
def test_the_packaged_models_restore_alike(task: str, cuda: torch.device) -> None:
    model = load_model(task)
    picture = torch.rand(1, 3, 96, 128)
    mask = torch.zeros(1, 1, 96, 128, dtype=torch.bool)
    mask[..., 30:50, 40:70] = True
    given = mask if model.takes_mask else None
    here = model.restore(picture, given)
    there = model.to(cuda, "fp32").restore(picture, given)
    torch.testing.assert_close(there.cpu(), here, atol=1e-4, rtol=0)
    reduced = model.to(cuda, "bf16").restore(picture, given).cpu()
    assert (reduced - here).square().mean().sqrt() < 0.01


def test_the_way_back_is_exact_on_a_gpu(cuda: torch.device) -> None:
    model = load_model("denoise")
    picture = torch.rand(1, 3, 64, 64).mul(255).round() / 255
    for precision in ("fp32", "bf16"):
        given, _, recovered = model.to(cuda, precision).round_trip(picture)
        assert torch.equal((given * 255).round(), (recovered * 255).round())


def test_conditions_are_made_on_the_gpu(cuda: torch.device) -> None:
    network = build_network("ffdnet", resolve_options("ffdnet", None, {}))
    sigma = torch.tensor([5.0, 25.0], device=cuda)
    condition = condition_for(network, sigma=sigma)
    assert condition is not None and condition.device.type == "cuda"
