"""The 8x8 discrete cosine transform of JPEG on flattened blocks."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

BLOCK = 8
"""Side of a block in pixels."""


@cache
def dct_matrix() -> Tensor:
    """Return the orthonormal two-dimensional DCT-II as float32 ``64 64``.

    It maps a block flattened row by row to its coefficients, row frequency first.
    """
    frequency = torch.arange(BLOCK, dtype=torch.float64)[:, None]
    place = torch.arange(BLOCK, dtype=torch.float64)[None]
    line = torch.cos((2 * place + 1) * frequency * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    line[0] /= math.sqrt(2)
    return torch.kron(line, line).float()


@cache
def frequency_sums() -> Tensor:
    """Return the sum of row and column frequency of each coefficient: ``64``, from 0 to 14."""
    index = torch.arange(BLOCK)
    return (index[:, None] + index[None]).flatten()


def cut_patches(plane: Tensor, stride: int) -> Tensor:
    """Cut patches of `BLOCK` rows and columns out of ``H W``, ``stride`` pixels apart: ``N 64``."""
    return plane.unfold(0, BLOCK, stride).unfold(1, BLOCK, stride).reshape(-1, BLOCK * BLOCK)
