"""The memory that activations of a training step take, which decides if they are recomputed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from irae.runtime import device_memory

# Share of the device's memory; the rest is for weights, pictures, workspaces and other programs.
SHARE = 0.5


def activation_bytes(network: nn.Module, x: Tensor, condition: Tensor | None) -> int:
    """Measure the bytes that autograd keeps for the backward pass of ``network(x, condition)``.

    Every storage that autograd saves is counted once; weights are not counted.
    """
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # Kept alive, since the address of a freed storage could be reused.

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


def activation_room(device: torch.device) -> float:
    """Return the bytes of a device's memory that activations may take."""
    return SHARE * device_memory(device)
