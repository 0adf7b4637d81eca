"""Which places of a feature map belong to the hole."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

THRESHOLD = 5 / 16
"""Least share of the hole in what a place of the features sees, exclusive."""


def feature_mask(mask: Tensor, halvings: int) -> Tensor:
    """Mark the places of the features that belong to the hole.

    The mask passes through as many 4×4 convolutions of stride 2 as the picture does, whose weights
    are all 1/16, and is then compared with a threshold (Yan et al. 2018, arXiv 1801.09392, section
    3.1, and both published codes, of Shift-Net and of CSA). So a hole that is thin beside the
    features' size leaves their places known.

    Args:
        mask: ``B 1 H W``, 1 in the hole; H and W multiples of ``2 ** halvings``.
        halvings: number of convolutions.

    Returns:
        ``B 1 H/2**halvings W/2**halvings``, 0 or 1.
    """
    share = mask.float()  # Sixteenths of sixteenths, which bfloat16 would round.
    for _ in range(halvings):
        share = F.avg_pool2d(share, 4, stride=2, padding=1)
    return (share > THRESHOLD).to(mask)
