"""AR-CNN: four convolutions against compression artefacts.

Dong, Deng, Loy and Tang, "Compression artifacts reduction by a deep convolutional network", ICCV
2015 (arXiv 1504.06993), sections 3 and 4.
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from irae.models.networks.base import Baseline

PRESETS: dict[str, dict[str, Any]] = {"default": {"channels": 3}, "gray": {"channels": 1}}


class ARCNN(Baseline):
    """Feature extraction, enhancement, mapping and reconstruction: filters of 9, 7, 1 and 5.

    The paper's network takes luma alone (``channels=1``); ours takes RGB by default. Filters are
    initialised from a Gaussian of standard deviation 0.001 and biases with 0 (section 4).

    Args:
        channels: 3 for colour, 1 for gray.
    """

    def __init__(self, *, channels: Literal[1, 3] = 3) -> None:
        super().__init__()
        self.channels = channels
        self.body = nn.Sequential(
            nn.Conv2d(channels, 64, 9, padding=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 32, 7, padding=3),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 16, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, channels, 5, padding=2),
        )
        for module in self.body:
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.001)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map degraded ``B C H W`` in [0, 1] to restored, of the same shape, not clipped."""
        restored: Tensor = self.body(x)
        return restored
