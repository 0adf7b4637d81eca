"""One optimisation step: the loss, the gradient of the whole batch, and a guarded update."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from irae.config import TrainingSection
from irae.flow.solving import solved_together
from irae.flow.subnets import CouplingNetwork
from irae.models.call import condition_for, repeat_for_channels, to_network_channels
from irae.runtime import compiler_faults, is_out_of_memory, use_full_float32
from irae.tasks.base import Batch
from irae.training.distributed import Ranks, StepMemoryError
from irae.training.efficiency.cast_weights import weights_converted
from irae.training.efficiency.step_graph import CudaRecorder, StepGraph
from irae.training.muon import Muon
from irae.training.objectives.base import Objective


def learning_rate(step: int, section: TrainingSection) -> float:
    """Return the learning rate of a step (from 0): a linear warm-up, then the schedule.

    It depends on the step alone, so a resumed run needs no state for it.
    """
    if step < section.warmup:
        return section.learning_rate * (step + 1) / section.warmup
    if section.schedule == "step":
        return section.learning_rate * section.gamma ** (step // section.step_every)
    progress = (step - section.warmup) / max(1, section.steps - section.warmup)
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    span = section.learning_rate - section.final_learning_rate
    return section.final_learning_rate + span * cosine


def network_inputs(network: nn.Module, batch: Batch) -> tuple[Tensor, Tensor | None]:
    """Return ``x`` and ``condition`` of a batch, the arguments of the network."""
    condition = condition_for(
        network,
        mask=batch.mask,
        sigma=batch.sigma,
        filled=batch.degraded,
        damage=batch.codes,
    )
    if condition is not None:
        condition = repeat_for_channels(network, condition, batch.degraded.shape[1])
    return to_network_channels(network, batch.degraded), condition


class TrainStep:
    """The optimiser of a network, with the guards of a step.

    Nothing in a step waits for the device. From the first step whose loss or gradient is not
    finite, no step changes a weight. `first_bad_step` reports it, and the weights are then still
    those with which that step was computed.

    Args:
        network: the network to train, on its device.
        section: the section ``training``, with ``precision`` and ``reversible`` resolved.
        ranks: the processes that share each batch.
        objective: what is optimised; it computes the loss.
        graph: run forward and backward pass as a CUDA graph; ``auto`` where it is faster.
    """

    def __init__(
        self,
        network: nn.Module,
        section: TrainingSection,
        ranks: Ranks,
        objective: Objective,
        *,
        graph: bool | Literal["auto"] = False,
    ) -> None:
        self.network, self._section, self._ranks = network, section, ranks
        self._objective = objective
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._device = self._parameters[0].device
        use_full_float32()
        options: dict[str, Any] = {
            "lr": section.learning_rate,
            "betas": section.betas,
            "weight_decay": section.weight_decay,
        }
        self.optimizer: Optimizer = (
            Muon(network, **options, bias_pace=section.bias_pace)
            if section.optimizer == "muon"
            else AdamW(self._parameters, **options, fused=True)
        )
        # Number of the first step that was not finite; 0 if there is none.
        self._bad_step = torch.zeros((), device=self._device)
        self._forward: Callable[..., Tensor] = network
        self._compute: Callable[[Batch], tuple[Tensor, Tensor]] = self._gradients
        if graph:
            self._compute = StepGraph(
                self._gradients,
                self._parameters,
                list(network.buffers()),
                CudaRecorder(self._device),
                always=graph is True,
            )
        if section.compile:
            self._compile(reversible=section.reversible is True)

    def _compile(self, *, reversible: bool) -> None:
        if not reversible:
            # The network itself stays, because compilation would change the names in its state.
            self._forward = torch.compile(self.network)
            return
        # The recomputing backward pass cannot be traced, but the couplings' subnets can.
        for part in self.network.modules():
            if isinstance(part, CouplingNetwork):
                part.compile()

    @property
    def captured(self) -> bool:
        """Whether steps are replays of a CUDA graph."""
        return isinstance(self._compute, StepGraph) and self._compute.replays

    def step(self, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        """Make one update from this process's rows of a batch.

        Args:
            batch: this process's rows.
            number: number of the step, from 1.

        Returns:
            The loss and the mean squared error of the whole batch before the update, two scalars
            on the device.

        Raises:
            StepMemoryError: the step does not fit the device's memory.
        """
        try:
            return self._step(batch, number)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, because its traceback holds the activations of the step.
        raise StepMemoryError(
            f"step {number} does not fit the memory of {self._device}; lower training.batch "
            f"({self._section.batch_size}) or data.patch, or set training.reversible=true"
        )

    def _step(self, batch: Batch, number: int) -> tuple[Tensor, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(number - 1, self._section) * group.get("pace", 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        loss, error = self._compute(batch)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        self._ranks.sum([*gradients, loss, error])
        norm = nn.utils.get_total_norm(gradients)
        good = torch.isfinite(norm) & torch.isfinite(loss)
        self._bad_step = torch.where((self._bad_step == 0) & ~good, float(number), self._bad_step)
        nn.utils.clip_grads_with_norm_(self._parameters, self._section.clip_norm, norm)
        # Fused optimisers skip a step on the device if this is set; it is made for loss scaling.
        self.optimizer.found_inf = (self._bad_step > 0).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        return loss, error

    def _gradients(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute this process's gradients; return its share of the loss and of the error."""
        with ExitStack() as stack:
            if not self._section.compile:  # A compiled network takes its own weights alone.
                stack.enter_context(weights_converted(self.network, self._section.precision))
                stack.enter_context(solved_together(self.network))
            loss, error = self.loss(batch)
            torch.autograd.backward(loss)
        return loss.detach(), error

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return this process's share of the batch's loss and mean squared error (no gradient).

        Their sums over the processes are those of the whole batch.
        """
        with compiler_faults("set training.compile=false"):
            return self._objective.loss(
                self.network, self._forward, batch, self._section, self._ranks
            )

    def first_bad_step(self) -> int | None:
        """Return the first step, from 1, whose loss or gradient was not finite, or None.

        Waits for the device.
        """
        return int(self._bad_step) or None
