"""Per-channel affine normalisation, initialised from data (Kingma and Dhariwal 2018, 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from irae.flow.bijection import Bijection


class ActNorm(Bijection):
    """``z = (x - bias) / scale``, one scale and bias per channel.

    It starts as the identity; `initialise_actnorm` sets both from a batch. This is an explicit
    call and never a side effect of ``forward``: a decoder, which only runs backward, must not
    depend on the first batch that happens to run forward through it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return (x - self.bias.to(x.dtype)) / self.scale.to(x.dtype)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return z * self.scale.to(z.dtype) + self.bias.to(z.dtype)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        log_det = -self.scale.abs().log().sum() * (x.shape[2] * x.shape[3])
        return self(x), log_det.expand(x.shape[0])

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Set scale and bias so that ``forward(x)`` has mean 0 and std 1 per channel."""
        self.bias.copy_(x.mean(dim=(0, 2, 3), keepdim=True))
        self.scale.copy_(x.std(dim=(0, 2, 3), keepdim=True, correction=0) + 1e-6)


@torch.no_grad()
def initialise_actnorm(flow: nn.Module, x: Tensor, condition: Tensor | None = None) -> None:
    """Initialise every ActNorm in ``flow`` from the batch ``x``, in the order of execution.

    Args:
        flow: a bijection or a `Glow`, which is run forward once.
        x: ``B C H W``, a batch like those of training.
        condition: the condition of the flow, if it takes one.
    """

    def before(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(module, ActNorm):
            module.initialise(inputs[0])

    handles = [
        m.register_forward_pre_hook(before) for m in flow.modules() if isinstance(m, ActNorm)
    ]
    try:
        flow(x, condition)
    finally:
        for handle in handles:
            handle.remove()
