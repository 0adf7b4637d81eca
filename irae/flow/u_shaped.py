"""A U-shaped subnet for couplings that must see far, such as those that fill large holes."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.subnets import CouplingNetwork, ResidualBlock, convolve, convolve_part, start_small

_SLOPE = 0.1


def _rectified(x: Tensor) -> Tensor:
    """Apply the leaky ReLU, in place: coarse features have few places, where units die easily."""
    return F.leaky_relu(x, _SLOPE, inplace=True)


class UShapedNetwork(CouplingNetwork):
    """The stream through a small U-Net: down by strides of 2, residual blocks, up again.

    On the way up, features of the coarser scale are enlarged by nearest neighbours and added to
    those of the way down. The last convolution starts at zero.

    Args:
        width: number of channels of a stream.
        scales: number of channels of each scale, that of the stream first; at least two. A stream's
            height and width are multiples of 2 to the power of their number less one.
        blocks: number of residual blocks at the coarsest scale.

    Raises:
        ValueError: there are fewer than two scales, or a scale without channels.
    """

    def __init__(self, width: int, scales: Sequence[int], blocks: int = 1) -> None:
        super().__init__()
        if len(scales) < 2 or min(scales) < 1:
            raise ValueError(f"scales {list(scales)}: give at least two numbers of channels")
        pairs = list(zip(scales, scales[1:], strict=False))
        self.entry = nn.Conv2d(width, scales[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairs)
        self.blocks = nn.ModuleList(ResidualBlock(scales[-1], _SLOPE) for _ in range(blocks))
        self.up = nn.ModuleList(_Up(b, a) for a, b in reversed(pairs))
        self.exit = nn.Conv2d(scales[0], width, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, a=_SLOPE, nonlinearity="leaky_relu")
                nn.init.zeros_(layer.bias) if layer.bias is not None else None
        start_small(self)
        nn.init.zeros_(self.exit.weight)

    def forward(self, x: Tensor, outputs: int | None = None) -> Tensor:
        """Compute the shift of the other stream.

        Args:
            x: ``B C H W``, the first channels of a stream; the others count as zero.
            outputs: number of channels of the shift to compute; all if None.

        Returns:
            ``B outputs H W`` in the type of ``x``.
        """
        h = convolve_part(self.entry, self._enter(x))
        passed = []
        for layer in self.down:
            assert isinstance(layer, nn.Conv2d)
            # The skip takes what is behind the rectifier, so that one tensor serves both.
            h = _rectified(h)
            passed.append(h)
            h = convolve(layer, h, 1, stride=2)
        for module in (*self.blocks, *self.up):
            h = module(h, passed.pop()) if isinstance(module, _Up) else module(h)
        return convolve_part(self.exit, _rectified(h), outputs).to(x.dtype)


class _Up(nn.Module):
    """Features of a coarser scale, enlarged and added to those of the way down, then refined."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.enlarge = nn.Conv2d(coarse, fine, 1)
        self.refine = nn.Conv2d(fine, fine, 3, padding=1)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        small = convolve(self.enlarge, _rectified(x), 0)
        # In place: these are the largest tensors of the network.
        h = F.interpolate(small, scale_factor=2.0, mode="nearest").add_(skip)
        return convolve(self.refine, F.leaky_relu(h, _SLOPE), 1).add_(h)
