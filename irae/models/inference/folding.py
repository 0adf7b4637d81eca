"""Folding the weights of an IRAE for inference: neighbouring linear maps become one.

All layers between two couplings are linear in the channels: ActNorm, the invertible 1×1
convolution and its inverse, the Haar matrix, the shift of the picture by one half. `fold`
multiplies neighbouring ones into one matrix, in float64, and merges the ActNorms of a subnet into
its convolutions. `irae.models.inference.folded` runs the result.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from irae.flow.actnorm import ActNorm
from irae.flow.coupling import AdditiveCoupling, AffineCoupling, BoundedCoupling
from irae.flow.mixing import Mixing
from irae.flow.squeeze import HaarSqueeze, Squeeze
from irae.flow.subnets import ActNormNetwork, PlainNetwork
from irae.models.networks.irae import IRAE

_COUPLINGS = (AdditiveCoupling, AffineCoupling, BoundedCoupling)
_LINEAR = (ActNorm, Squeeze, HaarSqueeze)


@dataclass(frozen=True)
class Linear:
    """``y = matrix x + bias`` over the channels: ``C C`` and ``C``."""

    matrix: Tensor
    bias: Tensor

    def after(self, first: Linear) -> Linear:
        """Return the map that applies ``first`` and then this one."""
        return Linear(self.matrix @ first.matrix, self.matrix @ first.bias + self.bias)

    def to(self, device: torch.device) -> Linear:
        """Return the map in float32 on a device."""
        return Linear(self.matrix.to(device, torch.float32), self.bias.to(device, torch.float32))


@dataclass(frozen=True)
class FoldedCoupling:
    """A coupling whose subnet is three convolutions with biases and two ReLUs.

    Attributes:
        weights: weights of the 3×3, the middle and the 3×3 convolution; the middle one is 1×1 or
            larger.
        biases: biases of the three convolutions.
        ring: whether the middle convolution, 1×1, pads by one and the last by none (the authors'
            network), instead of each by half its size.
        affine: whether the last convolution returns the shifts and then the raw scales, instead of
            the shifts alone.
        bound: the scale is ``exp(bound * tanh(raw))``, or ``sigmoid(raw)`` if None.
    """

    weights: tuple[Tensor, Tensor, Tensor]
    biases: tuple[Tensor, Tensor, Tensor]
    ring: bool
    affine: bool
    bound: float | None = None

    @property
    def reach(self) -> int:
        """Reach of the middle convolution's kernel on either side of its centre, in pixels."""
        return self.weights[1].shape[2] // 2

    def to(self, device: torch.device, dtype: torch.dtype) -> FoldedCoupling:
        """Move the subnet to a device and convert it to the type in which it computes."""
        first, second, third = (
            weight.to(device, dtype).contiguous(memory_format=torch.channels_last)
            for weight in self.weights
        )
        one, two, three = (bias.to(device, dtype) for bias in self.biases)
        return replace(self, weights=(first, second, third), biases=(one, two, three))


@dataclass(frozen=True)
class FoldedLevel:
    """One level: ``enter``, then the steps' couplings, each with a linear map; and the way back.

    Attributes:
        enter: map applied to the squeezed input of the level.
        encoder: couplings to run forward, each with the map that follows (None after the last).
        decoder: couplings to run backward, each with the map that follows; after the last the
            state is unsqueezed.
    """

    enter: Linear
    encoder: tuple[tuple[FoldedCoupling, Linear | None], ...]
    decoder: tuple[tuple[FoldedCoupling, Linear], ...]

    def to(self, device: torch.device, dtype: torch.dtype) -> FoldedLevel:
        """Move the level to a device, with the subnets in ``dtype`` and the maps in float32."""
        return FoldedLevel(
            self.enter.to(device),
            tuple(
                (coupling.to(device, dtype), None if map_ is None else map_.to(device))
                for coupling, map_ in self.encoder
            ),
            tuple((coupling.to(device, dtype), map_.to(device)) for coupling, map_ in self.decoder),
        )


def can_fold(network: IRAE) -> bool:
    """Whether every step of both flows can be folded; subclasses of the known kinds cannot."""
    if type(network) is not IRAE:
        return False
    levels = [*network.encoder.levels, *network.decoder.levels]
    return all(
        type(step.network) in (PlainNetwork, ActNormNetwork)
        if type(step) in _COUPLINGS
        else type(step) in _LINEAR or isinstance(step, Mixing)
        for level in levels
        for step in _steps(level)
    )


