"""Weights are converted together, once a step, and every gradient is what it was."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from irae.config import TrainingSection
from irae.flow.reversible import can_recompute, set_reversible
from irae.flow.subnets import set_network_dtype
from irae.models.networks.registry import build_network
from irae.tasks.base import Batch
from irae.training import step
from irae.training.distributed import ALONE
from irae.training.objectives.restoration import Restoration
from irae.training.step import TrainStep

GLOW = {"width": 8, "depth": 2, "levels": 2}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("irae", {"form": "lifted", "width": 12, "couplings": 4, "hidden": 8}),
    ("irae", {"form": "lifted", "width": 28, "couplings": 2, "hidden": 8, "condition_channels": 4}),
    ("irae", {**GLOW, "mixing": "dense", "actnorm": True, "network": "actnorm"}),
    ("irae", {**GLOW, "condition_channels": 1, "hole_width": 8, "coupling": "bounded"}),
    ("dncnn", {"width": 8, "layers": 4}),
    ("ffdnet", {"width": 8, "layers": 4}),
    ("rednet", {"width": 8, "layers": 6}),
    ("arcnn", {}),
    ("unet", {"width": 8, "depth": 2}),
    ("rdn", {"width": 8, "blocks": 2, "layers": 2, "growth": 4}),
    ("pconv", {"width": 8, "depth": 3}),
    ("invdn", {"width": 8, "blocks": 2}),
    ("gradnet", {"width": 29, "units": 2, "blocks": 1}),
    ("contextual-attention", {"width": 4}),
    ("shift-net", {"width": 4, "depth": 3, "shift_level": 1}),
]


class Conversions(TorchDispatchMode):
    """Counts conversions between types of tensors with the shape of a weight or a bias."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.shapes = {p.shape for p in network.parameters() if p.ndim in (1, 4)}
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given, name = kwargs or {}, func.overloadpacket.__name__
        if name == "_foreach_copy_" and args[0] and args[0][0].dtype != args[1][0].dtype:
            self.found["together"] += 1
        if name == "_to_copy" and given.get("dtype", args[0].dtype) != args[0].dtype:
            self.found["single"] += args[0].shape in self.shapes
        return func(*args, **given)


def batch() -> Batch:
    clean = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    mask[..., 4:9, 5:17] = True
    return Batch(clean, clean * 0.9, mask, torch.full((2,), 25.0))


def gradients(
    name: str, options: dict[str, Any], recompute: bool
) -> tuple[list[Tensor], Counter[str]]:
    torch.manual_seed(0)
    network = build_network(name, options).train()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():  # An identity start has gradients of zero.
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw)
    set_network_dtype(network, torch.bfloat16)
    set_reversible(network, recompute)
    training = TrainStep(network, TrainingSection(precision="bf16"), ALONE, Restoration())
    before = [(key, id(p)) for key, p in network.named_parameters()]
    with Conversions(network) as counted:
        training._gradients(batch())
    assert [(key, id(p)) for key, p in network.named_parameters()] == before
    return [p.grad for p in network.parameters() if p.grad is not None], counted.found


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("recompute", [False, True])
def test_weights_and_gradients_are_converted_once_and_stay_the_same(
    name: str, options: dict[str, Any], recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if recompute and not can_recompute(build_network(name, options)):
        return
    found, counted = gradients(name, options, recompute)
    with monkeypatch.context() as patch:
        patch.setattr(step, "weights_converted", lambda network, precision: nullcontext())
        expected, before = gradients(name, options, recompute)
    assert len(found) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert counted["together"] == 2 and before["together"] == 0
    assert counted["single"] < before["single"]


def test_in_float32_nothing_is_converted() -> None:
    network = build_network("irae", CASES[0][1])
    training = TrainStep(network, TrainingSection(precision="fp32"), ALONE, Restoration())
    with Conversions(network) as counted:
        training.step(batch(), 1)
    assert not counted.found["together"] and not counted.found["single"]


def test_a_step_that_fails_leaves_the_weights_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network("irae", CASES[0][1])
    set_network_dtype(network, torch.bfloat16)
    training = TrainStep(network, TrainingSection(precision="bf16"), ALONE, Restoration())
    monkeypatch.setattr(training, "loss", lambda given: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        training.step(batch(), 1)
    assert all(isinstance(p, nn.Parameter) for p in network.parameters())
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_on_a_gpu_too_gradients_stay_the_same(
    cuda: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = build_network("irae", CASES[0][1]).to(cuda)
    set_network_dtype(network, torch.bfloat16)
    training = TrainStep(network, TrainingSection(precision="bf16"), ALONE, Restoration())
    given = batch()
    given = Batch(given.clean.to(cuda), given.degraded.to(cuda))
    found = []
    for converted in (step.weights_converted, lambda network, precision: nullcontext()):
        monkeypatch.setattr(step, "weights_converted", converted)
        network.zero_grad()
        training._gradients(given)
        found.append([p.grad.clone() for p in network.parameters() if p.grad is not None])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-2)
