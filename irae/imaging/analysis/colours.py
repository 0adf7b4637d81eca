"""Pictures of few colours, such as sprites and dithered drawings."""

from __future__ import annotations

import torch
from torch import Tensor

FEW = 16
"""Largest number of colours that are few: noise and JPEG make more, even of a plain ground."""

_SAMPLE = 4096


def has_few_colours(pixels: Tensor) -> bool:
    """Whether a picture ``C H W`` in [0, 1] has at most `FEW` colours, as levels of 16 bits."""
    levels = (pixels * 65535).round().long().flatten(1)
    places = 65536 ** torch.arange(len(levels), device=levels.device)
    colours = (levels * places[:, None]).sum(0)
    sample = colours[:: max(1, len(colours) // _SAMPLE)]
    return len(torch.unique(sample)) <= FEW and len(torch.unique(colours)) <= FEW
