"""Training on a GPU: bfloat16, compiled, recomputed, with NCCL, resumed, out of memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from irae.config import RunConfig, TrainingSection, load_config
from irae.flow.reversible import set_reversible
from irae.flow.subnets import set_network_dtype
from irae.models.networks.registry import build_network, resolve_options
from irae.tasks.base import Batch
from irae.training.distributed import ALONE, CONTROL_TIMEOUT, Ranks, StepMemoryError
from irae.training.loop import train
from irae.training.objectives.restoration import Restoration
from irae.training.run import begin, resume
from irae.training.step import TrainStep


def config(root: Path, *more: str) -> RunConfig:
    return load_config(
        "denoise.yaml",
        [
            f"data.root={root}",
            "data.train=[{source: train}]",
            "data.validation={source: val, images: 1, crop: 32}",
            "data.patch=32",
            "training={steps: 6, batch: 4, warmup: 2, validate_every: 3, log_every: 1}",
            *more,
        ],
    )


def make_network(**options: object) -> nn.Module:
    torch.manual_seed(0)
    return build_network("irae", resolve_options("irae", "default", options)).train()


def make_batch(device: torch.device, size: int = 8, side: int = 64) -> Batch:
    clean = torch.rand(size, 3, side, side, generator=torch.Generator().manual_seed(0)).to(device)
    clean = clean.contiguous(memory_format=torch.channels_last)
    return Batch(clean, (clean * 0.9).contiguous(memory_format=torch.channels_last))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
# The compiler starts processes of its own.
@pytest.mark.parametrize("compile_", [False, pytest.param(True, marks=pytest.mark.process)])
def test_steps_on_a_gpu_learn(
    precision: str, optimizer: str, compile_: bool, cuda: torch.device
) -> None:
    network = make_network().to(cuda).to(memory_format=torch.channels_last)
    set_network_dtype(network, torch.bfloat16 if precision == "bf16" else None)
    section = TrainingSection(
        optimizer=optimizer,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        compile=compile_,
        warmup=1,
        reversible=False,
    )
    training, batch = TrainStep(network, section, ALONE, Restoration()), make_batch(cuda)
    losses = [float(training.step(batch, number)[0]) for number in range(1, 31)]
    assert training.first_bad_step() is None
    assert losses[-1] < 0.7 * losses[0]


def gradients(network: nn.Module, batch: Batch) -> tuple[Tensor, int]:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    network.zero_grad()
    loss, _ = TrainStep(network, TrainingSection(), ALONE, Restoration()).loss(batch)
    torch.autograd.backward(loss)
    flat = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
    return flat, torch.cuda.max_memory_allocated() - before


def test_recomputed_gradients_are_the_same_and_take_less_memory(cuda: torch.device) -> None:
    network = make_network(couplings=24).to(cuda).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.01 * torch.randn_like(parameter)
    batch = make_batch(cuda, 16)
    found = []
    for recompute in (False, True):
        set_reversible(network, recompute)
        gradients(network, batch)  # Allocates workspaces.
        found.append(gradients(network, batch))
    (plain, much), (recomputed, little) = found
    assert (plain - recomputed).norm() < 1e-3 * plain.norm()
    assert little < much / 2


def test_a_run_with_muon_is_resumed_on_a_gpu_and_on_the_cpu(
    tmp_path: Path, pictures: Path, cuda: torch.device
) -> None:
    settings = config(pictures, "training.optimizer=muon", "training.precision=fp32")
    train(begin(settings, tmp_path / "run", cuda), max_steps=2)
    train(resume(tmp_path / "run", cuda), max_steps=4)
    again = resume(tmp_path / "run", torch.device("cpu"))
    train(again)
    assert again.step == 6 and again.best > 0


@pytest.fixture
def one_rank(cuda: torch.device) -> Iterator[Ranks]:
    """The first of two ranks, of which only this one is there: sums are those of one."""
    dist.init_process_group("cpu:gloo,cuda:nccl", rank=0, world_size=1, store=dist.HashStore())
    yield Ranks(0, 2)
    dist.destroy_process_group()


def test_gradients_are_summed_by_nccl(one_rank: Ranks, cuda: torch.device) -> None:
    network = make_network().to(cuda)
    training = TrainStep(network, TrainingSection(optimizer="muon"), one_rank, Restoration())
    loss, _ = training.step(make_batch(cuda), 1)
    assert torch.isfinite(loss)
    one_rank.from_main(network.parameters())
    assert one_rank.any(True) and not one_rank.any(False)


def test_a_step_that_does_not_fit_a_gpu_is_one_line_and_leaves_the_memory(
    cuda: torch.device,
) -> None:
    network = make_network(couplings=24).to(cuda)
    training = TrainStep(network, TrainingSection(), ALONE, Restoration())
    training.step(make_batch(cuda, 2), 1)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(cuda).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 3e8) / total)
    try:
        with pytest.raises(StepMemoryError, match="lower training.batch"):
            training.step(make_batch(cuda, 64, 128), 2)
        training.step(make_batch(cuda, 2), 3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("recompute", [False, True])
def test_a_captured_step_is_the_plain_step(
    precision: str, recompute: bool, cuda: torch.device
) -> None:
    found = []
    for graph in (False, True):
        network = make_network().to(cuda).to(memory_format=torch.channels_last)
        set_network_dtype(network, torch.bfloat16 if precision == "bf16" else None)
        set_reversible(network, recompute)
        section = TrainingSection(optimizer="muon", precision=precision, warmup=1)  # type: ignore[arg-type]
        training = TrainStep(network, section, ALONE, Restoration(), graph=graph)
        losses = [float(training.step(make_batch(cuda, 8), n)[0]) for n in range(1, 21)]
        assert training.first_bad_step() is None
        found.append(torch.tensor(losses))
    torch.testing.assert_close(found[1], found[0], atol=0, rtol=2e-2)


def test_a_captured_step_never_waits(cuda: torch.device) -> None:
    network = make_network().to(cuda).to(memory_format=torch.channels_last)
    training = TrainStep(
        network, TrainingSection(optimizer="muon"), ALONE, Restoration(), graph=True
    )
    batch = make_batch(cuda)
    for number in range(1, 9):
        training.step(batch, number)
    torch.cuda.set_sync_debug_mode("error")
    try:
        training.step(batch, 9)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert training.first_bad_step() is None


def test_a_run_with_a_graph_trains_beside_the_thread_of_its_batches(
    tmp_path: Path, pictures: Path, cuda: torch.device
) -> None:
    settings = config(pictures, "training.graph=true", "training.steps=16")
    run = begin(settings, tmp_path / "run", cuda)
    train(run)
    assert run.step == 16 and run.best > 0


def test_messages_of_control_do_not_wait_for_the_gpu(cuda: torch.device) -> None:
    dist.init_process_group("cpu:gloo,cuda:nccl", rank=0, world_size=1, store=dist.HashStore())
    try:
        control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
        torch.cuda._sleep(2_000_000_000)  # About a second.
        done = torch.cuda.Event()
        done.record()
        assert Ranks(0, 2, control).any(True)
        assert not done.query()
    finally:
        dist.destroy_process_group()
