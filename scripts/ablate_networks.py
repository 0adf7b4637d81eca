"""Networks that `scripts/ablate` compares the toolkit's with; `register` makes them known.

None is worth shipping so far, so they live here and not in the package.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.bijection import Chain
from irae.flow.glow import Glow
from irae.flow.layers import MIXINGS, BoundedCoupling, Mixing
from irae.flow.networks import NETWORKS as COUPLING_NETWORKS
from irae.flow.networks import CouplingNetwork, PlainNetwork
from irae.models.irae import IRAE, PRESETS
from irae.models.registry import NETWORKS, NetworkKind


class _LastZero(CouplingNetwork):
    """A coupling network whose last convolution starts at zero."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.last = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)


class GatedNetwork(_LastZero):
    """Depthwise and gated, after NAFNet (Chen et al. 2022, arXiv 2204.04676, section 3).

    Conv 3×3, then twice: a 1×1 to twice the width, depthwise 3×3, the product of its halves, 1×1,
    added to what came in; conv 3×3.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, kernel: int = 1) -> None:
        super().__init__(width, out_channels)
        self.first = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, 2 * width, 1),
                nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2 * width),
                _Product(),
                nn.Conv2d(width, width, 1),
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)


class _Product(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1)
        return a * b


class DenseNetwork(_LastZero):
    """A dense block, as in InvDN's couplings (Liu et al. 2021, arXiv 2104.10546, section 3).

    Four convolutions 3×3 of a quarter of the width, each of which sees all before it.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, kernel: int = 1) -> None:
        growth, count = width // 4, 4
        super().__init__(in_channels + count * growth, out_channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(in_channels + number * growth, growth, 3, padding=1)
            for number in range(count)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, F.leaky_relu(layer(x), 0.2)], 1)
        return self.last(x)


class DeepNetwork(_LastZero):
    """Five convolutions 3×3, ReLU between them."""

    def __init__(self, in_channels: int, out_channels: int, width: int, kernel: int = 1) -> None:
        super().__init__(width, out_channels)
        self.layers = nn.ModuleList(
            nn.Conv2d(width if number else in_channels, width, 3, padding=1) for number in range(4)
        )
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = F.relu(layer(x), inplace=True)
        return self.last(x)


class LUMixing(Mixing):
    """``P L (U + diag(s))`` with a fixed permutation (Kingma and Dhariwal 2018, section 3.2)."""

    permutation: Tensor
    sign: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        rotation = torch.linalg.qr(torch.randn(channels, channels)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.lower, self.upper = nn.Parameter(lower), nn.Parameter(upper)
        self.log_scale = nn.Parameter(upper.diagonal().abs().log())
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", upper.diagonal().sign())

    def matrix(self) -> Tensor:
        lower = self.lower.tril(-1) + torch.eye(len(self.sign))
        diagonal = (self.sign * self.log_scale.exp()).diag()
        return self.permutation @ lower @ (self.upper.triu(1) + diagonal)


class TiedIRAE(nn.Module):
    """One flow, forward and backward, with a `Shrinking` between."""

    def __init__(
        self,
        *,
        shrinking: float,
        start: str = "identity",
        hole_fill: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.hole_fill = hole_fill
        if start != "identity":
            raise ValueError("a tied network starts as the identity")
        self.flow = Glow(**options, shrinking=shrinking)
        last = self.flow.levels[-1]
        assert isinstance(last, Chain)
        self.between = last.steps[-1]
        del last.steps[-1]

    @property
    def size_multiple(self) -> int:
        return self.flow.size_multiple

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._through(x, self.between)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._through(z, self.between.inverse)

    def _through(self, x: Tensor, between: Callable[[Tensor], Tensor]) -> Tensor:
        *latents, last = self.flow(x - 0.5)
        last, latents[-1] = between(torch.cat([last, latents[-1]], 1)).chunk(2, 1)
        return self.flow.inverse([*latents, last]) + 0.5


class GatedIRAE(IRAE):
    """An IRAE whose last latents are scaled place by place, by up to exp(±2), after they shrink."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        last = self.encoder.levels[-1]
        assert isinstance(last, Chain)
        half = 3 * 2 ** len(self.encoder.levels)
        last.steps.append(BoundedCoupling(PlainNetwork(half, 2 * half, 96), 2.0))


class ToldIRAE(IRAE):
    """An IRAE whose couplings are told the noise level."""

    takes_sigma = True

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "condition_channels": 1})

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return super().forward(x, _map(x, condition))

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return super().inverse(z, _map(z, condition))

    def initialise(self, degraded: Tensor, condition: Tensor | None = None) -> None:
        super().initialise(degraded, _map(degraded, condition))


def _map(x: Tensor, condition: Tensor | None) -> Tensor | None:
    return None if condition is None else condition.expand(x.shape[0], 1, *x.shape[2:])


def register() -> None:
    """Make the networks of this module known to configs."""
    COUPLING_NETWORKS.update(gated=GatedNetwork, dense=DenseNetwork, deep=DeepNetwork)
    MIXINGS["lu"] = LUMixing
    for name, kind in (("tied", TiedIRAE), ("gated", GatedIRAE), ("told", ToldIRAE)):
        kind.__signature__ = inspect.signature(IRAE)  # The registry reads it to check options.
        # The way back of one that is told the noise level needs it too, and is not measured.
        NETWORKS[f"irae-{name}"] = NetworkKind(kind, presets=PRESETS, invertible=name != "told")
