"""FFDNet: a denoiser at half resolution that takes the noise level as an input.

Zhang, Zuo and Zhang, "FFDNet: toward a fast and flexible solution for CNN-based image denoising",
IEEE TIP 2018 (arXiv 1710.04026), section III.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from irae.flow.squeeze import depth_to_space, space_to_depth
from irae.models.networks.base import Baseline, ConvStack

PRESETS: dict[str, dict[str, Any]] = {
    # Section III: 12 layers of 96 channels for colour, 15 of 64 for gray.
    "default": {"channels": 3, "width": 96, "layers": 12},
    "gray": {"channels": 1, "width": 64, "layers": 15},
}


class FFDNet(Baseline):
    """Maps four half-size pictures and a map of the noise level to four clean pictures.

    The weights are initialised as orthogonal, so that the map keeps its influence (section III).
    The paper's orthogonality regularisation during training is left out.

    Args:
        channels: 3 for colour, 1 for gray.
        width: number of channels of the hidden layers.
        layers: total number of convolutions.
        batch_norm: False for weights whose normalisation was merged into the convolutions.
    """

    size_multiple = 2
    takes_sigma = True

    def __init__(
        self,
        *,
        channels: Literal[1, 3] = 3,
        width: int = 96,
        layers: int = 12,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.body = ConvStack(4 * channels + 1, 4 * channels, width, layers, batch_norm)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.orthogonal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Denoise.

        Args:
            x: ``B C H W`` in [0, 1], H and W even.
            condition: noise level as a share of the range (sigma / 255), ``B 1 1 1`` or a map
                ``B 1 H W``.

        Returns:
            ``B C H W``, not clipped.

        Raises:
            ValueError: the noise level is missing.
        """
        if condition is None:
            raise ValueError("FFDNet needs the noise level as its condition")
        half = space_to_depth(x)
        level = condition.to(x)
        if level.shape[2:] == x.shape[2:]:
            level = level[..., ::2, ::2]
        level = level.expand(half.shape[0], 1, *half.shape[2:])
        given = torch.cat((half, level), 1).contiguous(memory_format=torch.channels_last)
        clean: Tensor = self.body(given)
        return depth_to_space(clean)
