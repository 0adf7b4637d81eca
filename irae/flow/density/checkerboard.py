"""Affine couplings between the two colours of a checkerboard (Dinh et al. 2017, section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from irae.flow.bijection import Bijection
from irae.flow.subnets import CouplingNetwork


class CheckerboardCoupling(Bijection):
    """``z = s * x + t`` at one half of the pixels, with s and t from the other half.

    The pixels are divided as a checkerboard; those whose row and column add up to an odd number
    change if ``odd``, else the others. ``s = exp(bound * tanh(r / bound))``.

    Args:
        network: maps ``B C H W`` to twice as many channels: shifts, then raw log scales.
        odd: which half of the pixels changes.
        bound: bound on the log scale.
    """

    def __init__(self, network: CouplingNetwork, *, odd: bool, bound: float = 2.0) -> None:
        super().__init__()
        self.network, self.odd, self.bound = network, odd, bound

    def _changed(self, x: Tensor) -> Tensor:
        """Return 1 at the pixels that change and 0 at the others, ``H W``."""
        rows = torch.arange(x.shape[2], device=x.device)[:, None]
        columns = torch.arange(x.shape[3], device=x.device)
        return ((rows + columns) % 2 == int(self.odd)).to(x.dtype)

    def _shift_and_log_scale(self, x: Tensor) -> tuple[Tensor, Tensor]:
        changed = self._changed(x)
        shift, raw = self.network(x * (1 - changed)).chunk(2, 1)
        return shift * changed, self.bound * torch.tanh(raw / self.bound) * changed

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.forward_and_log_det(x)[0]

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        shift, log_scale = self._shift_and_log_scale(z)
        return (z - shift) * (-log_scale).exp()

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        shift, log_scale = self._shift_and_log_scale(x)
        return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)