@torch.no_grad()
def fold(network: IRAE) -> list[FoldedLevel]:
    """Fold the weights of an IRAE, in float64 on the CPU; the finest level first.

    Raises:
        TypeError: a step is of an unknown kind (see `can_fold`).
    """
    if not can_fold(network):
        raise TypeError(f"a {type(network).__name__} of these steps has no folded form")
    levels = []
    chains = zip(network.encoder.levels, network.decoder.levels, strict=True)
    for index, (encoder, decoder) in enumerate(chains):
        enter, *following = _linear_runs(encoder, inverse=False)
        leave, *between, _ = _linear_runs(decoder, inverse=True)
        if index == 0:
            # The flows work on pictures centred at zero.
            half = torch.full_like(enter.bias, 0.5)
            enter = enter.after(Linear(torch.eye(len(half), dtype=half.dtype), -half))
            leave = Linear(leave.matrix, leave.bias + half)
        forward = _couplings(encoder)
        backward = list(zip(_couplings(decoder), [leave, *between], strict=True))
        levels.append(
            FoldedLevel(
                enter,
                tuple(zip(forward, [*following[:-1], None], strict=True)),
                tuple(reversed(backward)),
            )
        )
    return levels


def _steps(level: nn.Module) -> list[nn.Module]:
    return list(level.get_submodule("steps").children())


def _couplings(level: nn.Module) -> list[FoldedCoupling]:
    return [_fold_coupling(step) for step in _steps(level) if isinstance(step, _COUPLINGS)]


def _linear_runs(level: nn.Module, *, inverse: bool) -> list[Linear]:
    """Merge the maps before each coupling of a level and after the last, or their inverses."""
    steps = _steps(level)
    channels = next(step for step in steps if isinstance(step, Mixing)).matrix().shape[0]
    nothing = Linear(torch.eye(channels).double(), torch.zeros(channels).double())
    runs, run = [], nothing
    for step in steps:
        if isinstance(step, _COUPLINGS):
            runs.append(run)
            run = nothing
        else:
            part = _linear(step, channels, inverse)
            run = run.after(part) if inverse else part.after(run)
    return [*runs, run]


def _linear(step: nn.Module, channels: int, inverse: bool) -> Linear:
    zero = torch.zeros(channels).double()
    if isinstance(step, ActNorm):
        scale, bias = (t.detach().cpu().double().flatten() for t in (step.scale, step.bias))
        return Linear(scale.diag(), bias) if inverse else Linear((1 / scale).diag(), -bias / scale)
    if isinstance(step, HaarSqueeze):  # Its matrix is its own inverse.
        return Linear(step.matrix(channels).cpu().double(), zero)
    if isinstance(step, Mixing):
        exact = copy.deepcopy(step).cpu().double()
        return Linear(exact.inverse_matrix() if inverse else exact.matrix(), zero)
    return Linear(torch.eye(channels).double(), zero)


def _fold_coupling(coupling: AdditiveCoupling | AffineCoupling) -> FoldedCoupling:
    network = coupling.network
    affine = isinstance(coupling, AffineCoupling)
    bound = coupling.bound if isinstance(coupling, BoundedCoupling) else None
    convolutions = [layer for layer in network.children() if isinstance(layer, nn.Conv2d)]
    weights = [layer.weight.detach().cpu().double() for layer in convolutions]
    biases = [
        torch.zeros(len(weight)).double() if layer.bias is None else layer.bias.cpu().double()
        for layer, weight in zip(convolutions, weights, strict=True)
    ]
    if isinstance(network, ActNormNetwork):
        norms = (network.actnorm1, network.actnorm2)
        for index, norm in enumerate(norms):
            scale, shift = (t.cpu().double().flatten() for t in (norm.scale, norm.bias))
            weights[index] = weights[index] / scale[:, None, None, None]
            biases[index] = (biases[index] - shift) / scale
        gain = network.log_scale.cpu().double().exp().flatten()
        weights[2], biases[2] = weights[2] * gain[:, None, None, None], biases[2] * gain
    elif not isinstance(network, PlainNetwork):
        raise TypeError(f"a coupling network of {type(network).__name__} has no folded form")
    if affine:
        # Shifts and scales are interleaved; once separated, each is a slice.
        order = [*range(0, len(biases[2]), 2), *range(1, len(biases[2]), 2)]
        weights[2], biases[2] = weights[2][order].clone(), biases[2][order].clone()
        scales = slice(len(order) // 2, None)
        if bound is None:  # The scale is sigmoid(r + 2).
            biases[2][scales] += 2
        else:  # It is exp(bound * tanh(r / bound)).
            weights[2][scales] /= bound
            biases[2][scales] /= bound
    return FoldedCoupling(
        (weights[0], weights[1], weights[2]),
        (biases[0], biases[1], biases[2]),
        ring=isinstance(network, ActNormNetwork),
        affine=affine,
        bound=bound,
    )
