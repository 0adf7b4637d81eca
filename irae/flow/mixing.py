"""Invertible 1×1 convolutions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.bijection import Bijection


def _apply(matrix: Tensor, x: Tensor) -> Tensor:
    return F.conv2d(x, matrix.to(x.dtype)[:, :, None, None])


class Mixing(Bijection):
    """Base of the invertible 1×1 convolutions: a square matrix applied to the channels."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """The matrix ``C C`` that ``forward`` applies."""

    def inverse_matrix(self) -> Tensor:
        """Its inverse, differentiable."""
        return self.matrices()[1]

    def matrices(self) -> tuple[Tensor, Tensor]:
        """The matrix and its inverse, sharing what both need."""
        matrix = self.matrix()
        return matrix, torch.linalg.inv(matrix)

    def log_abs_det(self) -> Tensor:
        """log abs det of the matrix, a scalar."""
        log_det: Tensor = torch.linalg.slogdet(self.matrix()).logabsdet
        return log_det

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return _apply(self.matrix(), x)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return _apply(self.inverse_matrix(), z)

    def rebuild(
        self, output: Tensor, condition: Tensor | None = None, *, inverse: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        with torch.enable_grad():
            there, back = reversed(self.matrices()) if inverse else self.matrices()
            given = _apply(back.detach(), output).requires_grad_()
            return (given,), (_apply(there, given),)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        log_det = self.log_abs_det() * (x.shape[2] * x.shape[3])
        return self(x), log_det.expand(x.shape[0])


class InvertibleConv1x1(Mixing):
    """A free dense matrix, QR-initialised (Kingma and Dhariwal 2018, section 3.2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels)).Q)

    def matrix(self) -> Tensor:
        return self.weight


class BoundedMixing(Mixing):
    """A matrix whose condition number cannot pass ``exp(2 * bound)``.

    ``W = U diag(exp(bound * tanh(s / bound))) V Q`` with U and V orthogonal (Cayley transforms of
    free skew matrices) and Q a fixed random rotation, itself a Cayley transform so that it is
    orthogonal to the last bit of whatever precision the layer is run in. The inverse is a product
    of transposes: no ill-conditioned system is solved.

    What makes a trained float32 flow irreversible is not one bad matrix but the product of many:
    a denoiser shrinks noise a little in every step, and the way back expands rounding errors by
    as much. So the bound is small: over 32 steps the default allows a factor of exp(6.4), about
    600, which is more than removing noise takes and keeps the round trip below half a grey level.
    """

    fixed: Tensor
    # How much faster than `log_scale` the logs of the singular values change.
    pace = 1.0

    def __init__(self, channels: int, bound: float = 0.2) -> None:
        super().__init__()
        if not bound > 0:
            raise ValueError(f"bound {bound} must be positive")
        self.bound = bound
        self.left = nn.Parameter(torch.zeros(channels, channels))
        self.right = nn.Parameter(torch.zeros(channels, channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("fixed", torch.randn(channels, channels) / 2)

    def _orthogonal(self, free: Tensor) -> Tensor:
        # In float64 (where the device has it) and rounded once when applied: the matrix and its
        # inverse then fit each other several times better than if both were made in float32.
        free = free if free.device.type == "mps" else free.double()
        skew = free - free.T
        identity = torch.eye(free.shape[0], dtype=free.dtype, device=free.device)
        rotation: Tensor = torch.linalg.solve(identity + skew, identity - skew)
        return rotation

    def _log_singular_values(self) -> Tensor:
        return self.bound * torch.tanh(self.pace * self.log_scale / self.bound)

    def matrix(self) -> Tensor:
        return self._product(*self._rotations())

    def inverse_matrix(self) -> Tensor:
        return self._inverse_product(*self._rotations())

    def matrices(self) -> tuple[Tensor, Tensor]:
        rotations = self._rotations()
        return self._product(*rotations), self._inverse_product(*rotations)

    def _rotations(self) -> tuple[Tensor, Tensor, Tensor]:
        left, right = self._orthogonal(self.left), self._orthogonal(self.right)
        return left, right, self._orthogonal(self.fixed)

    def _product(self, left: Tensor, right: Tensor, fixed: Tensor) -> Tensor:
        return left @ (self._log_singular_values().exp()[:, None] * right) @ fixed

    def _inverse_product(self, left: Tensor, right: Tensor, fixed: Tensor) -> Tensor:
        return fixed.T @ right.T @ ((-self._log_singular_values()).exp()[:, None] * left.T)

    def log_abs_det(self) -> Tensor:
        return self._log_singular_values().sum()


class Shrinking(BoundedMixing):
    """A bounded mixing that starts as the identity and may shrink a lot, in one place of a flow.

    What a denoiser has told apart as noise has to be made small somewhere. Where every step does a
    little of it, the way back expands rounding errors as often; here it is done once, by singular
    values down to ``exp(-bound)``, and the other mixings need not.
    """

    # An optimiser that moves every number by the same small amounts shall get to the bound in some
    # hundreds of steps.
    pace = 10.0

    def __init__(self, channels: int, bound: float) -> None:
        super().__init__(channels, bound)
        self.fixed.zero_()


MIXINGS: dict[str, Callable[..., Mixing]] = {"dense": InvertibleConv1x1, "bounded": BoundedMixing}


def build_mixing(kind: str, channels: int, **options: Any) -> Mixing:
    """The 1×1 convolution of a name of `MIXINGS` for this many channels."""
    return MIXINGS[kind](channels, **options)
