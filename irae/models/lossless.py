"""An IRAE as a bijection of integers: what it takes away from a picture is kept, bit for bit.

A restoring network shrinks noise, so the inverse of a picture rounded to 8 bits is no use: one
rounding error comes back as hundreds of levels. Here every step works on whole numbers and loses
none of them. Between two couplings an IRAE is a matrix over the channels; written as permutation,
unit lower triangle, diagonal and unit upper triangle, the triangles become lifting steps with
rounding (Zhang et al. 2021, iVPF, arXiv 2103.16211, section 3), and the diagonal is not applied at
all but carried along as the scale of each channel. An additive coupling adds whole numbers
already; one that scales by place puts remainders aside (`irae.models.lanes`). So the numbers that
come out are as many as went in, and a channel that was shrunk a thousandfold is seen at a
thousandfold resolution.

Another machine must find the same numbers. The coupling networks therefore compute with integers
held in float64, below 2^53, where the order of a sum does not matter; the matrices are made
with elementary operations alone (no BLAS, no libm), which IEEE 754 defines to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.layers import AdditiveCoupling, BoundedCoupling, BoundedMixing, HaarSqueeze
from irae.flow.networks import PlainNetwork
from irae.models.exact import Matrix, exp, factor, multiply, solve, tanh
from irae.models.irae import IRAE
from irae.models.lanes import Lanes

_WEIGHT_BITS = 20  # After the binary point, of the coupling networks' weights,
_VALUE_BITS = 18  # of their inputs and activations,
_LIFT_BITS = 26  # and of the triangles.
_LARGEST_VALUE = 8.0  # Activations are cut there, so that sums stay exact.
_RATIO_BITS = 16  # After the binary point, of the factors of a coupling that scales.
_TABLE = (8, 512)  # Where tanh is taken for 1, and steps to 1.
_LANE = 64  # Places whose remainders one state keeps.
_Supported = AdditiveCoupling | BoundedCoupling


@dataclass(frozen=True)
class _Map:
    """A matrix as lifting steps, for each of the ``p p`` phases a channel's scale depends on.

    ``upper`` and ``lower`` are int64 ``p p C C`` with zeros on the diagonal; ``order`` is int64
    ``p p C``: where each channel of the result comes from.
    """

    upper: Tensor
    lower: Tensor
    order: Tensor


@dataclass(frozen=True)
class _Coupling:
    """A coupling network in integers; ``enter`` and ``leave`` (``C p p``) scale to and from it.

    ``bound`` is that of a coupling that scales too, or 0.
    """

    weights: tuple[Tensor, Tensor, Tensor]
    biases: tuple[Tensor, Tensor, Tensor]
    enter: Tensor
    leave: Tensor
    bound: float


@dataclass
class _Level:
    """Maps and couplings of the encoder in pairs, and couplings and maps of the decoder.

    ``after`` is the map that ends the encoder, if there is one.
    """

    encoder: list[tuple[_Map, _Coupling]]
    decoder: list[tuple[_Coupling, _Map]]
    after: _Map | None = None


class LosslessIRAE:
    """A trained IRAE of the default kind, as a bijection of int64 ``3 H W``.

    Args:
        network: has Haar squeezes, bounded mixings, additive or bounded couplings, and takes
            no condition.
        unit: what the integer 1 at the input stands for, in [0, 1].

    Attributes:
        scale: float64 ``3 p p``: what the integer 1 at the output stands for, by the phase
            of the pixel.

    Raises:
        ValueError: the network is of another kind, or its weights are too large.
    """

    def __init__(self, network: IRAE, unit: float) -> None:
        self._unit = unit
        self.levels: list[_Level] = []
        chains = list(zip(network.encoder.levels, network.decoder.levels, strict=True))
        parts = [(_parts(encoder), _parts(decoder)) for encoder, decoder in chains]
        self.scale = torch.from_numpy(self._build(parts, 0, np.full((3, 1, 1), unit)))

    @property
    def multiple(self) -> int:
        """Heights and widths must be multiples of this."""
        return int(2 ** len(self.levels))

    @property
    def bits(self) -> float:
        """Bits per sample by which the mixings shrink a picture: mean -log2 of their volume."""
        ratio = self.scale.abs() / self._unit
        return -float(ratio.log2().mean())

    def lanes(self, height: int, width: int) -> int:
        """How many states (`Lanes`) a picture needs; 0 where no coupling scales."""
        couplings = [c for level in self.levels for _, c in level.encoder]
        couplings += [c for level in self.levels for c, _ in level.decoder]
        if not any(coupling.bound for coupling in couplings):
            return 0
        return -(-height * width // (4 * _LANE))

    def _build(self, parts: list[Any], index: int, scale: Matrix) -> Matrix:
        """Make a level and those below it; the scale of its input to that of its output."""
        (mixings, couplings), (unmixings, uncouplings) = parts[index]
        haar = _haar(scale.shape[0])
        scale = np.repeat(scale, 4, axis=0)
        level = _Level([], [])
        self.levels.append(level)
        for step, (mixing, coupling) in enumerate(zip(mixings, couplings, strict=False)):
            matrix = _matrices(mixing)[0]
            map_, scale = _lift(matrix if step else multiply(matrix, haar), scale)
            level.encoder.append((map_, _coupling(coupling, scale)))
        if len(mixings) > len(couplings):  # The level ends with one.
            level.after, scale = _lift(_matrices(mixings[-1])[0], scale)
        if index + 1 < len(parts):
            half = len(scale) // 2
            below = self._build(parts, index + 1, scale[:half])
            period = below.shape[1]
            scale = np.concatenate([below, np.tile(scale[half:], (1, period, period))])
        for step in reversed(range(len(unmixings))):
            integer = _coupling(uncouplings[step], scale)
            matrix = _matrices(unmixings[step])[1]
            map_, scale = _lift(matrix if step else multiply(haar, matrix), scale)
            level.decoder.append((integer, map_))
        return F.pixel_shuffle(torch.from_numpy(scale), 2).numpy()

    @torch.inference_mode()
    def forward(self, x: Tensor, lanes: Lanes | None = None) -> Tensor:
        """Degraded picture in units of ``unit`` to the restored one in units of ``scale``.

        Both are centred: 0 stands for 0.5 in [0, 1].

        Args:
            x: int64 ``3 H W``; H and W are multiples of `multiple`.
            lanes: as many as `lanes` says; what is put aside is on their stack afterwards.
        """
        return self._forward(0, x, lanes)

    @torch.inference_mode()
    def inverse(self, y: Tensor, lanes: Lanes | None = None) -> Tensor:
        """What `forward` was given, to the last bit; the stack is as it was then, too."""
        return self._inverse(0, y, lanes)

    def _forward(self, index: int, x: Tensor, lanes: Lanes | None) -> Tensor:
        level = self.levels[index]
        x = F.pixel_unshuffle(x, 2)
        for map_, coupling in level.encoder:
            x = _couple(coupling, _apply(map_, x), lanes)
        if level.after is not None:
            x = _apply(level.after, x)
        if index + 1 < len(self.levels):
            down, latent = x.chunk(2)
            x = torch.cat([self._forward(index + 1, down, lanes), latent])
        for coupling, map_ in level.decoder:
            x = _apply(map_, _uncouple(coupling, x, lanes, first=True))
        return F.pixel_shuffle(x, 2)

    def _inverse(self, index: int, y: Tensor, lanes: Lanes | None) -> Tensor:
        level = self.levels[index]
        y = F.pixel_unshuffle(y, 2)
        for coupling, map_ in reversed(level.decoder):
            y = _couple(coupling, _undo(map_, y), lanes, first=False)
        if index + 1 < len(self.levels):
            down, latent = y.chunk(2)
            y = torch.cat([self._inverse(index + 1, down, lanes), latent])
        if level.after is not None:
            y = _undo(level.after, y)
        for map_, coupling in reversed(level.encoder):
            y = _undo(map_, _uncouple(coupling, y, lanes))
        return F.pixel_shuffle(y, 2)


def _parts(chain: nn.Module) -> tuple[list[BoundedMixing], list[_Supported]]:
    """The mixings and the couplings of a level; one mixing more if it ends with one.

    Raises:
        ValueError: it has steps of another kind.
    """
    squeeze, *steps = chain.get_submodule("steps").children()
    mixings = [step for step in steps if isinstance(step, BoundedMixing)]
    couplings = [step for step in steps if isinstance(step, AdditiveCoupling | BoundedCoupling)]
    if (
        not isinstance(squeeze, HaarSqueeze)
        or mixings != steps[0::2]
        or couplings != steps[1::2]
        or not all(isinstance(coupling.network, PlainNetwork) for coupling in couplings)
    ):
        raise ValueError("only a default IRAE has an integer form")
    return mixings, couplings


def _rotation(free: Tensor) -> Matrix:
    values = free.detach().cpu().double().numpy()
    skew, identity = values - values.T, np.eye(len(values))
    return solve(identity + skew, identity - skew)


def _matrices(mixing: BoundedMixing) -> tuple[Matrix, Matrix]:
    """The matrix of a mixing and its inverse, as `BoundedMixing.matrices` gives them."""
    left, right, fixed = (_rotation(t) for t in (mixing.left, mixing.right, mixing.fixed))
    logs = [
        mixing.bound * tanh(mixing.pace * float(s) / mixing.bound)
        for s in mixing.log_scale.detach()
    ]
    there, back = (np.array([exp(sign * log) for log in logs]) for sign in (1.0, -1.0))
    matrix = multiply(multiply(left, there[:, None] * right), fixed)
    inverse = multiply(multiply(fixed.T, right.T), back[:, None] * left.T)
    return matrix, inverse


def _haar(channels: int) -> Matrix:
    rows = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2.0
    return cast(Matrix, np.kron(np.eye(channels), rows))


def _lift(matrix: Matrix, scale: Matrix) -> tuple[_Map, Matrix]:
    """A matrix as lifting steps on channels of some ``scale`` (``C p p``), and their new scale."""
    size, period = scale.shape[:2]
    upper = torch.zeros(period, period, size, size, dtype=torch.int64)
    lower, orders = torch.zeros_like(upper), torch.zeros(period, period, size, dtype=torch.int64)
    result = np.empty_like(scale)
    for i in range(period):
        for j in range(period):
            low, diagonal, up, order = factor(matrix * scale[:, i, j])
            # lower diagonal upper = diagonal (diagonal⁻¹ lower diagonal) upper
            low = low * diagonal / diagonal[:, None]
            upper[i, j] = _fixed_point(np.triu(up, 1), _LIFT_BITS)
            lower[i, j] = _fixed_point(np.tril(low, -1), _LIFT_BITS)
            back = np.argsort(order)
            orders[i, j] = torch.from_numpy(back)
            result[:, i, j] = diagonal[back]
    return _Map(upper, lower, orders), result


def _fixed_point(values: Matrix, bits: int) -> Tensor:
    return torch.from_numpy(np.floor(values * 2.0**bits + 0.5).astype(np.int64))


def _coupling(coupling: _Supported, scale: Matrix) -> _Coupling:
    network, half = coupling.network, len(scale) // 2
    bound = coupling.bound if isinstance(coupling, BoundedCoupling) else 0.0
    if not isinstance(network, PlainNetwork) or network.conv1.in_channels != half:
        raise ValueError("an IRAE with a condition has no integer form")
    weights, biases = [], []
    for layer in (network.conv1, network.conv2, network.conv3):
        weight = (layer.weight.detach().cpu().double() * 2.0**_WEIGHT_BITS).round()
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu()
        bias = (bias.double() * 2.0 ** (_WEIGHT_BITS + _VALUE_BITS)).round()
        largest = weight.abs().sum((1, 2, 3)) * _LARGEST_VALUE * 2.0**_VALUE_BITS + bias.abs()
        if not float(largest.max()) < 2.0**53:
            raise ValueError("the weights are too large for exact sums in the integer form")
        weights.append(weight)
        biases.append(bias)
    return _Coupling(
        (weights[0], weights[1], weights[2]),
        (biases[0], biases[1], biases[2]),
        torch.from_numpy(scale[half:] * 2.0**_VALUE_BITS),
        torch.from_numpy(2.0 ** -(_WEIGHT_BITS + _VALUE_BITS) / scale[:half]),
        bound,
    )


def _tiled(scale: Tensor, x: Tensor) -> Tensor:
    period = scale.shape[1]
    return scale.repeat(1, -(-x.shape[1] // period), -(-x.shape[2] // period))[
        :, : x.shape[1], : x.shape[2]
    ]


def _network(coupling: _Coupling, x: Tensor) -> tuple[Tensor, Tensor | None]:
    """What the network makes of the second half of the channels: shifts, and factors if any.

    The factors are what they are times 2^16, int64.
    """
    first, second = x.chunk(2)
    limit = _LARGEST_VALUE * 2.0**_VALUE_BITS
    h = second.double() * _tiled(coupling.enter, second)
    h = h.add_(0.5).floor_().clamp_(-limit, limit)[None]
    (w1, w2, w3), (b1, b2, b3) = coupling.weights, coupling.biases
    for weight, bias in ((w1, b1), (w2, b2)):
        h = F.conv2d(h, weight, bias, padding=weight.shape[2] // 2)
        # Each of these is exact or rounded once, by the standard.
        h = h.mul_(2.0**-_WEIGHT_BITS).add_(0.5).floor_().clamp_(0.0, limit)
    h = F.conv2d(h, w3, b3, padding=1)[0]
    factors = None
    if coupling.bound:
        h, raw = h[0::2], h[1::2]
        factors = _factors(raw * 2.0 ** -(_WEIGHT_BITS + _VALUE_BITS), coupling.bound)
    shift = h * _tiled(coupling.leave, first)
    return shift.add_(0.5).floor_().to(torch.int64), factors


def _factors(raw: Tensor, bound: float) -> Tensor:
    """``exp(bound * tanh(raw / bound))`` times 2^16, by a table and straight lines between."""
    end, steps = _TABLE
    table = torch.from_numpy(_factor_table(bound))
    place = (raw / bound).clamp_(-end, end).add_(end).mul_(steps)
    below = place.floor().clamp_(0, 2 * end * steps - 1)
    index = below.to(torch.int64)
    low, high = table[index], table[index + 1]
    rest = place.sub_(below)
    between = (high - low) * rest
    return between.add_(low).mul_(2.0**_RATIO_BITS).add_(0.5).floor_().to(torch.int64)


@cache
def _factor_table(bound: float) -> Matrix:
    end, steps = _TABLE
    places = range(-end * steps, end * steps + 1)
    return np.array([exp(bound * tanh(place / steps)) for place in places])


def _couple(coupling: _Coupling, x: Tensor, lanes: Lanes | None, *, first: bool = True) -> Tensor:
    """Run a coupling forward; not ``first`` if that undoes `_uncouple`, which came first."""
    shift, factors = _network(coupling, x)
    changed, second = x.chunk(2)
    return torch.cat([_scaled(changed, factors, lanes, 1, first) + shift, second])


def _uncouple(
    coupling: _Coupling, x: Tensor, lanes: Lanes | None, *, first: bool = False
) -> Tensor:
    """Run a coupling backward; ``first`` if it is run so first, and not to undo `_couple`."""
    shift, factors = _network(coupling, x)
    changed, second = x.chunk(2)
    return torch.cat([_scaled(changed - shift, factors, lanes, -1, first), second])


def _scaled(
    x: Tensor, factors: Tensor | None, lanes: Lanes | None, sign: int, first: bool
) -> Tensor:
    """Multiply (1) or divide (-1) by the factors."""
    if factors is None:
        return x
    if lanes is None:
        raise ValueError("a network that scales needs lanes")
    over = factors.reshape(-1).numpy()
    under = np.full_like(over, 1 << _RATIO_BITS)
    values = x.reshape(-1).numpy()
    if first:
        ratio = (over, under) if sign == 1 else (under, over)
        result = lanes.scale(values, *ratio)
    else:
        ratio = (under, over) if sign == 1 else (over, under)
        result = lanes.unscale(values, *ratio)
    return torch.from_numpy(result).view_as(x)


def _shifted(total: Tensor) -> Tensor:
    return (total + (1 << (_LIFT_BITS - 1))) >> _LIFT_BITS


def _apply(map_: _Map, x: Tensor) -> Tensor:
    period, result = map_.order.shape[0], torch.empty_like(x)
    for i in range(period):
        for j in range(period):
            part = x[:, i::period, j::period]
            flat = part.reshape(len(x), -1)
            # A row of a triangle reads only rows that are changed after it.
            flat = flat + _shifted(map_.upper[i, j] @ flat)
            flat = flat + _shifted(map_.lower[i, j] @ flat)
            result[:, i::period, j::period] = flat[map_.order[i, j]].view_as(part)
    return result


def _undo(map_: _Map, x: Tensor) -> Tensor:
    period, result, size = map_.order.shape[0], torch.empty_like(x), len(x)
    for i in range(period):
        for j in range(period):
            part = x[:, i::period, j::period]
            flat = torch.empty(size, part[0].numel(), dtype=torch.int64)
            flat[map_.order[i, j]] = part.reshape(size, -1)
            for row in range(1, size):
                flat[row] -= _shifted(map_.lower[i, j, row, :row] @ flat[:row])
            for row in reversed(range(size - 1)):
                flat[row] -= _shifted(map_.upper[i, j, row, row + 1 :] @ flat[row + 1 :])
            result[:, i::period, j::period] = flat.view_as(part)
    return result
