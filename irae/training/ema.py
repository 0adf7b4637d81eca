"""An exponential moving average of the weights, which is validated, saved and packaged."""

from __future__ import annotations

import copy

import torch
from torch import nn


class EMA:
    """A shadow copy of a network whose weights follow slowly.

    The decay warms up as ``min(decay, (1 + step) / (10 + step))``, so that a short run is not
    dominated by its start.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards ``network`` after optimisation step ``step`` (from 1)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        shadow = [p.data for p in self.network.parameters()]
        torch._foreach_lerp_(shadow, [p.data for p in network.parameters()], weight)
        # Buffers are copied: running statistics are averages already.
        buffers = list(self.network.buffers())
        if buffers:
            torch._foreach_copy_(buffers, list(network.buffers()))
