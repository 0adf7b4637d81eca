"""Whether the activations of a training step fit the device, or are better recomputed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from irae.runtime import device_memory

# Of the device's memory; the rest is for weights, the pictures, workspaces and other programs.
SHARE = 0.5


def activation_bytes(network: nn.Module, x: Tensor, condition: Tensor | None) -> int:
    """Bytes that plain autograd keeps for the backward pass of ``network(x, condition)``.

    Counted from what autograd saves, each storage once; weights are not counted.
    """
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # A storage that was freed could come back at the same address.

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor.detach())
        return tensor

    def unchanged(tensor: Any) -> Any:
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, unchanged):
        network(x, condition)
    return sum(kept.values())


def fits(network: nn.Module, x: Tensor, condition: Tensor | None, batch: int) -> bool:
    """Whether a plain training step on ``batch`` samples like the one of ``x`` fits its device.

    Args:
        network: in the precision it is trained in, not yet reversible.
        x: one sample, ``1 C H W``.
        condition: of that sample.
        batch: samples of a step in this process.
    """
    return batch * activation_bytes(network, x, condition) <= SHARE * device_memory(x.device)
