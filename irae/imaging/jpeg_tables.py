"""The quantisation tables of JPEG files, by their quality on the scale of the IJG library."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

# ITU-T T.81 (JPEG), annex K.1: the tables that the quality of the IJG library scales.
LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMA = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
    24, 26, 56, 99, 99, 99, 99, 99, 47, 66, *[99] * 38,
)  # fmt: skip


@cache
def scaled_tables(base: tuple[int, ...]) -> Tensor:
    """Scale a table to every quality: int64 ``100 64``, quality 1 first (jcparam.c of the IJG)."""
    quality = torch.arange(1, 101)[:, None]
    scale = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    return ((torch.tensor(base)[None] * scale + 50) // 100).clamp(1, 255)
