"""A training step and a batch never wait for the device: nothing in them reads a result."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import nn

from irae.config import TrainingSection
from irae.flow.reversible import can_recompute, set_reversible
from irae.flow.subnets import set_network_dtype
from irae.models.networks.registry import NETWORKS, build_network
from irae.runtime import constant, upload
from irae.tasks.base import Batch
from irae.training.distributed import ALONE
from irae.training.ema import EMA
from irae.training.objectives.restoration import Restoration
from irae.training.step import TrainStep

GLOW = {"width": 8, "depth": 2, "levels": 2}
SMALL: dict[str, list[dict[str, Any]]] = {
    "irae": [
        {"form": "lifted", "width": 12, "couplings": 4, "hidden": 8},
        {"form": "lifted", "width": 28, "couplings": 2, "hidden": 8, "condition_channels": 4},
        GLOW,
        {**GLOW, "mixing": "dense", "actnorm": True, "network": "actnorm", "coupling": "affine"},
        {**GLOW, "condition_channels": 1, "coupling": "bounded"},
    ],
    "dncnn": [{"width": 8, "layers": 4}],
    "ffdnet": [{"width": 8, "layers": 4}],
    "rednet": [{"width": 8, "layers": 6}],
    "arcnn": [{}],
    "unet": [{"width": 8, "depth": 2}, {"width": 8, "depth": 2, "condition_channels": 1}],
    "rdn": [{"width": 8, "blocks": 2, "layers": 2, "growth": 4}],
    "pconv": [{"width": 8, "depth": 3}],
    "invdn": [{"width": 8, "blocks": 2}],
    "gradnet": [{"width": 29, "units": 2, "blocks": 1}],
    "contextual-attention": [{"width": 4}],
    "shift-net": [{"width": 4, "depth": 3, "shift_level": 1}],
    "csa": [{"width": 4, "depth": 3, "attention_level": 1}],
}
CPU = torch.device("cpu")
CASES = [(name, options) for name in NETWORKS for options in SMALL[name]]


def make_batch(device: torch.device, size: int = 2, side: int = 32) -> Batch:
    draw = torch.Generator().manual_seed(0)
    clean = torch.rand(size, 3, side, side, generator=draw).to(device)
    clean = clean.contiguous(memory_format=torch.channels_last)
    mask = torch.zeros(size, 1, side, side, dtype=torch.bool, device=device)
    mask[..., 4:9, 5:17] = True
    return Batch(clean, clean * 0.9, mask, torch.full((size,), 25.0, device=device))


def make_network(name: str, options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return build_network(name, options).train()


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize("recompute", [False, True])
def test_a_step_of_every_network_reads_nothing(
    name: str,
    options: dict[str, Any],
    recompute: bool,
    no_waits: Callable[[str], AbstractContextManager[object]],
) -> None:
    network = make_network(name, options)
    if recompute and not can_recompute(network):
        return
    set_reversible(network, recompute)
    average = EMA(network, 0.99)
    for optimizer, loss in (("muon", "psnr"), ("adamw", "l1")):
        section = TrainingSection(optimizer=optimizer, loss=loss)  # type: ignore[arg-type]
        training = TrainStep(network, section, ALONE, Restoration())
        batch = make_batch(CPU)
        with no_waits("cpu"):
            for number in (1, 2):
                training.step(batch, number)
                average.update(network, number)
        assert training.first_bad_step() is None


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_loss_copies_nothing_from_or_to_the_host(
    name: str,
    options: dict[str, Any],
    no_waits: Callable[[str], AbstractContextManager[object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = torch.device("meta")
    # The device has no generators of its own.
    monkeypatch.setattr(
        "irae.models.networks.denoising.invdn.generator", lambda *keys, device: None
    )
    network = make_network(name, options).to(device)
    training = TrainStep(network, TrainingSection(optimizer="muon"), ALONE, Restoration())
    batch = make_batch(device)
    training.loss(batch)  # Constants are made.
    with no_waits("meta"):
        loss, error = training.loss(batch)
        torch.autograd.backward(loss)
    assert loss.device == error.device == device
    assert all(p.grad is not None for p in network.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    "work",
    [
        lambda x: float(x.sum()),
        lambda x: x[x > 0],
        lambda x: (x > 0).nonzero(),
        lambda x: bool((x > 0).any()),
        lambda x: torch.linalg.solve(x, x),
        lambda x: torch.linalg.inv(x),
    ],
)
def test_the_context_finds_what_waits(
    work: Any, no_waits: Callable[[str], AbstractContextManager[object]]
) -> None:
    with pytest.raises(AssertionError, match="waits for the device"), no_waits("cpu"):
        work(torch.eye(3) + 1)


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.to("cpu"),
        lambda x: torch.ones(3).to(x.device),
        lambda x: torch.ones(3).to(x.device, non_blocking=True),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: x.new_tensor([1.0]),
        lambda x: torch.tensor([1.0], device=x.device),
        lambda x: torch.as_tensor([1.0], device="meta"),
        lambda x: x[[1, 1]],
        lambda x: x[torch.tensor([1, 1])],
        lambda x: x.__setitem__(slice(2), torch.ones(2)),
    ],
)
def test_the_context_finds_copies(
    work: Any, no_waits: Callable[[str], AbstractContextManager[object]]
) -> None:
    x = torch.empty(3, device="meta")
    with pytest.raises(AssertionError, match="cop(y|ies|ied)"), no_waits("meta"):
        work(x)


def test_the_context_lets_pass_what_does_not_wait(
    no_waits: Callable[[str], AbstractContextManager[object]],
) -> None:
    x = torch.empty(3, device="meta")
    constant((1, 2), x)
    with no_waits("meta"):
        x[torch.arange(2, device="meta")] = 1.0
        x[0], x[1:] = 2.0, x[:2] * constant((1, 2), x)
        assert upload(torch.tensor([1, 2]), x.device).device == x.device


def test_constants_are_those_of_the_device_and_serve_gradients() -> None:
    x = torch.ones(2, dtype=torch.float64, requires_grad=True)
    with torch.inference_mode():
        made = constant((3, 4), x)
    assert constant((3, 4), x) is made and constant((3, 4), x.float()) is not made
    torch.autograd.backward((x * made).sum())
    assert x.grad is not None and x.grad.tolist() == [3, 4]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_step_of_every_network_in_bfloat16_is_finite(name: str, options: dict[str, Any]) -> None:
    network = make_network(name, options)
    set_network_dtype(network, torch.bfloat16)
    section = TrainingSection(optimizer="muon", precision="bf16")
    training, batch = TrainStep(network, section, ALONE, Restoration()), make_batch(CPU)
    for number in (1, 2):
        training.step(batch, number)
    assert training.first_bad_step() is None


@pytest.mark.parametrize(("name", "options"), CASES)
def test_cuda_itself_finds_no_wait_in_a_step(
    name: str, options: dict[str, Any], cuda: torch.device
) -> None:
    network = make_network(name, options).to(cuda).to(memory_format=torch.channels_last)
    set_network_dtype(network, torch.bfloat16)
    section = TrainingSection(optimizer="muon", precision="bf16")
    training, average = TrainStep(network, section, ALONE, Restoration()), EMA(network, 0.99)
    batch = make_batch(cuda)
    training.step(batch, 1)  # The first call allocates workspaces and chooses algorithms.
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in (2, 3):
            training.step(batch, number)
            average.update(network, number)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert training.first_bad_step() is None
