"""The size of pictures as lossless files, a simple measure of their complexity."""

from __future__ import annotations

import io
from typing import Any

import torch
from PIL import Image
from torch import Tensor

_FORMATS: dict[str, dict[str, Any]] = {
    "png": {"format": "PNG", "optimize": True},
    "webp": {"format": "WEBP", "lossless": True, "quality": 100, "method": 4},
}
COMPRESSORS = tuple(_FORMATS)
"""The formats whose sizes are measured."""


def compressed_bits_per_dim(pictures: Tensor, kind: str) -> Tensor:
    """Return the bits of lossless files, with their headers, by number of the picture.

    Args:
        pictures: uint8 ``N C H W``, C 1 or 3.
        kind: ``png`` or ``webp``.

    Returns:
        float32 ``N``.
    """
    options, dimensions = _FORMATS[kind], pictures[0].numel() if len(pictures) else 1
    sizes = []
    for picture in pictures.cpu():
        pixels = picture[0] if len(picture) == 1 else picture.permute(1, 2, 0)
        buffer = io.BytesIO()
        Image.fromarray(pixels.contiguous().numpy()).save(buffer, **options)
        sizes.append(8 * buffer.tell() / dimensions)
    return torch.tensor(sizes)
