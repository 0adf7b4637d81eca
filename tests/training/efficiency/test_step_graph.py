"""A captured step gives what the plain step gives, and is used where it can be and is faster."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from irae.config import TrainingSection, load_config
from irae.errors import TrainingError, UsageError
from irae.models.networks.registry import build_network
from irae.tasks.base import Batch
from irae.training.distributed import ALONE, Ranks
from irae.training.efficiency import step_graph
from irae.training.efficiency.step_graph import WARM_UP, StepGraph, can_capture, choose_graph
from irae.training.objectives.restoration import Restoration
from irae.training.run import begin
from irae.training.step import TrainStep

LIFTED = {"form": "lifted", "width": 12, "couplings": 4, "hidden": 8}
GPU = torch.device("cuda")


class Tape:
    """What a graph does, on a CPU: the same work on the same tensors, into the same tensors."""

    def __init__(
        self,
        parameters: list[nn.Parameter],
        seconds: float = 0.0,
        buffers: Sequence[Tensor] = (),
    ) -> None:
        self.parameters, self.seconds, self.buffers = parameters, seconds, buffers
        self.replays, self.forgotten = 0, False

    def run(self, work: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        time.sleep(0.2)
        return work()

    def record(self, work: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        assert all(p.grad is None for p in self.parameters)
        self.work = work
        before = [buffer.clone() for buffer in self.buffers]
        loss, error = work()
        for buffer, kept in zip(self.buffers, before, strict=True):
            buffer.copy_(kept)
        self.results = [loss, error, *(p.grad for p in self.parameters)]
        for result in self.results:
            result.fill_(torch.nan)  # What is captured is not computed yet.
        return loss, error

    def replay(self) -> None:
        self.replays += 1
        time.sleep(self.seconds)
        kept = [p.grad for p in self.parameters]
        for p in self.parameters:
            p.grad = None
        loss, error = self.work()
        for result, now in zip(
            self.results, [loss, error, *(p.grad for p in self.parameters)], strict=True
        ):
            result.copy_(now)
        for p, grad in zip(self.parameters, kept, strict=True):
            p.grad = grad

    def wait(self) -> None:
        pass

    def forget(self) -> None:
        self.forgotten = True


def batch(number: int, size: int = 2) -> Batch:
    clean = torch.rand(size, 3, 16, 16, generator=torch.Generator().manual_seed(number))
    mask = torch.zeros(size, 1, 16, 16, dtype=torch.bool)
    mask[..., number % 8 : 8] = True
    return Batch(clean, clean * 0.9, mask)


def trained(
    graph: Any, seconds: float = 0.0, always: bool = True, name: str = "irae"
) -> tuple[list[Tensor], Any]:
    torch.manual_seed(0)
    network = build_network(name, LIFTED if name == "irae" else {"width": 8, "layers": 4})
    training = TrainStep(network, TrainingSection(optimizer="muon", warmup=1), ALONE, Restoration())
    buffers = list(network.buffers())
    tape = Tape(training._parameters, seconds, buffers)
    if graph:
        training._compute = StepGraph(
            training._gradients, training._parameters, buffers, tape, always=always
        )
    found = []
    for number in range(1, 13):
        found += training.step(batch(number, 3 if number == 10 else 2), number)
    return [*found, *network.state_dict().values()], (training._compute, tape)


def test_replayed_steps_are_plain_steps_also_beside_a_batch_of_another_size() -> None:
    expected, _ = trained(False)
    found, (graph, tape) = trained(True)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert graph.on and graph.replays and tape.replays == 12 - WARM_UP - 1


@pytest.mark.parametrize("name", ["irae", "dncnn"])  # The second keeps running statistics.
def test_a_graph_that_is_slower_is_not_used_and_one_that_is_faster_is(name: str) -> None:
    expected, _ = trained(False, name=name)
    for seconds, used in ((0.5, False), (0.0, True)):
        found, (graph, tape) = trained(True, seconds, always=False, name=name)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert graph.on == used == (not tape.forgotten)


@pytest.mark.parametrize("always", [True, False])
def test_a_step_that_cannot_be_captured(
    always: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Tape, work: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(Tape, "record", fail)
    if always:
        with pytest.raises(TrainingError, match=r"training.graph: .*not permitted.*set it to fal"):
            trained(True)
        return
    expected, _ = trained(False)
    with caplog.at_level(logging.WARNING):
        found, (graph, _) = trained(True, always=False)
    assert not graph.on
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert len(caplog.messages) == 1 and "not captured" in caplog.messages[0]


def test_steps_that_need_the_host_or_draw_noise_are_not_captured() -> None:
    assert can_capture(build_network("irae", LIFTED))
    assert can_capture(build_network("dncnn", {"width": 8, "layers": 4}))
    strict = {"width": 8, "depth": 2, "levels": 2}
    assert not can_capture(build_network("irae", strict))
    assert not can_capture(build_network("invdn", {"width": 8, "blocks": 2}))


def test_a_graph_is_for_one_process_on_a_gpu() -> None:
    network, auto = build_network("irae", LIFTED), TrainingSection()
    assert choose_graph(network, auto, GPU, ALONE) == "auto"
    assert choose_graph(network, TrainingSection(graph=True), GPU, ALONE) is True
    assert choose_graph(network, TrainingSection(graph=False), GPU, ALONE) is False
    assert choose_graph(network, auto, torch.device("cpu"), ALONE) is False
    assert choose_graph(network, auto, GPU, Ranks(0, 2)) is False
    assert choose_graph(network, TrainingSection(compile=True), GPU, ALONE) is False
    for device, ranks, reason in (("cpu", ALONE, "no GPU"), ("cuda", Ranks(0, 2), "processes")):
        with pytest.raises(UsageError, match=f"training.graph: .*{reason}.*; set it to auto"):
            choose_graph(network, TrainingSection(graph=True), torch.device(device), ranks)


def test_a_run_that_demands_a_graph_without_a_gpu_is_refused(
    tmp_path: Path, pictures: Path
) -> None:
    settings = load_config(
        "denoise.yaml",
        [
            f"data.root={pictures}",
            "data.train=[{source: train}]",
            "data.validation={source: val, images: 1, crop: 32}",
            "data.patch=16",
            "model.options={width: 16, couplings: 4, hidden: 8}",
            "training={steps: 4, batch: 2, graph: true, precision: fp32}",
        ],
    )
    with pytest.raises(UsageError, match="training.graph"):
        begin(settings, tmp_path / "run", torch.device("cpu"))
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("irae", LIFTED),
        ("irae", {**LIFTED, "width": 28, "condition_channels": 4}),
        ("dncnn", {"width": 8, "layers": 4}),
        ("unet", {"width": 8, "depth": 2}),
    ],
)
def test_the_compiler_sees_the_whole_network(name: str, options: dict[str, Any]) -> None:
    network = build_network(name, options)
    given = [torch.rand(1, 3, 32, 32)]
    if options.get("condition_channels"):
        given.append(torch.rand(1, 4, 32, 32))
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(*given), network(*given))


def test_the_recorder_of_cuda_is_what_a_run_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[torch.device] = []
    monkeypatch.setattr(
        "irae.training.step.CudaRecorder", lambda device: made.append(device) or Tape([])
    )
    network = build_network("irae", LIFTED)
    training = TrainStep(network, TrainingSection(), ALONE, Restoration(), graph="auto")
    assert made == [torch.device("cpu")]
    assert isinstance(training._compute, step_graph.StepGraph)
