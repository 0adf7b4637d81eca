"""DnCNN: a plain convolutional network that predicts the noise.

Zhang, Zuo, Chen, Meng and Zhang, "Beyond a Gaussian denoiser: residual learning of deep CNN for
image denoising", IEEE TIP 2017 (arXiv 1608.03981), section III.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from irae.models.networks.base import Baseline, ConvStack, initialise_he

PRESETS: dict[str, dict[str, Any]] = {
    # Section IV: the blind networks (DnCNN-B, CDnCNN-B, DnCNN-3) have 20 layers.
    "default": {"channels": 3, "layers": 20},
    "gray": {"channels": 1, "layers": 20},
    # As in the published code of IRAE (arXiv 2009.03173): 40 layers between first and last.
    "irae": {"channels": 3, "layers": 42},
}


class DnCNN(Baseline):
    """``restored = x - noise(x)``; convolution, batch normalisation and ReLU throughout.

    CDnCNN-B, DnCNN-B and DnCNN-3 are this network with 20 layers, trained blindly on noise in
    colour, noise in gray, and noise, downscaling and JPEG in gray. Weights are initialised as by
    He et al. (section IV).

    Args:
        channels: 3 for colour, 1 for gray.
        width: number of channels of the hidden layers.
        layers: total number of convolutions.
        batch_norm: False for weights whose normalisation was merged into the convolutions.
    """

    def __init__(
        self,
        *,
        channels: Literal[1, 3] = 3,
        width: int = 64,
        layers: int = 20,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.body = ConvStack(channels, channels, width, layers, batch_norm)
        initialise_he(self)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map degraded ``B C H W`` in [0, 1] to restored, of the same shape, not clipped."""
        noise: Tensor = self.body(x)
        return x - noise
