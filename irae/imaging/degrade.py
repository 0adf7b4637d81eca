"""Degradations: noise, JPEG, holes. All randomness comes from the caller's generator."""

from __future__ import annotations

import io
import math
from typing import Literal

import torch
from torch import Generator, Tensor

from irae.errors import UsageError

Subsampling = Literal["4:2:0", "4:4:4"]


def uniform(generator: Generator, low: float = 0.0, high: float = 1.0) -> float:
    """Draw one number from [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def integer(generator: Generator, low: int, high: int) -> int:
    """Draw one integer from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def add_noise(clean: Tensor, sigma: float, generator: Generator, *, clip: bool = False) -> Tensor:
    """Add white Gaussian noise.

    Args:
        clean: float32 ``… C H W`` in [0, 1].
        sigma: standard deviation in 8-bit units, from 0 to 255.
        generator: generator on the device of ``clean``.
        clip: clip to [0, 1] and round to 8 bits, as in a file.

    Raises:
        UsageError: sigma is out of range.
    """
    if not 0 <= sigma <= 255:
        raise UsageError(f"sigma {sigma} is out of range; it is in 8-bit units, 0 to 255")
    noise = torch.randn(clean.shape, generator=generator, dtype=clean.dtype, device=clean.device)
    noisy = clean + noise * (sigma / 255)
    return (noisy.clamp(0, 1) * 255).round() / 255 if clip else noisy


def jpeg_bytes(clean: Tensor, quality: int, *, subsampling: Subsampling = "4:2:0") -> bytes:
    """Encode ``C H W`` (C 1 or 3, [0, 1]) as a JPEG file by Pillow; see `jpeg_compress`."""
    from PIL import Image

    if not 1 <= quality <= 100:
        raise UsageError(f"quality {quality} is out of range; JPEG quality is 1 to 100")
    levels = (clean.clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    array = levels[0].numpy() if levels.shape[0] == 1 else levels.permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def jpeg_compress(clean: Tensor, quality: int, *, subsampling: Subsampling = "4:2:0") -> Tensor:
    """Compress to JPEG with Pillow and decode again.

    Args:
        clean: float32 ``C H W`` in [0, 1], C 1 or 3; rounded to 8 bits first.
        quality: quality on the scale of Pillow and libjpeg, 1 to 100.
        subsampling: subsampling of the chroma; it has no effect on one channel.

    Raises:
        UsageError: the quality is out of range.
    """
    import numpy
    from PIL import Image

    encoded = jpeg_bytes(clean, quality, subsampling=subsampling)
    with Image.open(io.BytesIO(encoded)) as image:
        decoded = torch.from_numpy(numpy.array(image))
    pixels = decoded[None] if decoded.ndim == 2 else decoded.permute(2, 0, 1)
    return pixels.to(clean.device, torch.float32) / 255


def apply_mask(clean: Tensor, mask: Tensor, fill: float = 0.0) -> Tensor:
    """Set the masked region (``mask`` True, ``… 1 H W``) of ``… C H W`` to ``fill``."""
    return torch.where(mask, torch.full_like(clean, fill), clean)


def center_mask(height: int, width: int, side: int) -> Tensor:
    """Make the mask of a centred square hole of ``side`` pixels, bool ``1 H W``.

    Raises:
        UsageError: the hole is empty or larger than the picture.
    """
    return _box(height, width, side, (height - side) // 2, (width - side) // 2)


def box_mask(height: int, width: int, side: int, generator: Generator) -> Tensor:
    """Make the mask of a randomly placed square hole of ``side`` pixels, bool ``1 H W``.

    Raises:
        UsageError: the hole is empty or larger than the picture.
    """
    top = integer(generator, 0, max(height - side, 0))
    return _box(height, width, side, top, integer(generator, 0, max(width - side, 0)))


def _box(height: int, width: int, side: int, top: int, left: int) -> Tensor:
    if not 1 <= side <= min(height, width):
        raise UsageError(f"a hole of {side} pixels does not fit a picture of {width}×{height}")
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, top : top + side, left : left + side] = True
    return mask


def irregular_mask(height: int, width: int, generator: Generator) -> Tensor:
    """Draw a mask of free-form brush strokes, bool ``1 H W``, over about 1 to 60 % of the picture.

    They are random walks of thick lines, similar to Yu et al. 2019 (arXiv 1806.03589, section 4.3),
    and replace irregular mask files in training.
    """
    import numpy
    from PIL import Image, ImageDraw

    size = max(height, width)
    wanted = uniform(generator, 0.01, 0.6) * height * width
    image = Image.new("1", (width, height))
    draw = ImageDraw.Draw(image)
    while True:
        thickness = max(
            1, round(size * math.exp(uniform(generator, math.log(0.01), math.log(0.15))))
        )
        x, y = uniform(generator, 0, width), uniform(generator, 0, height)
        angle = uniform(generator, 0, 2 * math.pi)
        points = [(x, y)]
        for _ in range(integer(generator, 1, 8)):
            angle += uniform(generator, -1.2, 1.2)
            stride = uniform(generator, 0.03, 0.25) * size
            x, y = x + stride * math.cos(angle), y + stride * math.sin(angle)
            points.append((x, y))
        draw.line(points, fill=1, width=thickness, joint="curve")
        radius = thickness / 2
        for x, y in (points[0], points[-1]):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=1)
        mask = torch.from_numpy(numpy.array(image))[None]
        if mask.sum() >= wanted:
            break
    # The last stroke may have covered everything, but some pixels must remain known.
    if mask.all():
        mask[:, : max(1, height // 4)] = False
    return mask
