"""The subnets inside couplings, which need not be invertible, since the coupling is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.actnorm import ActNorm


class CouplingNetwork(nn.Module):
    """Base class of subnets: maps ``B in H W`` to ``B out H W``, computing in ``compute_dtype``.

    The state of a flow stays in float32 while its subnets may run in bfloat16: a subnet gets the
    same input in both directions, so its rounding cancels as long as the state is exact.
    """

    def __init__(self) -> None:
        super().__init__()
        self.compute_dtype: torch.dtype | None = None

    def _enter(self, x: Tensor) -> Tensor:
        dtype = x.dtype if self.compute_dtype is None else self.compute_dtype
        return x.to(dtype=dtype, memory_format=torch.channels_last)


def convolve(layer: nn.Conv2d, x: Tensor, padding: int, stride: int = 1) -> Tensor:
    """Apply a convolution in the type of ``x``, whatever the type of its weights."""
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.conv2d(x, layer.weight.to(x.dtype), bias, stride=stride, padding=padding)


def convolve_part(layer: nn.Conv2d, x: Tensor, outputs: int | None = None) -> Tensor:
    """Apply a 3×3 convolution to its first input channels, for its first outputs.

    Channels that are zero or not needed cost no multiplications.

    Args:
        layer: a convolution with a bias.
        x: ``B C H W``, the first channels of its input; the others count as zero.
        outputs: number of channels to compute; all if None.

    Returns:
        ``B outputs H W`` in the type of ``x``.
    """
    assert layer.bias is not None
    weight = layer.weight[:outputs, : x.shape[1]].to(x.dtype)
    return F.conv2d(x, weight, layer.bias[:outputs].to(x.dtype), padding=1)


class PlainNetwork(CouplingNetwork):
    """Conv 3×3, ReLU, conv 1×1, ReLU, conv 3×3 (zero-initialised), with biases.

    It is the published subnet (Kingma and Dhariwal 2018, section 3.3) without its ActNorms, which
    cost time and precision and do not help after an identity start. The middle convolution may
    be larger: ``kernel`` is odd.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, kernel: int = 1) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel {kernel} must be odd")
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, kernel, padding=kernel // 2)
        self.conv3 = nn.Conv2d(width, out_channels, 3, padding=1)
        for layer in (self.conv1, self.conv2):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias) if layer.bias is not None else None
        nn.init.zeros_(self.conv3.weight)
        nn.init.zeros_(self.conv3.bias) if self.conv3.bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        h = self._enter(x)
        h = F.relu(convolve(self.conv1, h, 1), inplace=True)
        h = F.relu(convolve(self.conv2, h, self.conv2.kernel_size[0] // 2), inplace=True)
        return convolve(self.conv3, h, 1).to(x.dtype)


class ActNormNetwork(CouplingNetwork):
    """The authors' subnet: ActNorm and ReLU after each of the first two convolutions.

    The 1×1 convolution pads by one and the last convolution by none, so the outermost ring that
    the last one reads is relu(ActNorm(0)), not zero. This is reproduced because trained
    checkpoints depend on it. The result is multiplied by the exp of a learned log scale per output
    channel.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, kernel: int = 1) -> None:
        super().__init__()
        if kernel != 1:
            raise ValueError(f"kernel {kernel}: the authors' network has one of 1")
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.actnorm1 = ActNorm(width)
        self.conv2 = nn.Conv2d(width, width, 1, padding=1, bias=False)
        self.actnorm2 = ActNorm(width)
        self.conv3 = nn.Conv2d(width, out_channels, 3)
        self.log_scale = nn.Parameter(torch.zeros(out_channels, 1, 1))
        nn.init.normal_(self.conv1.weight, 0.0, 0.05)
        nn.init.normal_(self.conv2.weight, 0.0, 0.05)
        nn.init.zeros_(self.conv3.weight)
        nn.init.zeros_(self.conv3.bias) if self.conv3.bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        h = self._enter(x)
        h = F.relu(self.actnorm1(convolve(self.conv1, h, 1)))
        h = F.relu(self.actnorm2(convolve(self.conv2, h, 1)))
        return convolve(self.conv3, h, 0).to(x.dtype) * self.log_scale.exp()


class ResidualBlock(nn.Module):
    """``x + conv(relu(conv(relu(x))))``; `start_small` gives its second convolution a small scale.

    Args:
        width: number of channels.
        slope: slope of the ReLU below zero.
    """

    def __init__(self, width: int, slope: float = 0.0) -> None:
        super().__init__()
        self.slope = slope
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        inner = convolve(self.first, F.leaky_relu(x, self.slope), 1)
        return x + convolve(self.second, F.leaky_relu(inner, self.slope, inplace=True), 1)


@torch.no_grad()
def start_small(blocks: nn.Module) -> None:
    """Scale the second convolutions of residual blocks, so that a deep network starts shallow."""
    for block in blocks.modules():
        if isinstance(block, ResidualBlock):
            block.second.weight.mul_(0.3)


class ResidualNetwork(CouplingNetwork):
    """Conv 3×3, residual blocks of two 3×3 convolutions, ReLU, conv 3×3 (zero-initialised).

    The blocks are those of He et al. 2016 (arXiv 1603.05027, pre-activation) without
    normalisation, as in RealNVP's subnets (Dinh et al. 2017, section 3.7). The second convolution
    of each block starts at a small scale, so that a deep network starts near its first layer.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, blocks: int = 2) -> None:
        super().__init__()
        if blocks < 1:
            raise ValueError(f"blocks is {blocks}; use at least 1")
        self.entry = nn.Conv2d(in_channels, width, 3, padding=1)
        self.blocks = nn.Sequential(*(ResidualBlock(width) for _ in range(blocks)))
        self.exit = nn.Conv2d(width, out_channels, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias) if layer.bias is not None else None
        start_small(self)
        nn.init.zeros_(self.exit.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.blocks(convolve(self.entry, self._enter(x), 1))
        return convolve(self.exit, F.relu(h), 1).to(x.dtype)


class PointwiseNetwork(CouplingNetwork):
    """Conv 1×1, residual blocks of two 1×1 convolutions, ReLU, conv 1×1: each place by itself.

    Args:
        in_channels, out_channels, width: channels of the input, the output and between.
        blocks: number of residual blocks, from 0.
        zero: whether the last convolution starts at zero.
    """

    def __init__(
        self, in_channels: int, out_channels: int, width: int, blocks: int, *, zero: bool = True
    ) -> None:
        super().__init__()
        self.entry = nn.Conv2d(in_channels, width, 1)
        self.inner = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2 * blocks))
        self.exit = nn.Conv2d(width, out_channels, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias) if layer.bias is not None else None
        with torch.no_grad():
            # A deep network starts near its first layer.
            for layer in list(self.inner)[1::2]:
                layer.weight.mul_(0.3)  # type: ignore[operator]
        if zero:
            nn.init.zeros_(self.exit.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = _pointwise(self.entry, self._enter(x))
        layers = [layer for layer in self.inner if isinstance(layer, nn.Conv2d)]
        for first, second in zip(layers[::2], layers[1::2], strict=True):
            h = h + _pointwise(second, F.relu(_pointwise(first, F.relu(h))))
        return _pointwise(self.exit, F.relu(h)).to(x.dtype)


def _pointwise(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 1×1 convolution as a product of matrices, in the type of ``x``."""
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return F.linear(x.movedim(1, 3), layer.weight[:, :, 0, 0].to(x.dtype), bias).movedim(3, 1)


NETWORKS: dict[str, type[PlainNetwork] | type[ActNormNetwork]] = {
    "plain": PlainNetwork,
    "actnorm": ActNormNetwork,
}


def set_network_dtype(module: nn.Module, dtype: torch.dtype | None) -> None:
    """Make every subnet in ``module`` compute in ``dtype``; None is the state's type."""
    for part in module.modules():
        if isinstance(part, CouplingNetwork):
            part.compute_dtype = dtype
