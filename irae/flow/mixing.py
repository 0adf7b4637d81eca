"""Invertible 1×1 convolutions."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.bijection import Bijection, zeros_per_sample


def cayley(free: Sequence[Tensor]) -> Tensor:
    """Return the Cayley transforms of N free matrices ``C C``, orthogonal: ``N C C``.

    They are computed in float64, if the device has it, and rounded once when applied: a matrix and
    its inverse then match several times better than if both were computed in float32.
    """
    stacked = torch.stack(list(free))
    stacked = stacked if stacked.device.type == "mps" else stacked.double()
    skew = stacked - stacked.mT
    identity = torch.eye(skew.shape[1], dtype=skew.dtype, device=skew.device)
    # `solve` would wait for the device, to see whether the matrices are singular; identity plus
    # skew-symmetric never is.
    rotations: Tensor = torch.linalg.solve_ex(identity + skew, identity - skew).result
    return rotations


def _apply(matrix: Tensor, x: Tensor) -> Tensor:
    return F.conv2d(x, matrix.to(x.dtype)[:, :, None, None])


class Mixing(Bijection):
    """Base class of invertible 1×1 convolutions: a square matrix applied to the channels."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """Return the matrix ``C C`` that ``forward`` applies."""

    def inverse_matrix(self) -> Tensor:
        """Return the inverse matrix, differentiable."""
        return self.matrices()[1]

    def matrices(self) -> tuple[Tensor, Tensor]:
        """Return the matrix and its inverse, computed together."""
        matrix = self.matrix()
        # `inv` would wait for the device, to raise an error if the matrix is singular. The result
        # is not finite then, which a training step and a restored picture are checked for.
        inverse: Tensor = torch.linalg.inv_ex(matrix).inverse
        return matrix, inverse

    def log_abs_det(self) -> Tensor:
        """Return log abs det of the matrix, a scalar."""
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
    """An unconstrained matrix, QR-initialised (Kingma and Dhariwal 2018, section 3.2)."""

    known_inverse: nn.Parameter | None

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels)).Q)
        # Where `irae.flow.solving` has computed it.
        self.register_parameter("known_inverse", None)

    def matrix(self) -> Tensor:
        return self.weight

    def matrices(self) -> tuple[Tensor, Tensor]:
        known = self.known_inverse
        return super().matrices() if known is None else (self.weight, known)


class LUMixing(Mixing):
    """A 1×1 convolution as ``P L (U + diag(s))`` (Kingma and Dhariwal 2018, section 3.2).

    P is a fixed permutation, L and U are triangular, and the signs of s are fixed, so that the
    log-determinant is the sum of log abs s. It starts as a random rotation.
    """

    permutation: Tensor
    signs: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("signs", diagonal.sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())

    def _factors(self) -> tuple[Tensor, Tensor]:
        identity = torch.eye(len(self.signs), dtype=self.lower.dtype, device=self.lower.device)
        diagonal = torch.diag(self.signs * self.log_diagonal.exp())
        return self.lower.tril(-1) + identity, self.upper.triu(1) + diagonal

    def matrix(self) -> Tensor:
        lower, upper = self._factors()
        return self.permutation @ lower @ upper

    def log_abs_det(self) -> Tensor:
        return self.log_diagonal.sum()


class BoundedMixing(Mixing):
    """A 1×1 convolution whose condition number is at most ``exp(2 * bound)``.

    ``W = U diag(exp(bound * tanh(s / bound))) V Q`` with U and V orthogonal (Cayley transforms of
    free skew-symmetric matrices) and Q a fixed random rotation, itself a Cayley transform so that
    it is orthogonal to the last bit in any precision. The inverse is a product of transposes, so
    no ill-conditioned system is solved.

    A trained float32 flow loses its inverse not by one bad matrix but by the product of many: a
    denoiser contracts noise a little in every step, and the inverse amplifies rounding errors by
    as much. So the bound is small: over 32 steps the default allows a factor of exp(6.4), about
    600, which is more than denoising needs and keeps the round trip below half a grey level.
    """

    fixed: Tensor
    rotations: nn.Parameter | None
    # Ratio of the change of the log singular values to the change of `log_scale`.
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
        # U, V and Q, where `irae.flow.solving` has made them.
        self.register_parameter("rotations", None)

    def free_matrices(self) -> list[Tensor]:
        """Return the matrices ``C C`` from which U, V and Q are made."""
        return [self.left, self.right, self.fixed]

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
        known = self.rotations
        left, right, fixed = cayley(self.free_matrices()) if known is None else known
        return left, right, fixed

    def _product(self, left: Tensor, right: Tensor, fixed: Tensor) -> Tensor:
        return left @ (self._log_singular_values().exp()[:, None] * right) @ fixed

    def _inverse_product(self, left: Tensor, right: Tensor, fixed: Tensor) -> Tensor:
        return fixed.T @ right.T @ ((-self._log_singular_values()).exp()[:, None] * left.T)

    def log_abs_det(self) -> Tensor:
        return self._log_singular_values().sum()


class Shrinking(BoundedMixing):
    """A contraction: a bounded 1×1 convolution with a wide bound, used once in a flow.

    A denoiser has to contract the noise that it has separated. If every step contracts a little,
    the inverse amplifies rounding errors in every step. This layer contracts once, by singular
    values down to ``exp(-bound)``, so that the others need not. It starts as the identity.
    """

    # An optimiser with equally small updates of every number must reach the bound in some hundreds
    # of steps.
    pace = 10.0

    def __init__(self, channels: int, bound: float) -> None:
        super().__init__(channels, bound)
        self.fixed.zero_()


class Permutation(Bijection):
    """A fixed order of the channels: output channel i is input channel ``order[i]``."""

    order: Tensor

    def __init__(self, order: Sequence[int]) -> None:
        super().__init__()
        if sorted(order) != list(range(len(order))):
            raise ValueError(f"{list(order)} is no permutation of 0 to {len(order) - 1}")
        self.register_buffer("order", torch.tensor(list(order)), persistent=False)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return x.index_select(1, self.order)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return z.index_select(1, self.order.argsort())

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self(x), zeros_per_sample(x)


MIXINGS: dict[str, Callable[..., Mixing]] = {
    "dense": InvertibleConv1x1,
    "lu": LUMixing,
    "bounded": BoundedMixing,
}


def build_mixing(kind: str, channels: int, **options: Any) -> Mixing:
    """Build the 1×1 convolution called ``kind`` in `MIXINGS`."""
    return MIXINGS[kind](channels, **options)
