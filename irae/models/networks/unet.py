"""U-Net: an encoder and a decoder with skip connections at every size.

Ronneberger, Fischer and Brox, "U-Net: convolutional networks for biomedical image segmentation",
MICCAI 2015 (arXiv 1505.04597), section 2.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import Baseline, initialise_he

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    # The masked region is black, and the mask is the fourth channel.
    "inpaint": {"condition_channels": 1, "hole_fill": 0.0},
}


def _pair(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.ReLU(inplace=True),
    )


class UNet(Baseline):
    """Pairs of 3×3 convolutions, max pooling, 2×2 transposed convolutions, a last 1×1.

    Two things differ from the paper, whose output is a segmentation: borders are padded, so that
    the output is as large as the input, and the output is added to the input. Weights are
    initialised as by He et al. (section 3).

    Args:
        width: number of channels at full size; doubled at every halving.
        depth: number of halvings.
        condition_channels: 1 to take the mask as one more channel.
        hole_fill: value in the masked region of the input; None for a smooth interpolation.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        depth: int = 4,
        condition_channels: Literal[0, 1] = 0,
        hole_fill: float | None = None,
    ) -> None:
        super().__init__()
        self.condition_channels = condition_channels
        self.hole_fill = hole_fill
        self.size_multiple = 2**depth
        widths = [width * 2**level for level in range(depth + 1)]
        inputs = [3 + condition_channels, *widths[:-1]]
        self.down = nn.ModuleList(map(_pair, inputs, widths))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * each, each, 2, stride=2) for each in reversed(widths[:-1])
        )
        self.merge = nn.ModuleList(_pair(2 * each, each) for each in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, 3, 1)
        initialise_he(self)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Restore.

        Args:
            x: ``B 3 H W`` in [0, 1], H and W multiples of ``size_multiple``.
            condition: the mask ``B 1 H W``, 1 in the masked region, if ``condition_channels`` is 1.

        Returns:
            ``B 3 H W``, not clipped.
        """
        h = x
        if self.condition_channels:
            mask = torch.zeros_like(x[:, :1]) if condition is None else condition.to(x)
            h = torch.cat((x, mask), 1)
        seen: list[Tensor] = []
        for level, pair in enumerate(self.down):
            h = pair(F.max_pool2d(h, 2) if level else h)
            seen.append(h)
        seen.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            h = merge(torch.cat((seen.pop(), up(h)), 1))
        residual: Tensor = self.last(h)
        return x + residual
