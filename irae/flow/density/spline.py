"""Couplings by monotonic rational-quadratic splines (Durkan et al. 2019, arXiv 1906.04032)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.flow.bijection import Bijection
from irae.flow.subnets import CouplingNetwork

LEAST = 1e-3
"""Least width and height of a bin, as a share of the interval, and least slope at a knot."""


def parameters_per_number(bins: int) -> int:
    """Return how many numbers describe a spline of so many bins."""
    return 3 * bins - 1


def _knots(raw: Tensor, reach: float) -> Tensor:
    """Return ``... bins + 1`` rising positions from -reach to reach."""
    bins = raw.shape[-1]
    shares = LEAST + (1 - LEAST * bins) * torch.softmax(raw, -1)
    inner = torch.cumsum(shares, -1)[..., :-1]
    ends = torch.zeros_like(raw[..., :1])
    return (torch.cat([ends, inner, ends + 1], -1) * 2 - 1) * reach


class _Spline:
    """A monotonic spline for every number; outside [-reach, reach] it is the identity."""

    def __init__(self, raw: Tensor, reach: float) -> None:
        bins = (raw.shape[-1] + 1) // 3
        self.reach = reach
        self.x = _knots(raw[..., :bins], reach)
        self.y = _knots(raw[..., bins : 2 * bins], reach)
        # softplus of this is 1: all zeros are the identity.
        unit = math.log(math.expm1(1 - LEAST))
        slopes = LEAST + F.softplus(raw[..., 2 * bins :] + unit)
        self.slopes = F.pad(slopes, (1, 1), value=1.0)

    def _bin(self, of: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Return left edge, width, bottom, height and both slopes of the bin of each value."""
        last = of.shape[-1] - 2
        index = (torch.searchsorted(of.detach(), value[..., None], right=True) - 1).clamp(0, last)
        x0, x1 = self.x.gather(-1, index), self.x.gather(-1, index + 1)
        y0, y1 = self.y.gather(-1, index), self.y.gather(-1, index + 1)
        d0, d1 = self.slopes.gather(-1, index), self.slopes.gather(-1, index + 1)
        return tuple(part[..., 0] for part in (x0, x1 - x0, y0, y1 - y0, d0, d1))

    def forward(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return the image of each value and the log of its slope."""
        inside = value.abs() < self.reach
        given = torch.where(inside, value, 0.0)
        x0, width, y0, height, d0, d1 = self._bin(self.x, given)
        mean = height / width
        t = ((given - x0) / width).clamp(0, 1)
        both = t * (1 - t)
        below = mean + (d0 + d1 - 2 * mean) * both
        out = y0 + height * (mean * t * t + d0 * both) / below
        slope = mean * mean * (d1 * t * t + 2 * mean * both + d0 * (1 - t) * (1 - t))
        log_slope = slope.log() - 2 * below.log()
        return torch.where(inside, out, value), torch.where(inside, log_slope, 0.0)

    def inverse(self, value: Tensor) -> Tensor:
        """Return the number that `forward` maps to each value."""
        inside = value.abs() < self.reach
        given = torch.where(inside, value, 0.0)
        x0, width, y0, height, d0, d1 = self._bin(self.y, given)
        mean = height / width
        rise, excess = given - y0, d0 + d1 - 2 * mean
        a = height * (mean - d0) + rise * excess
        b = height * d0 - rise * excess
        c = -mean * rise
        root = (b * b - 4 * a * c).clamp(min=0).sqrt()
        t = (2 * c / (-b - root)).clamp(0, 1)
        return torch.where(inside, x0 + t * width, value)


class SplineCoupling(Bijection):
    """The second half of the channels chooses a spline and an affine map for the first.

    ``z = s * spline(x_a) + t`` with ``s = exp(bound * tanh(r / bound))``; the spline maps
    [-reach, reach] to itself. It starts as the identity.

    Args:
        network: maps half of the channels, and the condition if there is one, to
            ``outputs(half, bins)`` channels.
        bins: bins of the spline.
        reach: half of the length of the interval that the spline bends.
        bound: bound on the log scale.
    """

    def __init__(
        self, network: CouplingNetwork, bins: int = 8, reach: float = 3.0, bound: float = 2.0
    ) -> None:
        super().__init__()
        self.network, self.bins, self.reach, self.bound = network, bins, reach, bound

    @staticmethod
    def outputs(half: int, bins: int) -> int:
        """Return how many channels the network must give for ``half`` changed channels."""
        return half * (parameters_per_number(bins) + 2)

    def _maps(self, b: Tensor, condition: Tensor | None) -> tuple[_Spline, Tensor, Tensor]:
        """Return the spline, the log scale and the shift for the first half."""
        batch, half, height, width = b.shape
        given = b if condition is None else torch.cat([b, condition.to(b.dtype)], 1)
        raw = self.network(given).reshape(batch, half, -1, height, width).movedim(2, -1)
        log_scale = self.bound * torch.tanh(raw[..., 1] / self.bound)
        return _Spline(raw[..., 2:], self.reach), log_scale, raw[..., 0]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.forward_and_log_det(x)[0]

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        a, b = z.chunk(2, 1)
        spline, log_scale, shift = self._maps(b, condition)
        return torch.cat([spline.inverse((a - shift) * (-log_scale).exp()), b], 1)

    def rebuild_with_log_det(
        self, output: Tensor, condition: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...], Tensor]:
        mapped, b = output.detach().chunk(2, 1)
        b.requires_grad_()
        with torch.enable_grad():
            spline, log_scale, shift = self._maps(b, condition)
            with torch.no_grad():
                a = spline.inverse((mapped - shift) * (-log_scale).exp())
            a.requires_grad_()
            bent, log_slope = spline.forward(a)
            log_det = (log_slope + log_scale).flatten(1).sum(1)
            return (a, b), (log_scale.exp() * bent + shift, b), log_det

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        a, b = x.chunk(2, 1)
        spline, log_scale, shift = self._maps(b, condition)
        bent, log_slope = spline.forward(a)
        z = torch.cat([log_scale.exp() * bent + shift, b], 1)
        return z, (log_slope + log_scale).flatten(1).sum(1)
