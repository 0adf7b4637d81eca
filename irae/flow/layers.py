"""Invertible layers: squeezes, channel mixing, couplings."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.bijection import Bijection
from irae.flow.networks import CouplingNetwork


def _zeros_per_sample(x: Tensor) -> Tensor:
    return torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)


class Squeeze(Bijection):
    """Space to depth: ``B C H W`` to ``B 4C H/2 W/2`` (Dinh et al. 2017, section 3.6).

    H and W must be even. Channel order is that of ``pixel_unshuffle``.
    """

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return F.pixel_unshuffle(x, 2)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return F.pixel_shuffle(z, 2)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self(x), _zeros_per_sample(x)

    def squeeze_condition(self, condition: Tensor | None) -> Tensor | None:
        # Averaged rather than unshuffled: a mask stays one channel at every level (the share of
        # hole pixels), and the networks do not grow with the fourth power of the level.
        return None if condition is None else F.avg_pool2d(condition, 2)


class HaarSqueeze(Squeeze):
    """Space to depth in the orthonormal Haar basis: average, and three differences.

    Volume-preserving and its own transpose's inverse, so it costs no precision. Output channels
    are ordered by input channel, then (LL, LH, HL, HH).
    """

    haar: Tensor

    def __init__(self) -> None:
        super().__init__()
        rows = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
        self.register_buffer("haar", torch.tensor(rows) / 2.0, persistent=False)

    def _mix(self, x: Tensor) -> Tensor:
        # The 4×4 Haar matrix is symmetric and orthogonal: the same product goes both ways.
        channels = x.shape[1] // 4
        weight = torch.kron(
            torch.eye(channels, dtype=x.dtype, device=x.device), self.haar.to(x.dtype)
        )
        return F.conv2d(x, weight[:, :, None, None])

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._mix(F.pixel_unshuffle(x, 2))

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return F.pixel_shuffle(self._mix(z), 2)


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


class AdditiveCoupling(Bijection):
    """``z = (x_a + t(x_b), x_b)``: the second half conditions the first (Dinh et al. 2015)."""

    def __init__(self, network: CouplingNetwork) -> None:
        super().__init__()
        self.network = network

    def _shift(self, half: Tensor, condition: Tensor | None) -> Tensor:
        given = half if condition is None else torch.cat([half, condition.to(half.dtype)], 1)
        shift: Tensor = self.network(given)
        return shift

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        a, b = x.chunk(2, 1)
        return torch.cat([a + self._shift(b, condition), b], 1)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        a, b = z.chunk(2, 1)
        return torch.cat([a - self._shift(b, condition), b], 1)

    def rebuild(
        self, output: Tensor, condition: Tensor | None = None, *, inverse: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        mapped, b = output.detach().chunk(2, 1)
        b.requires_grad_()
        with torch.enable_grad():
            shift = self._shift(b, condition)
            if inverse:
                a = (mapped + shift.detach()).requires_grad_()
                return (a, b), (a - shift, b)
            a = (mapped - shift.detach()).requires_grad_()
            return (a, b), (a + shift, b)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self(x, condition), _zeros_per_sample(x)


class AffineCoupling(Bijection):
    """``z = (s * x_a + t, x_b)`` with s and t from ``x_b`` (Dinh et al. 2017).

    Even output channels of the network are the shift t, odd ones r with ``s = sigmoid(r + 2)``,
    as in the published code.
    """

    def __init__(self, network: CouplingNetwork) -> None:
        super().__init__()
        self.network = network

    def _scale(self, raw: Tensor) -> Tensor:
        return torch.sigmoid(raw + 2.0)

    def _log_scale(self, raw: Tensor) -> Tensor:
        return F.logsigmoid(raw + 2.0)

    def _outputs(self, half: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the scale is made from, and the shift."""
        given = half if condition is None else torch.cat([half, condition.to(half.dtype)], 1)
        h = self.network(given)
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

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        raw, shift = self._outputs(b, condition)
        z = torch.cat([self._scale(raw) * a + shift, b], 1)
        return z, self._log_scale(raw).flatten(1).sum(1)


class BoundedCoupling(AffineCoupling):
    """An affine coupling with ``s = exp(bound * tanh(r / bound))``.

    A zero-initialised network gives s = 1: the coupling starts as the identity. What an additive
    coupling cannot, it can: shrink what it takes for noise by an amount that depends on the place.
    No step can shrink or stretch by more than ``exp(bound)``, so float32 finds the way back.
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


SQUEEZES: dict[str, type[Squeeze]] = {"pixel": Squeeze, "haar": HaarSqueeze}


MIXINGS: dict[str, Callable[..., Mixing]] = {"dense": InvertibleConv1x1, "bounded": BoundedMixing}


def build_mixing(kind: str, channels: int, **options: Any) -> Mixing:
    """The 1×1 convolution of a name of `MIXINGS` for this many channels."""
    return MIXINGS[kind](channels, **options)


CouplingKind = Literal["additive", "affine", "bounded"]


def build_coupling(
    kind: CouplingKind, network: Callable[[int], CouplingNetwork], half: int, bound: float
) -> AdditiveCoupling | AffineCoupling:
    """A coupling of 2 ``half`` channels.

    Args:
        kind: ``additive``, ``affine`` or ``bounded``.
        network: makes the coupling's network with a number of output channels.
        half: channels that are changed, and as many that condition.
        bound: of a bounded coupling.

    Raises:
        ValueError: another kind.
    """
    if kind == "additive":
        return AdditiveCoupling(network(half))
    if kind == "affine":
        return AffineCoupling(network(2 * half))
    if kind == "bounded":
        return BoundedCoupling(network(2 * half), bound)
    raise ValueError(f"coupling {kind!r} is not additive, affine or bounded")
