"""The damage of training patches, as a network is told it: the truth with the errors of measuring.

A network that is told the damage gets what `irae.imaging.analysis.damage` measures in a whole
picture. A patch is too small to be measured so, but its damage is known. So it is told the truth,
made inexact at random as measurements are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from irae.imaging.analysis.damage import encode_damage
from irae.runtime import constant, upload
from irae.tasks.batch_random import RandomColumns

# Standard deviations of the errors of measured codes, found by ``scripts/fit_damage.py``; a share
# of the errors is larger by a factor, and the others are smaller.
_ERRORS = (0.07, 0.045, 0.04)
_WILD_SHARE, _WILD, _TAME = 0.15, 2.5, 0.8

# A sum of so many uniform numbers in [-1, 1) is nearly normal, with a standard deviation of 1.
_UNIFORM = 3


def residual_noise(degraded: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Measure the true level in 8-bit units and correlation of the noise of ``B C H W``: ``B``."""
    off = 255 * (degraded - clean)
    off = off - off.mean((2, 3), keepdim=True)
    power = off.square().mean((1, 2, 3)).clamp(min=1e-4)
    along = (off[..., 1:] * off[..., :-1]).mean((1, 2, 3))
    down = (off[:, :, 1:] * off[:, :, :-1]).mean((1, 2, 3))
    return power.sqrt(), ((along + down) / 2 / power).clamp(0, 0.95)


def true_codes(degraded: Tensor, clean: Tensor, noisy: Tensor, quality: Tensor) -> Tensor:
    """Encode the true damage of patches, ``B CODES`` on their device.

    Args:
        degraded, clean: ``B C H W``.
        noisy: bool ``B`` in host memory, whether what was lost is noise. Otherwise it is what JPEG
            took.
        quality: JPEG quality ``B`` in host memory, 100 without JPEG.
    """
    sigma, correlation = residual_noise(degraded, clean)
    is_noise = upload(noisy.to(sigma.dtype), sigma.device)
    return encode_damage(
        sigma * is_noise, correlation * is_noise, upload(quality.to(sigma.dtype), sigma.device)
    )


def with_errors(codes: Tensor, random: RandomColumns) -> Tensor:
    """Make codes ``B CODES`` inexact, as measured ones are."""
    normal = torch.stack(
        [sum((random.uniform(-1, 1) for _ in range(_UNIFORM)), torch.zeros(())) for _ in _ERRORS], 1
    )
    size = torch.where(random.bernoulli(_WILD_SHARE), _WILD, _TAME)[:, None]
    return codes + upload((normal * size).float(), codes.device) * constant(_ERRORS, codes)
