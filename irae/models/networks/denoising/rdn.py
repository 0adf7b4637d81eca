"""RDN: residual dense blocks.

Zhang, Tian, Kong, Zhong and Fu, "Residual dense network for image restoration", IEEE TPAMI 2020
(arXiv 1812.10477), section 3.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import Baseline, initialise_he

PRESETS: dict[str, dict[str, Any]] = {
    # Our smaller form for one GPU or a laptop: 6 blocks of 4 layers that add 32 channels.
    "default": {"blocks": 6, "layers": 4, "growth": 32},
    # Section 5: D = 16 blocks of C = 8 layers, growth rate G = 64.
    "paper": {"blocks": 16, "layers": 8, "growth": 64},
}


class _DenseBlock(nn.Module):
    """Layers that each take all earlier outputs; a 1×1 convolution fuses them, plus the input."""

    def __init__(self, width: int, layers: int, growth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Conv2d(width + i * growth, growth, 3, padding=1) for i in range(layers)
        )
        self.fuse = nn.Conv2d(width + layers * growth, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer in self.layers:
            h = torch.cat((h, F.relu(layer(h))), 1)
        fused: Tensor = self.fuse(h)
        return x + fused


class RDN(Baseline):
    """The paper's form for denoising and JPEG: no change of size, output added to the input.

    Weights are initialised as by He et al.

    Args:
        width: number of channels between blocks.
        blocks: number of blocks, the paper's D.
        layers: number of convolutions in a block, the paper's C.
        growth: number of channels that each of them adds, the paper's G.
    """

    def __init__(
        self, *, width: int = 64, blocks: int = 6, layers: int = 4, growth: int = 32
    ) -> None:
        super().__init__()
        self.shallow1 = nn.Conv2d(3, width, 3, padding=1)
        self.shallow2 = nn.Conv2d(width, width, 3, padding=1)
        self.blocks = nn.ModuleList(_DenseBlock(width, layers, growth) for _ in range(blocks))
        self.fuse1 = nn.Conv2d(width * blocks, width, 1)
        self.fuse2 = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 3, 3, padding=1)
        initialise_he(self)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map degraded ``B 3 H W`` in [0, 1] to restored, of the same shape, not clipped."""
        first = self.shallow1(x)
        h = self.shallow2(first)
        outputs: list[Tensor] = []
        for block in self.blocks:
            h = block(h)
            outputs.append(h)
        h = self.fuse2(self.fuse1(torch.cat(outputs, 1))) + first
        residual: Tensor = self.last(h)
        return x + residual
