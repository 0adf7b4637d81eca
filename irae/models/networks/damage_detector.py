"""A small network that finds dust, hairs, scratches and stamps in a picture."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import initialise_he

PRESETS: dict[str, dict[str, Any]] = {"default": {}}

_TIMES = (1.0, 1.5, 2.0, 3.0)  # Channels of the levels, as multiples of the first.


class _Block(nn.Sequential):
    """Two 3×3 convolutions, each with batch normalisation and a ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
        )


class DamageDetector(nn.Module):
    """A U-Net (Ronneberger et al. 2015, arXiv 1505.04597) of four levels, from half of the size.

    Damage is told from what was photographed by its context: a scratch goes on where objects end,
    and specks of one brightness lie on everything. The coarsest level sees 1/16 of the size.

    Args:
        width: number of channels of the finest level.

    Raises:
        ValueError: ``width`` is below 4.
    """

    channels = 3
    size_multiple = 16

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        if width < 4:
            raise ValueError(f"width is {width}; use at least 4")
        widths = [round(width * times) for times in _TIMES]
        self.down = nn.ModuleList(
            _Block(before, after) for before, after in zip([12, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            _Block(fine + coarse, fine)
            for fine, coarse in zip(widths[-2::-1], widths[:0:-1], strict=True)
        )
        self.last = nn.Conv2d(widths[0], 4, 3, padding=1)
        initialise_he(self)
        # Damage is rare: the first guess is a probability of about 2 %.
        self.last.weight.data.zero_()
        assert self.last.bias is not None
        self.last.bias.data.fill_(-4.0)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the logit of damage for every pixel.

        Args:
            x: ``B 3 H W`` in [0, 1], H and W multiples of 16.
            condition: there is none.

        Returns:
            ``B 1 H W``.
        """
        del condition
        h = F.pixel_unshuffle(x - 0.5, 2)
        levels: list[Tensor] = []
        for block in self.down:
            h = block(h if not levels else F.max_pool2d(h, 2))
            levels.append(h)
        for block, fine in zip(self.up, levels[-2::-1], strict=True):
            h = block(torch.cat([fine, F.interpolate(h, scale_factor=2.0)], 1))
        logits: Tensor = F.pixel_shuffle(self.last(h), 2)
        return logits
