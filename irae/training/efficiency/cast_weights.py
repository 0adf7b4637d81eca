"""One conversion of all weights per step, instead of one for each layer and its gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from irae.flow.subnets import CouplingNetwork

_CONVERTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


class _ConvertedTogether(torch.autograd.Function):
    """Tensors in another type: one operation for all of them, and one for all their gradients."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtypes = [weight.dtype for weight in weights]
        converted = [torch.empty_like(weight, dtype=dtype) for weight in weights]
        torch._foreach_copy_(converted, list(weights))
        return tuple(converted)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        found: list[Tensor | None] = [
            None if grad is None else torch.empty_like(grad, dtype=dtype)
            for grad, dtype in zip(grads, ctx.dtypes, strict=True)
        ]
        torch._foreach_copy_(
            [x for x in found if x is not None], [x for x in grads if x is not None]
        )
        return (None, *found)


def _places(network: nn.Module, precision: str) -> dict[torch.dtype, list[tuple[nn.Module, str]]]:
    """Return the modules' weights that the network converts, by the type that it converts to."""
    if precision != "bf16":
        return {}
    parts: list[tuple[nn.Module, torch.dtype | None]] = [
        (part, part.compute_dtype)
        for part in network.modules()
        if isinstance(part, CouplingNetwork)
    ]
    if not parts:
        parts = [(network, torch.bfloat16)]  # It runs under autocast.
    places: dict[torch.dtype, list[tuple[nn.Module, str]]] = {}
    for part, dtype in parts:
        for layer in part.modules():
            for name in ("weight", "bias") if isinstance(layer, _CONVERTED) else ():
                weight = layer._parameters.get(name)
                if dtype is not None and weight is not None and weight.dtype != dtype:
                    places.setdefault(dtype, []).append((layer, name))
    return places


@contextmanager
def weights_converted(network: nn.Module, precision: str) -> Iterator[None]:
    """Let a network compute with weights that are converted together; gradients are the same.

    In the context, the weights and biases of its convolutions and linear layers are copies in the
    type in which it computes. Their gradients reach the weights themselves if the backward pass
    runs in the context too, as a recomputing one must.

    Args:
        network: a network whose layers convert their weights, or that runs under autocast.
        precision: ``training.precision``.
    """
    own: list[tuple[nn.Module, str, nn.Parameter | None]] = []
    try:
        for dtype, places in _places(network, precision).items():
            weights = [layer._parameters[name] for layer, name in places]
            converted = _ConvertedTogether.apply(dtype, *weights)
            for (layer, name), weight, copy in zip(places, weights, converted, strict=True):
                own.append((layer, name, weight))
                layer._parameters[name] = copy
        yield
    finally:
        for layer, name, weight in own:
            layer._parameters[name] = weight
