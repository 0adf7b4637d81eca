"""RED-Net: convolutions, mirrored transposed convolutions, and skip connections between them.

Mao, Shen and Yang, "Image restoration using very deep convolutional encoder-decoder networks with
symmetric skip connections", NIPS 2016 (arXiv 1603.09056), sections 3 and 4.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import Baseline, initialise_he

PRESETS: dict[str, dict[str, Any]] = {"default": {"layers": 30}}  # RED30, section 4


class REDNet(Baseline):
    """Convolutions, then as many transposed ones, with a skip connection at every second layer.

    A skip connection is added before the ReLU, and the input to the last output (section 3).
    Borders are padded by one pixel; the paper does not pad, so its patches shrink in training.

    Args:
        width: number of channels of the hidden layers.
        layers: number of convolutions and transposed convolutions together; even, at least 4.

    Raises:
        ValueError: the number of layers is odd or too small.
    """

    def __init__(self, *, width: int = 64, layers: int = 30) -> None:
        super().__init__()
        if layers < 4 or layers % 2:
            raise ValueError(f"layers is {layers}; use an even number from 4")
        half = layers // 2
        self.encoder = nn.ModuleList(
            nn.Conv2d(width if i else 3, width, 3, padding=1) for i in range(half)
        )
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(width, width if i < half - 1 else 3, 3, padding=1)
            for i in range(half)
        )
        initialise_he(self)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map degraded ``B 3 H W`` in [0, 1] to restored, of the same shape, not clipped."""
        h = x
        passed: list[Tensor | None] = []
        for index, layer in enumerate(self.encoder):
            passed.append(h if index % 2 == 0 else None)
            h = F.relu(layer(h))
        for layer in self.decoder:
            skip = passed.pop()
            h = layer(h)
            if skip is not None:
                h = h + skip
            h = F.relu(h) if passed else h
        return h
