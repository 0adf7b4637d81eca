"""Simulation of a camera: sensor noise on a Bayer mosaic, demosaicing, gamma.

The noise of real photographs is not white: it depends on the light, is correlated between
neighbours because two thirds of each pixel are interpolated, and between channels because of white
balance. The model is that of Foi et al. 2008 (shot and read noise) with the ranges that Brooks et
al. 2019 (arXiv 1811.11127) measured on phones.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.runtime import constant

_TRIANGLE = ((1, 2, 1), (2, 4, 2), (1, 2, 1))


@dataclass(frozen=True)
class Sensor:
    """Parameters of the camera for each picture of a batch; every tensor is ``B``.

    Attributes:
        shot: variance of the noise per unit of light.
        read: variance of the noise in the dark.
        red, blue: gains of the white balance; that of green is 1.
        exposure: share of the sensor's range that white fills.
        row, column: offset of the picture in the mosaic, 0 or 1.
        edge_aware: whether demosaicing follows edges; it is bilinear otherwise.
    """

    shot: Tensor
    read: Tensor
    red: Tensor
    blue: Tensor
    exposure: Tensor
    row: Tensor
    column: Tensor
    edge_aware: Tensor

    def rows(self, index: Tensor) -> Sensor:
        """Select the parameters of some pictures."""
        return Sensor(*(getattr(self, field.name)[index] for field in fields(self)))


def srgb_to_linear(x: Tensor) -> Tensor:
    """Undo the sRGB curve (IEC 61966-2-1); values in [0, 1]."""
    return torch.where(x <= 0.04045, x / 12.92, ((x.clamp(min=0) + 0.055) / 1.055) ** 2.4)


def linear_to_srgb(x: Tensor) -> Tensor:
    """Apply the sRGB curve; values in [0, 1]."""
    curved = 1.055 * x.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(x <= 0.0031308, x * 12.92, curved)


def photograph(clean: Tensor, sensor: Sensor, noise: Tensor) -> Tensor:
    """Simulate the pictures that a camera would have taken.

    Args:
        clean: sRGB ``B 3 H W`` in [0, 1], H and W at least 5.
        sensor: parameters of the camera for each picture.
        noise: standard normal numbers ``B 1 H W``, one for each cell of the mosaic.

    Returns:
        sRGB ``B 3 H W``, clipped to [0, 1].
    """
    gains = torch.stack([sensor.red, torch.ones_like(sensor.red), sensor.blue], 1)
    gains = (gains / sensor.exposure[:, None])[:, :, None, None].to(clean)
    light = srgb_to_linear(clean) / gains
    masks = bayer_masks(sensor.row, sensor.column, *clean.shape[2:]).to(clean)
    raw = (light * masks).sum(1, keepdim=True)
    shot, read = (v.to(clean)[:, None, None, None] for v in (sensor.shot, sensor.read))
    raw = raw + noise * (shot * raw.clamp(min=0) + read).sqrt()
    aware = sensor.edge_aware.to(clean.device)[:, None, None, None]
    developed = torch.where(aware, demosaic_by_edges(raw, masks), demosaic(raw, masks))
    return linear_to_srgb((developed * gains).clamp(0, 1))


def bayer_masks(row: Tensor, column: Tensor, height: int, width: int) -> Tensor:
    """Mark the mosaic's cells of red, green and blue: 0 or 1, ``B 3 height width``.

    Args:
        row, column: offset of each picture in the mosaic, 0 or 1, ``B``. At (0, 0) the pattern is
            RGGB.
        height, width: size in pixels.
    """
    down = (torch.arange(height, device=row.device)[None] + row[:, None]) % 2
    across = (torch.arange(width, device=row.device)[None] + column[:, None]) % 2
    red = (1 - down)[:, :, None] * (1 - across)[:, None, :]
    blue = down[:, :, None] * across[:, None, :]
    return torch.stack([red, 1 - red - blue, blue], 1)


def demosaic(raw: Tensor, masks: Tensor) -> Tensor:
    """Demosaic bilinearly: each colour is the mean of its nearest cells.

    Args:
        raw: the mosaic ``B 1 H W``.
        masks: masks from `bayer_masks`.

    Returns:
        ``B 3 H W``.
    """
    kernel = constant(_TRIANGLE, raw)
    return _spread(raw * masks, masks, kernel)


def demosaic_by_edges(raw: Tensor, masks: Tensor) -> Tensor:
    """Demosaic along edges (Hamilton and Adams, US patent 5,629,734).

    Green is interpolated first, in the direction that changes less; then red and blue by their
    differences from green. Arguments and result are those of `demosaic`.
    """
    padded = F.pad(raw, (2, 2, 2, 2), mode="reflect")
    height, width = raw.shape[2:]

    def at(down: int, right: int) -> Tensor:
        return padded[:, :, 2 + down : 2 + down + height, 2 + right : 2 + right + width]

    bend_across = 2 * raw - at(0, -2) - at(0, 2)
    bend_down = 2 * raw - at(-2, 0) - at(2, 0)
    across = (at(0, -1) - at(0, 1)).abs() + bend_across.abs()
    down = (at(-1, 0) - at(1, 0)).abs() + bend_down.abs()
    guess = torch.where(
        across < down,
        (at(0, -1) + at(0, 1)) / 2 + bend_across / 4,
        (at(-1, 0) + at(1, 0)) / 2 + bend_down / 4,
    )
    green = torch.where(masks[:, 1:2] > 0, raw, guess)
    kernel = constant(_TRIANGLE, raw)
    others = masks[:, ::2]
    red, blue = (green + _spread((raw - green) * others, others, kernel)).chunk(2, 1)
    return torch.cat([red, green, blue], 1)


def _spread(values: Tensor, masks: Tensor, kernel: Tensor) -> Tensor:
    """Interpolate masked values: the weighted mean of those around every pixel."""
    channels = values.shape[1]
    weights = kernel.expand(channels, 1, 3, 3)
    total = F.conv2d(values, weights, padding=1, groups=channels)
    found: Tensor = total / F.conv2d(masks, weights, padding=1, groups=channels)
    return torch.where(masks > 0, values, found)
