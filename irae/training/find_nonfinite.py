"""Diagnosis of a failed step: the layer or parameter that first became non-finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from irae.models.density import Density
from irae.tasks.base import Batch
from irae.training.step import TrainStep, network_inputs


def diagnose(train_step: TrainStep, batch: Batch) -> str | None:
    """Describe what is not finite in a step, and the layer where it began; None if all is finite.

    The step is repeated on this process's rows of a batch, without compilation. Its gradients stay.
    """
    network = train_step.network
    with torch.compiler.set_stance("force_eager"):
        train_step.optimizer.zero_grad(set_to_none=True)
        loss, _ = train_step.loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            x, condition = network_inputs(network, batch)
            # A density's own forward pass takes log-determinants, and calls no layer but subnets.
            network = network.flow if isinstance(network, Density) else network
            return f"the loss is {value}, first in {first_bad_layer(network, x, condition)}"
        torch.autograd.backward(loss)
        norm = float(
            nn.utils.get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
        )
        if not math.isfinite(norm):
            return f"the gradient is {norm}, first in {first_bad_gradient(network)}"
    return None


def first_bad_layer(network: nn.Module, x: Tensor, condition: Tensor | None) -> str:
    """Name the first layer whose output is not finite for an input ``B C H W``."""
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(output, Tensor) and not torch.isfinite(output).all():
                found.append(name)

        return hook

    handles = [m.register_forward_hook(watch(n)) for n, m in network.named_modules() if n]
    with torch.no_grad():
        network(x, condition)
    for handle in handles:
        handle.remove()
    bad = [name for name, p in network.named_parameters() if not torch.isfinite(p).all()]
    return found[0] if found else (bad[0] if bad else "the loss itself")


def first_bad_gradient(network: nn.Module) -> str:
    """Name the first parameter whose gradient is not finite."""
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return name
    return "the sum over all layers"
