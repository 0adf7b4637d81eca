"""Error maps: pictures of an error per pixel, on a logarithmic scale with a legend."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw
from torch import Tensor

DECADES = (-6, 1)
"""Powers of ten of an 8-bit unit at the ends of the scale, whose colours clip other values."""

# Viridis: from dark to light in even steps of lightness, so that it is also correct in gray.
_COLOURS = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)]
_BAR, _TEXT = 14, 16


def draw_error_map(difference: Tensor) -> Image.Image:
    """Draw the largest error of each pixel's channels as a colour, above a legend.

    Args:
        difference: ``C H W`` in units of [0, 1], of either sign.
    """
    error = difference.abs().amax(dim=0).double() * 255
    low, high = DECADES
    place = (torch.log10(error.clamp(min=10.0**low)) - low) / (high - low)
    raster = Image.fromarray(_coloured(place.clamp(0, 1).numpy()))
    width = max(raster.width, 60 * (high - low))
    page = Image.new("RGB", (width, raster.height + _BAR + 2 * _TEXT), "white")
    page.paste(raster, (0, 0))
    bar = np.broadcast_to(np.linspace(0, 1, width), (_BAR, width))
    page.paste(Image.fromarray(_coloured(bar)), (0, raster.height))
    draw = ImageDraw.Draw(page)
    for power in range(low, high + 1):
        x = round((power - low) / (high - low) * (width - 1))
        anchor = "la" if power == low else "ra" if power == high else "ma"
        draw.text((x, raster.height + _BAR + 1), f"1e{power}", "black", anchor=anchor)
    largest, rms = float(error.max()), math.sqrt(float(difference.double().square().mean())) * 255
    caption = f"round-trip error, 8-bit units: largest {largest:.2g}, RMS {rms:.2g}"
    draw.text((2, raster.height + _BAR + _TEXT), caption, "black")
    return page


def _coloured(place: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    stops = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(place, stops, [c[k] for c in _COLOURS]) for k in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)
