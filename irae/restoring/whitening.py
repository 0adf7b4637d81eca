"""Noise that all channels share, made independent and white so that the denoiser removes it.

The grain of a film, a black-and-white scan and noise that was added to the brightness are the same
in all channels. A network for colour pictures tells noise from texture by what the channels do not
share, so it does little there. Such noise can be turned into that which the packaged denoiser was
trained on. If neighbouring pixels share it, the inverse of a Gaussian blur makes it white, and the
blur is applied again to the result. Then noise is added that leaves the mean of the channels as it
is: it makes the channels' noise independent, and the mean of the restored channels is taken.

The inverse of a wide blur amplifies the noise. So the wider it is, the more the result is that of
the network for photographs, which gets the picture as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from irae.imaging.analysis.jpeg_quality import estimate_jpeg_quality
from irae.imaging.analysis.noise import measure_floor, measure_noise, spread_tiles
from irae.runtime import generator

# Noise below this level is left to the model itself.
_LEAST_SIGMA = 3.0

# A blur of less than this, in pixels, hardly correlates neighbours. The inverse of a wider one
# amplifies no frequency by more than this factor.
_LEAST_BLUR, _MOST_GAIN = 0.25, 12.5

# From this blur on, in pixels, the network for photographs has a share, which rises by this much
# per pixel up to the largest.
_SHARED_FROM, _SLOPE, _LARGEST_SHARE = 0.4, 2.0, 0.6

# Of noise that was made white, the power of the strongest frequency band is at most this factor
# times that of the weakest one; other spectra are not those of a Gaussian blur.
_EVEN = 4.0

# Noise is everywhere: its level by the quietest patches is at most this factor times that by the
# median of the finest diagonal details. It is 0.7 to 1.12 times that level for noise, and 2.1 times
# on a page that is full of text.
_EVERYWHERE = 1.4
_MEDIAN_OF_NORMAL = 0.6745  # of the absolute values

_SEED = 0x6E6F6973


@dataclass(frozen=True)
class Whitening:
    """How the noise of a picture is made white.

    Attributes:
        blur: standard deviation in pixels of the blur that is undone; 0 for white noise.
        sigma: level of the noise in the mean of the channels then, in 8-bit units.
    """

    blur: float
    sigma: float

    @property
    def direct_share(self) -> float:
        """Share in the result of the restoration of the picture as it is, from 0 to 0.6."""
        return min(max(0.0, _SLOPE * (self.blur - _SHARED_FROM)), _LARGEST_SHARE)

    def apply(self, pictures: Tensor) -> Tensor:
        """Undo the blur, and make the noise of the channels independent: ``B 3 H W``.

        Args:
            pictures: ``B C H W`` in [0, 1], C 1 or 3.
        """
        white = _filtered(pictures, self._gains) if self.blur else pictures
        shape = (len(pictures), 3, *pictures.shape[2:])
        # Each call draws the same numbers, so that a result does not depend on earlier ones.
        own = torch.randn(shape, generator=generator(_SEED)).to(white)
        own -= own.mean(1, keepdim=True)
        return white + own * (math.sqrt(3) * self.sigma / 255)

    def undo(self, restored: Tensor, given: Tensor, direct: Tensor | None = None) -> Tensor:
        """Return ``given`` with the brightness that was restored, blurred again.

        Args:
            restored: the restored ``B 3 H W``.
            given: the pictures ``B C H W`` that `apply` got.
            direct: these restored as they are, ``B C H W``, for `direct_share` of the result.
        """
        mean = restored.mean(1, keepdim=True)
        if self.blur:
            mean = _filtered(mean, lambda squares: 1 / self._gains(squares))
        if direct is not None:
            mean = torch.lerp(mean, direct.mean(1, keepdim=True).to(mean), self.direct_share)
        return given - given.mean(1, keepdim=True) + mean

    def _gains(self, squares: Tensor) -> Tensor:
        """Map squared frequencies, in cycles per pixel, to gains."""
        return torch.exp(2 * (math.pi * self.blur) ** 2 * squares).clamp(max=_MOST_GAIN)


def find_shared_noise(pixels: Tensor, stored: Tensor) -> Whitening | None:
    """Find noise that all channels share.

    Args:
        pixels: float32 ``C H W`` in [0, 1], C 1 or 3.
        stored: the picture as its file holds it, in which traces of JPEG can be seen.

    Returns:
        How to make it white; None if the channels have noise of their own, if noise cannot be told
        from texture, if the picture went through JPEG, or if the noise is of another kind.
    """
    noise = measure_noise(pixels)
    if noise is None or noise.drawn or not noise.sure or noise.sigma < _LEAST_SIGMA:
        return None
    if not noise.shared or estimate_jpeg_quality(stored) is not None:
        return None
    part = spread_tiles(pixels).cpu()
    limits = ((part <= 0) | (part >= 1)).float().mean(0, keepdim=True)
    gray = part.mean(0, keepdim=True)
    floor = measure_floor(gray * 255, limits)
    if floor is None:
        return None
    whitening = Whitening(floor.blur if floor.blur >= _LEAST_BLUR else 0.0, 0.0)
    if whitening.blur:
        gray = _filtered(gray[None], whitening._gains)[0]
        floor = measure_floor(gray * 255, limits)
        assert floor is not None
    bands = floor.power[1:]
    # In the highest band a limited gain leaves less.
    sigma = math.sqrt(float(bands[:2].mean()))
    even = float(bands.max()) <= _EVEN * float(bands.min())
    if not even or sigma > _EVERYWHERE * 255 * _median_level(gray):
        return None
    return Whitening(whitening.blur, sigma)


def _median_level(gray: Tensor) -> float:
    """Estimate the level of white noise by the median of the diagonal details of ``1 H W``."""
    height, width = (side // 2 * 2 for side in gray.shape[1:])
    even, odd = gray[0, :height:2, :width], gray[0, 1:height:2, :width]
    details = (even[:, ::2] - even[:, 1::2] - odd[:, ::2] + odd[:, 1::2]) / 2
    return float(details.abs().median()) / _MEDIAN_OF_NORMAL


def _filtered(pictures: Tensor, gains: Callable[[Tensor], Tensor]) -> Tensor:
    """Filter ``B C H W`` by real gains, functions of the squared frequency in cycles per pixel.

    The picture is continued by its mirror image, as for the DCT, so that the inverse gains undo
    it up to the border.
    """
    height, width = pictures.shape[2:]
    wide = torch.cat([pictures, pictures.flip(3)], 3)
    wide = torch.cat([wide, wide.flip(2)], 2)
    down, across = torch.fft.fftfreq(2 * height), torch.fft.rfftfreq(2 * width)
    squares = (down[:, None].square() + across[None].square()).to(wide)
    out: Tensor = torch.fft.irfft2(torch.fft.rfft2(wide) * gains(squares), s=wide.shape[2:])
    return out[:, :, :height, :width]
