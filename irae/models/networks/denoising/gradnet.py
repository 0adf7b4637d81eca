"""GradNet: a denoiser that is shown the gradient of the noisy picture.

Liu, Anwar, Zheng and Tian, "GradNet image denoising", CVPR workshops 2020.

As in the published code: width 64, four units of four residual blocks, what each unit joins and
its channel attention, the magnitude of Sobel's derivatives of each channel, and the weight of the
gradient loss. Different:

- The gradient is that of the noisy picture, as in the published code; the paper also takes it of a
  picture that another network has denoised.
- Pixels beyond the border repeat the border, in place of zeros, which would be an edge.
- Batch normalisations start from a scale of 1.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import Baseline, initialise_he
from irae.runtime import constant

PRESETS: dict[str, dict[str, Any]] = {"default": {}}

GRADIENT_WEIGHT = 0.1
"""Weight of the gradient consistency loss."""

_REDUCTION = 16
_SLOPE = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))


def sobel(x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the horizontal and the vertical Sobel derivative of every channel.

    Args:
        x: ``B C H W``.

    Returns:
        Two tensors ``B C H W``; pixels beyond the border repeat the border.
    """
    channels = x.shape[1]
    kernel = constant(_SLOPE, x).expand(channels, 1, 3, 3)
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    return (
        F.conv2d(padded, kernel, groups=channels),
        F.conv2d(padded, kernel.transpose(2, 3), groups=channels),
    )


class _Block(nn.Module):
    """A residual block: convolution, normalisation, ReLU, convolution, sum, ReLU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(F.relu(self.norm(self.first(x)))))


class _ChannelAttention(nn.Module):
    """Scale each channel by a function of all channels' means (Zhang et al. 2018, RCAN)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(width, max(1, width // _REDUCTION), 1)
        self.excite = nn.Conv2d(max(1, width // _REDUCTION), width, 1)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(means))))


class _Unit(nn.Module):
    """Residual blocks, whose result and input are merged by a convolution and attention."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(blocks)))
        self.merge = nn.Conv2d(2 * width, width, 3, padding=1)
        self.attention = _ChannelAttention(width)

    def forward(self, x: Tensor) -> Tensor:
        merged: Tensor = self.attention(self.merge(torch.cat((x, self.blocks(x)), 1)))
        return merged


class GradNet(Baseline):
    """The paper's network; the gradient joins the features of the first convolution.

    Args:
        width: number of channels after the first convolution; the gradient adds three.
        units: number of units.
        blocks: number of residual blocks in each unit.

    Raises:
        ValueError: there is no unit or no block.
    """

    def __init__(self, *, width: int = 64, units: int = 4, blocks: int = 4) -> None:
        super().__init__()
        if units < 1 or blocks < 1:
            raise ValueError(f"units is {units} and blocks is {blocks}; use at least 1 of each")
        self.first = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.units = nn.Sequential(*(_Unit(width + 3, blocks) for _ in range(units)))
        self.last = nn.Conv2d(width + 3, 3, 3, padding=1, bias=False)
        initialise_he(self)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Denoise.

        Args:
            x: ``B 3 H W`` in [0, 1].
            condition: not used.

        Returns:
            ``B 3 H W``, not clipped.
        """
        horizontal, vertical = sobel(x)
        # The small constant keeps the gradient of the root finite where the picture is flat.
        magnitude = torch.sqrt(horizontal * horizontal + vertical * vertical + 1e-12)
        h = torch.cat((F.relu(self.first(x)), magnitude.to(x)), 1)
        restored: Tensor = self.last(h + self.units(h))
        return restored

    def forward_with_loss(
        self, x: Tensor, condition: Tensor | None, clean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Denoise, and compare the gradients of the results with those of the clean pictures."""
        restored = self(x)
        horizontal, vertical = map(F.l1_loss, sobel(restored.float()), sobel(clean))
        return restored, GRADIENT_WEIGHT * (horizontal + vertical)
