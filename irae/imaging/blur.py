"""Gaussian blurs of a batch with a standard deviation for each picture."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_kernels(sigma: Tensor, radius: int) -> Tensor:
    """Return kernels ``B 2·radius+1`` of sum 1 with ``sigma`` in pixels, ``B``."""
    along = torch.arange(-radius, radius + 1, device=sigma.device, dtype=torch.float32)
    # A sigma of 0 gives a kernel of one pixel.
    kernels = torch.exp(-0.5 * (along / sigma.float().clamp(min=1e-3)[:, None]).square())
    return kernels / kernels.sum(1, keepdim=True)


def gaussian_blur(pictures: Tensor, sigma: Tensor, *, largest: float) -> Tensor:
    """Blur each picture by its own Gaussian, with reflected borders.

    Args:
        pictures: float ``B C H W``.
        sigma: standard deviation of each in pixels, ``B``; 0 leaves the picture unchanged.
        largest: upper bound of ``sigma``; the kernels reach three times as far.
    """
    batch, channels, height, width = pictures.shape
    radius = min(math.ceil(3 * largest), min(height, width) - 1)
    kernels = gaussian_kernels(sigma, radius).repeat_interleave(channels, 0)[:, None]
    x = pictures.reshape(1, batch * channels, height, width)
    for kernel, padding in (
        (kernels[:, :, :, None], (0, 0, radius, radius)),
        (kernels[:, :, None, :], (radius, radius, 0, 0)),
    ):
        x = F.conv2d(F.pad(x, padding, mode="reflect"), kernel, groups=batch * channels)
    return x.reshape(pictures.shape)


def blurred_noise(noise: Tensor, sigma: Tensor, *, largest: float) -> Tensor:
    """Blur white noise of variance 1 by `gaussian_blur`, and scale it to variance 1 again."""
    radius = min(math.ceil(3 * largest), min(noise.shape[2:]) - 1)
    power = gaussian_kernels(sigma, radius).square().sum(1)  # For one axis; for both it is squared.
    return gaussian_blur(noise, sigma, largest=largest) / power[:, None, None, None]
