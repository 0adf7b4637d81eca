"""Maps of each number by itself: the logit of pixels, and a scale for every number."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.bijection import Bijection


class Logit(Bijection):
    """``logit(margin + (1 - 2 margin) x)`` of pixels in [0, 1] (Dinh et al. 2017, section 4.1).

    Pixels outside the interval that has a logit are not in its domain.
    """

    def __init__(self, margin: float = 0.05) -> None:
        super().__init__()
        if not 0 < margin < 0.5:
            raise ValueError(f"margin {margin} must lie between 0 and 0.5")
        self.margin = margin

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.forward_and_log_det(x)[0]

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return (torch.sigmoid(z) - self.margin) / (1 - 2 * self.margin)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        span = 1 - 2 * self.margin
        p = self.margin + span * x
        z = p.log() - (1 - p).log()
        # The slope of the logit is 1 / (p (1 - p)), in terms of z.
        log_slope = F.softplus(z) + F.softplus(-z) + math.log(span)
        return z, log_slope.flatten(1).sum(1)


class ElementScale(Bijection):
    """``z = exp(s) x`` with a learned s for every number of the picture (Dinh et al. 2015, 3.3)."""

    def __init__(self, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels, height, width))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return x * self.log_scale.exp()

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return z * (-self.log_scale).exp()

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self(x), self.log_scale.sum().expand(x.shape[0])
