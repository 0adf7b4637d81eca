"""Forward and backward pass as a CUDA graph, which a GPU starts at once instead of in hundreds of
small launches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from irae.config import TrainingSection
from irae.errors import TrainingError, UsageError
from irae.flow.mixing import Mixing
from irae.tasks.base import Batch
from irae.training.distributed import Ranks

_log = logging.getLogger(__name__)

Work = Callable[[Batch], tuple[Tensor, Tensor]]
"""Computes the gradients of a batch; returns the loss and the error, two scalars."""

WARM_UP = 4
"""Number of steps before the capture; the first allocate workspaces and choose algorithms."""

_FASTER = 0.95  # A graph must take less than this share of the time.


def can_capture(network: nn.Module) -> bool:
    """Whether a step of a network does the same on the device each time, without its host.

    Solvers of linear systems may use the host, and seeds of noise change with the step.
    """
    noisy = getattr(network, "draws_noise", False)
    return not noisy and not any(isinstance(part, Mixing) for part in network.modules())


def choose_graph(
    network: nn.Module, section: TrainingSection, device: torch.device, ranks: Ranks
) -> bool | Literal["auto"]:
    """Return whether the steps of a run use a graph: ``training.graph``, where it is possible.

    Raises:
        UsageError: the config demands a graph, and there can be none.
    """
    obstacles = {
        "the device is no GPU of NVIDIA": device.type != "cuda",
        "several processes train together": ranks.count > 1,
        "training.compile is set": section.compile,
        "the network's step needs the host": not can_capture(network),
    }
    obstacle = next((reason for reason, holds in obstacles.items() if holds), None)
    if obstacle is None:
        return section.graph
    if section.graph is True:
        raise UsageError(f"training.graph: {obstacle}; set it to auto or false")
    return False


class Recorder(Protocol):
    """What records the work of a device; tests have one that needs no GPU."""

    def run(self, work: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Do the work without recording it."""

    def record(self, work: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Record the work; its results are computed by `replay`."""

    def replay(self) -> None:
        """Do the recorded work again, with the same tensors."""

    def wait(self) -> None:
        """Wait until the work is done."""

    def forget(self) -> None:
        """Free the memory of what is recorded."""


class CudaRecorder:
    """Records CUDA graphs, in a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        make: Any = torch.cuda
        self._device = device
        self._stream, self._graph = make.Stream(device), make.CUDAGraph()

    def run(self, work: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        # In the stream of the capture: autograd adds gradients in the stream of a first pass.
        before = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(before)
        with torch.cuda.stream(self._stream):
            found = work()
        before.wait_stream(self._stream)
        return found

    def record(self, work: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        # A thread makes the next batch meanwhile; only what this one does is recorded.
        with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"):
            return work()

    def replay(self) -> None:
        self._graph.replay()

    def wait(self) -> None:
        torch.cuda.synchronize(self._device)

    def forget(self) -> None:
        self._graph.reset()


class StepGraph:
    """Computes gradients: at first plainly, then by replaying a graph, if that is faster.

    The numbers are the same either way, so a resumed run need not decide alike.

    Args:
        work: computes the gradients of a batch into the parameters.
        parameters: the parameters.
        buffers: what else the work changes, such as running statistics.
        recorder: what records the device's work.
        always: use the graph without measuring; a failing capture is an error then.
    """

    def __init__(
        self,
        work: Work,
        parameters: Sequence[nn.Parameter],
        buffers: Sequence[Tensor],
        recorder: Recorder,
        *,
        always: bool,
    ) -> None:
        self._work, self._recorder, self._always = work, recorder, always
        self._parameters, self._buffers = list(parameters), list(buffers)
        self._plain: list[float] = []
        self._given: Batch | None = None
        self._gradients: list[Tensor | None] = []
        self._found: tuple[Tensor, Tensor] | None = None
        self.on = True

    @property
    def replays(self) -> bool:
        """Whether steps are replays by now."""
        return self.on and self._found is not None

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute the gradients of a batch; return the loss and the error."""
        if not self.on:
            return self._work(batch)
        if self._found is None:
            if len(self._plain) < WARM_UP:
                return self._timed_plainly(batch)
            self._capture(batch)
        if self._found is None or self._given is None or not _alike(self._given, batch):
            return self._work(batch)
        for name, fixed in self._given.tensors().items():
            fixed.copy_(getattr(batch, name))
        self._recorder.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        loss, error = self._found
        return loss.clone(), error.clone()

    def _timed_plainly(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self._recorder.wait()
        start = time.perf_counter()
        found = self._recorder.run(lambda: self._work(batch))
        self._recorder.wait()
        self._plain.append(time.perf_counter() - start)
        return found

    def _capture(self, batch: Batch) -> None:
        given = replace(batch, **{name: x.clone() for name, x in batch.tensors().items()})
        for parameter in self._parameters:
            parameter.grad = None
        try:
            found = self._recorder.record(lambda: self._work(given))
        except RuntimeError as error:
            reason = str(error).splitlines()[0][:120]
            if self._always:
                raise TrainingError(
                    f"training.graph: the step cannot be captured ({reason}); set it to false"
                ) from error
            _log.warning("irae: the training step is not captured as a CUDA graph (%s)", reason)
            self.on = False
            return
        gradients = [parameter.grad for parameter in self._parameters]
        self._given, self._gradients, self._found = given, gradients, found
        if not self._always and self._replayed() > _FASTER * min(self._plain):
            self.on, self._given, self._gradients, self._found = False, None, [], None
            for parameter in self._parameters:
                parameter.grad = None
            self._recorder.forget()

    def _replayed(self) -> float:
        """Measure the seconds of a replay, which must not count as a step."""
        times, before = [], [buffer.clone() for buffer in self._buffers]
        for _ in range(WARM_UP):
            self._recorder.wait()
            start = time.perf_counter()
            self._recorder.replay()
            self._recorder.wait()
            times.append(time.perf_counter() - start)
        for buffer, kept in zip(self._buffers, before, strict=True):
            buffer.copy_(kept)
        return min(times)


def _alike(first: Batch, second: Batch) -> bool:
    a, b = first.tensors(), second.tensors()
    return {name: (x.shape, x.dtype) for name, x in a.items()} == {
        name: (x.shape, x.dtype) for name, x in b.items()
    }
