"""Where a run went wrong: the layer or parameter whose numbers are not finite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def first_bad_layer(network: nn.Module, x: Tensor, condition: Tensor | None) -> str:
    """Name of the layer whose output is the first not to be finite, for an input ``B C H W``."""
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
    """Name of the first parameter whose gradient is not finite."""
    for name, parameter in network.named_parameters():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            return name
    return "the sum over all layers"
