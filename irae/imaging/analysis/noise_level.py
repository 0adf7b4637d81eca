"""How strong the noise of a picture is, told from the picture alone."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from irae.imaging.analysis.dct import BLOCK, dct_matrix, frequency_sums

PATCHES = 20_000
"""Patches looked at in each channel, however large the picture is."""

_QUIET_SHARE = 0.01
_LEAST_QUIET = 128
_LEAST_PATCHES = 64

# By the sum of the two indices of a DCT coefficient: what a patch is chosen by, what tells how
# much texture it has all the same, and what the noise is measured on.
_LOW, _MIDDLE, _HIGH = range(1, 5), range(5, 8), range(11, 15)

# By how much the power of texture falls from the middle to the high frequencies, at the least.
# Measured on photographs: 3 to 7 in grass, foliage and water; that of white noise stays.
_FALL = 3.5


def estimate_noise(pixels: Tensor, visible: Tensor | None = None) -> float | None:
    """The standard deviation of white noise in a picture, the mean over its channels.

    Of all 8x8 patches, those with the least power in the low frequencies of their DCT are taken:
    choosing them so says nothing about their high frequencies, where the noise is then measured
    (Ponomarenko et al. 2007). Two things are ours. Patches within two deviations of black or
    white are left out, since their noise is cut off. And the share of texture in the high
    frequencies is taken off, as extrapolated from the middle ones: noise has equal power in both.

    A picture of which more than half is of exactly one value around each pixel was drawn, not
    photographed, and has no noise.

    Args:
        pixels: float32 ``C H W`` in [0, 1].
        visible: bool ``1 H W``, False where a picture's pixels mean nothing; patches with such
            a pixel are left out.

    Returns:
        Sigma in 8-bit units; none for a picture too small to tell (less than 64 patches).

    Source: Ponomarenko, Lukin, Zriakhov, Kaarna and Astola, "An automatic approach to lossy
    compression of AVIRIS images", IGARSS 2007; Colom and Buades, "Analysis and extension of the
    Ponomarenko et al. method", IPOL 2013.
    """
    return _mean_noise((_patches(channel) for channel in pixels), visible)


def estimate_colour_noise(pixels: Tensor, visible: Tensor | None = None) -> float | None:
    """As `estimate_noise`, of the noise that red and blue do not share with green.

    It is all of the noise where that is independent in each channel, and none where the channels
    are equal or the chroma was subsampled.

    Args:
        pixels: float32 ``3 H W`` in [0, 1].
        visible: as in `estimate_noise`.
    """
    green = _patches(pixels[1])
    # Halved and moved so that a difference lies in [0, 1]; its deviation is sqrt(2) / 2 of one's.
    differences = ((_patches(pixels[channel]) - green + 1) / 2 for channel in (0, 2))
    sigma = _mean_noise(differences, visible)
    return None if sigma is None else sigma * math.sqrt(2)


def _mean_noise(channels: Iterable[Tensor], visible: Tensor | None) -> float | None:
    keep = None if visible is None else _patches(visible[0]).all(dim=1)
    found = [_patch_noise(patches if keep is None else patches[keep]) for patches in channels]
    known = [sigma for sigma in found if sigma is not None]
    # A channel that is flat (the blue of a red sign) says nothing about the others' noise.
    telling = [sigma for sigma in known if sigma > 0] or known
    return sum(telling) / len(telling) if telling else None


def _patches(channel: Tensor) -> Tensor:
    """8x8 patches of ``H W`` from all over it, as ``N 64``; none of a smaller picture."""
    height, width = channel.shape
    if min(height, width) < BLOCK:
        return channel.new_empty(0, BLOCK * BLOCK)
    places = (height - BLOCK + 1) * (width - BLOCK + 1)
    step = max(1, math.isqrt(places // PATCHES))
    return channel.unfold(0, BLOCK, step).unfold(1, BLOCK, step).reshape(-1, BLOCK * BLOCK)


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
        # With too few left the darkest and lightest have to do.
        if int(whole.sum()) < 2 * _LEAST_QUIET or torch.equal(whole, chosen):
            break
        chosen = whole
    return sigma


def _quiet_noise(power: Tensor, low: Tensor) -> tuple[float, float]:
    """Deviation in the high frequencies of the quietest patches, with and without texture."""
    count = max(int(_QUIET_SHARE * len(power)), min(_LEAST_QUIET, len(power)))
    quiet = power[low.topk(count, largest=False, sorted=False).indices].mean(dim=0, keepdim=True)
    high = float(_band(quiet, _HIGH).quantile(0.5))
    middle = float(_band(quiet, _MIDDLE).quantile(0.5))
    noise = min(high, max(0.0, (_FALL * high - middle) / (_FALL - 1)))
    return math.sqrt(high), math.sqrt(noise)


def _band(power: Tensor, sums: range) -> Tensor:
    inside = (frequency_sums() >= sums.start) & (frequency_sums() < sums.stop)
    return power[:, inside]
