"""A small network that finds dust, hairs, scratches and stamps in a picture."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import initialise_he

PRESETS: dict[str, dict[str, Any]] = {"default": {}}

_DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)


class DamageDetector(nn.Module):
    """Residual dilated 3×3 convolutions at half of the size.

    Damage is told from what was photographed by its context: a scratch goes on where objects end.
    The dilations give each pixel a context of about 190 pixels.

    Args:
        width: number of channels.

    Raises:
        ValueError: ``width`` is below 4.
    """

    channels = 3
    size_multiple = 2

    def __init__(self, *, width: int = 48) -> None:
        super().__init__()
        if width < 4:
            raise ValueError(f"width is {width}; use at least 4")
        self.first = nn.Conv2d(12, width, 3, padding=1)
        self.middle = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
            for dilation in _DILATIONS
        )
        self.last = nn.Conv2d(width, 4, 3, padding=1)
        initialise_he(self)
        # Otherwise the sum of nine layers would start with a variance 2^9 times too large.
        for name, parameter in self.middle.named_parameters():
            if name.endswith("weight"):
                nn.init.normal_(parameter, 0.0, 0.02)
        # Damage is rare: the first guess is a probability of about 2 %.
        self.last.weight.data.zero_()
        assert self.last.bias is not None
        self.last.bias.data.fill_(-4.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logit of damage for every pixel.

        Args:
            x: ``B 3 H W`` in [0, 1], H and W even.

        Returns:
            ``B 1 H W``.
        """
        h = self.first(F.pixel_unshuffle(x - 0.5, 2))
        for layer in self.middle:
            h = h + layer(F.relu(h))
        logits: Tensor = F.pixel_shuffle(self.last(F.relu(h)), 2)
        return logits
