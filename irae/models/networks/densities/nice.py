"""NICE (Dinh et al. 2015, arXiv 1410.8516): additive couplings of whole pictures, one scale."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.actnorm import ActNorm
from irae.flow.bijection import Bijection, Chain, zeros_per_sample
from irae.flow.density.elementwise import ElementScale
from irae.flow.subnets import CouplingNetwork
from irae.models.density import Density

PRESETS: dict[str, dict[str, Any]] = {"default": {}}


class _DenseNetwork(CouplingNetwork):
    """Fully connected layers with ReLUs between; the last one is zero-initialised."""

    def __init__(self, numbers: int, width: int, layers: int) -> None:
        super().__init__()
        widths = [numbers, *[width] * layers, numbers]
        self.layers = nn.ModuleList(
            nn.Linear(before, after) for before, after in zip(widths, widths[1:], strict=False)
        )
        last = self.layers[-1]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        dtype = x.dtype if self.compute_dtype is None else self.compute_dtype
        h = x.to(dtype)
        for number, layer in enumerate(self.layers):
            h = F.relu(h) if number else h
            h = F.linear(h, layer.weight.to(dtype), layer.bias.to(dtype))  # type: ignore[arg-type]
        return h.to(x.dtype)


class _DenseCoupling(Bijection):
    """Of a picture's numbers in order, those at odd places are shifted, given the others.

    With ``even``, it is those at even places that are shifted.
    """

    def __init__(self, network: CouplingNetwork, *, even: bool) -> None:
        super().__init__()
        self.network, self.even = network, even

    def _shifted(self, x: Tensor, sign: int) -> Tensor:
        pairs = x.reshape(len(x), -1, 2)
        even, odd = pairs.unbind(2)
        if self.even:
            even = even + sign * self.network(odd)
        else:
            odd = odd + sign * self.network(even)
        return torch.stack([even, odd], 2).reshape(x.shape)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._shifted(x, 1)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._shifted(z, -1)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self(x), zeros_per_sample(x)


class NICE(Density):
    """Additive couplings between the numbers at even and at odd places, then a scale for each.

    The paper's networks for natural pictures: four couplings of fully connected networks with
    hidden layers of ``width`` ReLUs, and the normal prior. The paper uses 5 layers of 1000 for
    MNIST. An ActNorm takes the place of its centring of the data.

    Args:
        channels: number of channels, 1 or 3.
        size: height and width; channels · size² must be even.
        bits: bits per number.
        couplings: number of couplings.
        width: width of the hidden layers.
        layers: number of hidden layers.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        size: int = 28,
        bits: int = 8,
        couplings: int = 4,
        width: int = 1000,
        layers: int = 5,
    ) -> None:
        numbers = channels * size * size
        if numbers % 2 or couplings < 1 or width < 1 or layers < 1:
            raise ValueError(
                f"{numbers} numbers per picture must be even, and couplings {couplings}, "
                f"width {width} and layers {layers} at least 1"
            )
        steps: list[Bijection] = [ActNorm(channels)]
        steps += [
            _DenseCoupling(_DenseNetwork(numbers // 2, width, layers), even=bool(i % 2))
            for i in range(couplings)
        ]
        steps.append(ElementScale(channels, size, size))
        super().__init__([Chain(steps)], channels=channels, size=size, bits=bits)
