"""Estimating the noise level of a picture from the picture alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from irae.imaging.analysis.dct import BLOCK, cut_patches, dct_matrix, frequency_sums

PATCHES = 20_000
"""Largest number of patches used in each channel, approximately."""

_QUIET_SHARE = 0.01
_LEAST_QUIET = 128
_LEAST_PATCHES = 64

# Frequency bands, by the sum of the two indices of a DCT coefficient: patches are chosen by the
# low band, their remaining texture is estimated in the middle one, the noise in the high one.
_LOW, _MIDDLE, _HIGH = range(1, 5), range(5, 8), range(11, 15)

# Least factor by which the power of texture falls from the middle to the high frequencies.
# Measured on photographs: 3 to 7 in grass, foliage and water; the power of white noise is constant.
_FALL = 3.5


def estimate_noise(pixels: Tensor, visible: Tensor | None = None) -> float | None:
    """Estimate the standard deviation of white noise in a picture, averaged over its channels.

    Of all 8x8 patches, those with the least power in the low frequencies of their DCT are chosen:
    this choice does not bias their high frequencies, where the noise is then measured (Ponomarenko
    et al. 2007). Two additions are ours. Patches within two standard deviations of black or white
    are left out, because their noise is clipped. And the share of texture in the high frequencies
    is subtracted, extrapolated from the middle ones: noise has equal power in both.

    If more than half of the patches have exactly one value, the picture was drawn, not
    photographed, and has no noise.

    Args:
        pixels: float32 ``C H W`` in [0, 1].
        visible: bool ``1 H W``, False for transparent pixels; patches with such a pixel are left
            out.

    Returns:
        Sigma in 8-bit units; None for a picture that is too small (less than 64 patches).

    Source: Ponomarenko, Lukin, Zriakhov, Kaarna and Astola, "An automatic approach to lossy
    compression of AVIRIS images", IGARSS 2007; Colom and Buades, "Analysis and extension of the
    Ponomarenko et al. method", IPOL 2013.
    """
    return _mean_noise((_patches(channel) for channel in pixels), visible)


def _mean_noise(channels: Iterable[Tensor], visible: Tensor | None) -> float | None:
    keep = None if visible is None else _patches(visible[0]).all(dim=1)
    found = [_patch_noise(patches if keep is None else patches[keep]) for patches in channels]
    known = [sigma for sigma in found if sigma is not None]
    # A flat channel (the blue of a red sign) has no information about the others' noise.
    telling = [sigma for sigma in known if sigma > 0] or known
    return sum(telling) / len(telling) if telling else None


def _patches(channel: Tensor) -> Tensor:
    """Cut evenly spaced 8x8 patches of ``H W``, as ``N 64``; none if the picture is smaller."""
    height, width = channel.shape
    if min(height, width) < BLOCK:
        return channel.new_empty(0, BLOCK * BLOCK)
    places = (height - BLOCK + 1) * (width - BLOCK + 1)
    step = max(1, math.isqrt(places // PATCHES))
    return cut_patches(channel, step)


def _patch_noise(patches: Tensor) -> float | None:
    if len(patches) < _LEAST_PATCHES:
        return None
    patches = patches.float() * 255
    lively = patches.amax(dim=1) != patches.amin(dim=1)
    if int(lively.sum()) < max(_LEAST_PATCHES, len(patches) // 2):
        return 0.0
    patches = patches[lively]
    means = patches.mean(dim=1)
    power = (patches @ dct_matrix().T).square()
    low = _band(power, _LOW).mean(dim=1)
    chosen = torch.ones_like(lively[lively])
    sigma = 0.0
    for _ in range(3):
        high, sigma = _quiet_noise(power[chosen], low[chosen])
        whole = (means > 2 * high) & (means < 255 - 2 * high)
        # If too few patches are left, the darkest and lightest are used too.
        if int(whole.sum()) < 2 * _LEAST_QUIET or torch.equal(whole, chosen):
            break
        chosen = whole
    return sigma


def _quiet_noise(power: Tensor, low: Tensor) -> tuple[float, float]:
    """Estimate the standard deviation in the quietest patches, with and without texture."""
    count = max(int(_QUIET_SHARE * len(power)), min(_LEAST_QUIET, len(power)))
    quiet = power[low.topk(count, largest=False, sorted=False).indices].mean(dim=0, keepdim=True)
    high = float(_band(quiet, _HIGH).quantile(0.5))
    middle = float(_band(quiet, _MIDDLE).quantile(0.5))
    noise = min(high, max(0.0, (_FALL * high - middle) / (_FALL - 1)))
    return math.sqrt(high), math.sqrt(noise)


def _band(power: Tensor, sums: range) -> Tensor:
    inside = (frequency_sums() >= sums.start) & (frequency_sums() < sums.stop)
    return power[:, inside]
