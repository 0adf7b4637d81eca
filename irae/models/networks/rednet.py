"""RED-Net: convolutions, mirrored transposed convolutions, and skips between the two.

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
    """Half the layers convolve, half undo that; every second one is passed over to its mirror.

    A passed-over feature is added before the ReLU, and the input itself to the last output
    (section 3). Borders are padded by one pixel, where the paper leaves them out and so trains
    on shrinking patches.

    Args:
        width: of the hidden layers.
        layers: convolutions and transposed convolutions together; even, at least 4.

    Raises:
        ValueError: a number of layers that has no two halves.
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
        """Degraded ``B 3 H W`` in [0, 1] to restored, of the same shape, not clipped."""
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
