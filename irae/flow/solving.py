"""The linear systems of all invertible 1×1 convolutions of a network, solved in a few batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from irae.flow.mixing import BoundedMixing, InvertibleConv1x1, cayley


@contextmanager
def solved_together(network: nn.Module) -> Iterator[None]:
    """Let a network's 1×1 convolutions use rotations and inverses that are computed together.

    Each of them otherwise solves a small system in every pass; here there is one batch of systems
    for each number of channels. Weights must not change in the context. Gradients reach them if the
    backward pass runs in the context too, as a recomputing one must.
    """
    bounded: dict[torch.Size, list[BoundedMixing]] = {}
    dense: dict[torch.Size, list[InvertibleConv1x1]] = {}
    for layer in network.modules():
        if isinstance(layer, BoundedMixing):
            bounded.setdefault(layer.left.shape, []).append(layer)
        elif isinstance(layer, InvertibleConv1x1):
            dense.setdefault(layer.weight.shape, []).append(layer)
    own: list[tuple[nn.Module, str, nn.Parameter | None]] = []

    def replace(layer: nn.Module, name: str, tensor: Tensor | None) -> None:
        own.append((layer, name, layer._parameters[name]))
        # A parameter that is computed, so that a recomputing backward pass differentiates it.
        layer._parameters[name] = tensor  # type: ignore[assignment]

    try:
        for alike in bounded.values():
            free = [matrix for layer in alike for matrix in layer.free_matrices()]
            rotations = cayley(free).chunk(len(alike))
            for layer, found in zip(alike, rotations, strict=True):
                replace(layer, "rotations", found)
                # Else that pass would go on from the rotations to these, in every layer anew.
                replace(layer, "left", None)
                replace(layer, "right", None)
        for same in dense.values():
            inverses = torch.linalg.inv_ex(torch.stack([layer.weight for layer in same])).inverse
            for layer, found in zip(same, inverses.unbind(), strict=True):
                replace(layer, "known_inverse", found)
                replace(layer, "weight", layer.weight.view_as(layer.weight))
        yield
    finally:
        for layer, name, tensor in reversed(own):
            layer._parameters[name] = tensor
