"""Couplings: half of the channels change the other half."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.flow.bijection import Bijection, zeros_per_sample
from irae.flow.subnets import CouplingNetwork


class _Coupling(Bijection):
    """Base class: a subnet that takes the unchanged half and the condition, if there is one."""

    def __init__(self, network: CouplingNetwork) -> None:
        super().__init__()
        self.network = network

    def _run_network(self, half: Tensor, condition: Tensor | None) -> Tensor:
        given = half if condition is None else torch.cat([half, condition.to(half.dtype)], 1)
        output: Tensor = self.network(given)
        return output


class AdditiveCoupling(_Coupling):
    """``z = (x_a + t(x_b), x_b)``: the second half conditions the first (Dinh et al. 2015)."""

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([a + self._run_network(b, condition), b], 1)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        a, b = z.chunk(2, 1)
        return torch.cat([a - self._run_network(b, condition), b], 1)

    def rebuild(
        self, output: Tensor, condition: Tensor | None = None, *, inverse: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        mapped, b = output.detach().chunk(2, 1)
        b.requires_grad_()
        with torch.enable_grad():
            shift = self._run_network(b, condition)
            if inverse:
                a = (mapped + shift.detach()).requires_grad_()
                return (a, b), (a - shift, b)
            a = (mapped - shift.detach()).requires_grad_()
            return (a, b), (a + shift, b)

    def rebuild_with_log_det(
        self, output: Tensor, condition: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        return *self.rebuild(output, condition), zeros_per_sample(output)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self(x, condition), zeros_per_sample(x)


class AffineCoupling(_Coupling):
    """``z = (s * x_a + t, x_b)`` with s and t from ``x_b`` (Dinh et al. 2017).

    Even output channels of the network are the shift t, odd ones r with ``s = sigmoid(r + 2)``,
    as in the published code.
    """

    def _scale(self, raw: Tensor) -> Tensor:
        return torch.sigmoid(raw + 2.0)

    def _log_scale(self, raw: Tensor) -> Tensor:
        return F.logsigmoid(raw + 2.0)

    def _outputs(self, half: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the raw scale and the shift."""
        h = self._run_network(half, condition)
        return h[:, 1::2], h[:, 0::2]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        a, b = x.chunk(2, 1)
        raw, shift = self._outputs(b, condition)
        return torch.cat([self._scale(raw) * a + shift, b], 1)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        a, b = z.chunk(2, 1)
        raw, shift = self._outputs(b, condition)
        return torch.cat([(a - shift) / self._scale(raw), b], 1)

    def rebuild(
        self, output: Tensor, condition: Tensor | None = None, *, inverse: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        mapped, b = output.detach().chunk(2, 1)
        b.requires_grad_()
        with torch.enable_grad():
            raw, shift = self._outputs(b, condition)
            scale = self._scale(raw)
            if inverse:
                a = (scale.detach() * mapped + shift.detach()).requires_grad_()
                return (a, b), ((a - shift) / scale, b)
            a = ((mapped - shift.detach()) / scale.detach()).requires_grad_()
            return (a, b), (scale * a + shift, b)

    def rebuild_with_log_det(
        self, output: Tensor, condition: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        mapped, b = output.detach().chunk(2, 1)
        b.requires_grad_()
        with torch.enable_grad():
            raw, shift = self._outputs(b, condition)
            scale = self._scale(raw)
            a = ((mapped - shift.detach()) / scale.detach()).requires_grad_()
            return (a, b), (scale * a + shift, b), self._log_scale(raw).flatten(1).sum(1)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        raw, shift = self._outputs(b, condition)
        z = torch.cat([self._scale(raw) * a + shift, b], 1)
        return z, self._log_scale(raw).flatten(1).sum(1)


class BoundedCoupling(AffineCoupling):
    """An affine coupling with ``s = exp(bound * tanh(r / bound))``.

    With a zero-initialised subnet s = 1, so the coupling starts as the identity. Unlike an
    additive coupling it can contract noise, by an amount that depends on the pixel. No step
    contracts or expands by more than ``exp(bound)``, so the inverse is accurate in float32.
    """

    def __init__(self, network: CouplingNetwork, bound: float = 0.3) -> None:
        super().__init__(network)
        if not bound > 0:
            raise ValueError(f"bound {bound} must be positive")
        self.bound = bound

    def _log_scale(self, raw: Tensor) -> Tensor:
        return self.bound * torch.tanh(raw / self.bound)

    def _scale(self, raw: Tensor) -> Tensor:
        return self._log_scale(raw).exp()


CouplingKind = Literal["additive", "affine", "bounded"]


def build_coupling(
    kind: CouplingKind, network: Callable[[int], CouplingNetwork], half: int, bound: float
) -> AdditiveCoupling | AffineCoupling:
    """Build a coupling of 2 ``half`` channels.

    Args:
        kind: ``additive``, ``affine`` or ``bounded``.
        network: builds the subnet for a number of output channels.
        half: number of changed channels, and of unchanged ones.
        bound: bound on the log scale of a bounded coupling.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind == "additive":
        return AdditiveCoupling(network(half))
    if kind == "affine":
        return AffineCoupling(network(2 * half))
    if kind == "bounded":
        return BoundedCoupling(network(2 * half), bound)
    raise ValueError(f"coupling {kind!r} is not additive, affine or bounded")
