"""Measuring noise of any kind in a picture: its level, its correlation, its colour.

White noise is what `irae.imaging.analysis.noise_level` measures. The noise of real photographs is
correlated between neighbouring pixels, often through JPEG, and then its spectrum falls as that of
texture does. Two properties tell it from texture. Noise is everywhere, also in the quietest parts
of a picture. And most noise differs between the channels, while fine texture hardly does.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.analysis.dct import BLOCK, cut_patches, dct_matrix, frequency_sums
from irae.imaging.analysis.noise_level import estimate_noise
from irae.imaging.metrics import rgb_to_y

# Of larger pictures, evenly spread tiles are measured, joined to one picture of this side.
_SIDE, _TILES = 2048, 4

PATCHES = 6000
"""Largest number of patches used at each scale, approximately."""

_LEAST_PATCHES = 64
_QUIET, _NEXT = 0.01, 0.10

# Frequency bands, by the sum of the two indices of a DCT coefficient. Patches are chosen by the
# lowest band, so the noise there is measured at half the size.
_BANDS = (range(1, 5), range(5, 8), range(8, 11), range(11, 15))

# The noise is even over the picture: its levels in the quietest hundredth of all patches and in the
# quietest tenth differ by less than this factor, at full size and at half. Those of texture differ
# by more, 1.3 to 9 in photographs with some quiet part, but by 1.09 at full or at half size in
# grass. Where colour noise was found, luma noise is likely too.
_EVEN, _EVEN_WITH_COLOUR = 1.08, 1.25

# White noise has equal power in the two highest bands, texture less than this share in the highest.
_WHITE_FALL = 0.7

WHITE_CORRELATION = 0.12
"""Independent noise of which neighbours are correlated by less is white."""

# Fine texture leaves up to 0.8 levels in the differences of the channels.
_COLOUR_TEXTURE = 1.0

# The channels' own noise is less than this share of noise that they have in common.
_SHARED = 0.2

# Luma noise below this level is not distinguished from texture.
_LEAST_LUMA = 1.5

# More than this share of neighbouring pixels with exactly one colour is a drawing.
_DRAWN = 0.5

# Gaussian noise has a mean deviation of 0.80 standard deviations; two levels have 1. Dots that are
# printed or dithered are not noise.
_DOTS, _DOTS_SIGMA = 0.88, 25.0

# Power that rounding to 8 bits adds to each coefficient.
_ROUNDING = 1 / 12

# A 2x2 mean keeps this share of the power at the frequencies of the lowest band.
_HALVED = 0.85

# Mean squared frequency, in squared indices of the full-size transform, of the second band at half
# size and at full size.
_HALF_FREQUENCY, _FULL_FREQUENCY = 4.5, 18.0


@dataclass(frozen=True)
class Noise:
    """The noise of a picture.

    Attributes:
        sigma: standard deviation in 8-bit units, averaged over the channels. If ``sure`` is false,
            a lower bound.
        most: upper bound of ``sigma``: what the finest structure of the picture amounts to, be it
            noise or texture.
        correlation: correlation between neighbouring pixels, 0 for white noise, up to about 0.95.
        colour: level of the noise in which the channels differ; 0 for gray.
        sure: whether noise could be told from texture.
        drawn: whether the picture is a drawing or consists of dots, which have no noise.
        white: level of white noise by the highest frequencies alone, fine texture included.
    """

    sigma: float
    most: float
    correlation: float
    colour: float
    sure: bool
    drawn: bool = False
    white: float = 0.0

    @property
    def shared(self) -> bool:
        """Whether all channels have the same noise, or nearly."""
        return self.colour < _SHARED * self.sigma

    def as_json(self) -> dict[str, float | bool]:
        """Return the attributes as plain JSON, rounded."""
        return {
            name: value if isinstance(value, bool) else round(value, 2)
            for name, value in asdict(self).items()
        }

    def describe(self) -> str:
        """Describe the noise in one phrase."""
        if self.drawn:
            return "none (drawn, or made of dots)"
        found = f"sigma about {self.sigma:.1f}"
        if self.sigma >= 1:
            found += f", correlation {self.correlation:.1f}"
            found += ", the same in all channels" if self.shared else ""
        if not self.sure:
            found += f" (unsure: up to {self.most:.1f}, if the finest texture is noise)"
        return found


@dataclass(frozen=True)
class Floor:
    """The quietest patches of one plane: power by band at full size, and at half the size.

    Attributes:
        power: mean power of a coefficient in each band, the lowest from half the size.
        evenness: level in the quietest tenth of the patches over that in the quietest hundredth;
            the larger of those at full and at half size.
    """

    power: Tensor
    evenness: float

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise with this spectrum."""
        return math.sqrt(float((self.power * _weights()[0]).sum()))

    @property
    def correlation(self) -> float:
        """Correlation between neighbouring pixels with this spectrum."""
        weights, cosines = _weights()
        total = float((self.power * weights).sum())
        return float((self.power * cosines).sum()) / total if total > 0 else 0.0

    @property
    def blur(self) -> float:
        """Standard deviation in pixels of the Gaussian that blurs white noise to this spectrum.

        The logarithm of a Gaussian's power falls in proportion to the squared frequency.
        """
        logs = (self.power[1:] - _ROUNDING).clamp(min=_ROUNDING / 100).log()
        off = _band_frequencies() - _band_frequencies().mean()
        slope = float((logs * off).sum() / off.square().sum())
        return math.sqrt(max(0.0, -slope)) * 2 * BLOCK / (2 * math.pi)


def measure_noise(pixels: Tensor, visible: Tensor | None = None) -> Noise | None:
    """Measure the noise of a picture.

    Args:
        pixels: float32 ``C H W`` in [0, 1], C 1 or 3.
        visible: bool ``1 H W``, False for transparent pixels; patches with such a pixel are left
            out.

    Returns:
        The noise; None for a picture that is too small.
    """
    pixels = spread_tiles(pixels)
    visible = None if visible is None else spread_tiles(visible)
    levels = pixels * 255
    if _is_drawn(levels, visible):
        return Noise(0.0, 0.0, 0.0, 0.0, sure=True, drawn=True)
    gray = rgb_to_y(levels[None])[0] if len(pixels) == 3 else levels
    limits = ((pixels <= 0) | (pixels >= 1)).float().mean(0, keepdim=True)
    luma = measure_floor(gray, limits, visible)
    if luma is None:
        return None
    colour = None
    if len(pixels) == 3:
        # The difference of two independent channels has the sqrt(2)-fold of their noise.
        difference = (levels[::2] - levels[1:2]) / math.sqrt(2)
        colour = measure_floor(difference, limits, visible)
    return _judged(luma, colour, estimate_noise(pixels, visible) or 0.0)


def spread_tiles(plane: Tensor) -> Tensor:
    """Join evenly spread tiles of a picture ``C H W`` that has more pixels than are measured."""
    height, width = plane.shape[1:]
    if height * width <= _SIDE**2:
        return plane
    side = min(_SIDE // _TILES, height // 2 * 2, width // 2 * 2)
    down, across = (max(1, min(_TILES, length // side)) for length in (height, width))
    rows = []
    for row in range(down):
        top = row * (height - side) // max(1, down - 1)
        lefts = [column * (width - side) // max(1, across - 1) for column in range(across)]
        rows.append(torch.cat([plane[:, top : top + side, x : x + side] for x in lefts], 2))
    return torch.cat(rows, 1)


def measure_floor(planes: Tensor, limits: Tensor, visible: Tensor | None = None) -> Floor | None:
    """Measure the quietest patches of planes.

    Args:
        planes: ``C H W`` in 8-bit units; patches of all planes count alike.
        limits: ``1 H W``, the share of the channels that are black or white, where noise is
            clipped.
        visible: bool ``1 H W``, or None.

    Returns:
        The floor; None if there are less than 64 patches.
    """
    hidden = torch.zeros_like(limits) if visible is None else (~visible).float()
    full = _quiet(planes, limits, hidden)
    if full is None:
        return None
    halves = [F.avg_pool2d(each[None], 2)[0] for each in (planes, limits, hidden)]
    half = _quiet(*halves)
    evenness, low = _evenness(full), full[0][1]
    if half is not None:
        evenness = max(evenness, _evenness(half))
        low = _lowest(half[0][1] * 4 / _HALVED, full[0][1])
    return Floor(torch.stack([torch.as_tensor(low), *full[0][1:]]), evenness)


def _evenness(means: tuple[Tensor, Tensor]) -> float:
    quiet, following = (max(float(each[1:].sum()), 0.1) for each in means)
    return math.sqrt(following / quiet)


def _lowest(half: Tensor, full: Tensor) -> Tensor:
    """Extrapolate to the lowest band from the powers of the second one at half and at full size.

    The spectrum of blurred noise is a Gaussian; its slope follows from the two powers.
    """
    ratio = (half / full.clamp(min=1e-6)).clamp(1, 1e3)
    slope = ratio.log() / (_FULL_FREQUENCY - _HALF_FREQUENCY)
    index = torch.arange(BLOCK)
    squares = (index[:, None].square() + index[None].square()).flatten().float()
    line = torch.ones(BLOCK)
    line[0] = 0.5
    low = frequency_sums() < _BANDS[0].stop
    weights = torch.outer(line, line).flatten()[low]
    gains = torch.exp(-slope * (squares[low] - _HALF_FREQUENCY))
    return half * (weights * gains).sum() / weights.sum()


def _judged(luma: Floor, colour: Floor | None, white: float) -> Noise:
    """Decide how much of the floors is noise."""
    chroma = 0.0 if colour is None else colour.sigma
    coloured = colour is not None and chroma > _COLOUR_TEXTURE
    most = max(luma.sigma, chroma, white)
    if luma.sigma < _LEAST_LUMA and not coloured:
        return Noise(luma.sigma, luma.sigma, _bounded(luma.correlation), chroma, sure=True)
    uncorrelated = colour is not None and colour.correlation < WHITE_CORRELATION
    if coloured and uncorrelated and colour is not None and chroma > 0.8 * white:
        return Noise(chroma, chroma, _bounded(colour.correlation), chroma, sure=True)
    if luma.evenness < (_EVEN_WITH_COLOUR if coloured else _EVEN):
        floor = luma if colour is None or luma.sigma > chroma else colour
        return Noise(floor.sigma, most, _bounded(floor.correlation), chroma, sure=True)
    if coloured and colour is not None:
        # What the channels share cannot be told from texture, but it is seldom the larger part.
        sigma = max(chroma, white)
        return Noise(sigma, most, _bounded(colour.correlation), chroma, sure=sigma > 0.5 * most)
    # Texture falls towards the highest frequencies, white noise does not.
    sigma = white if float(luma.power[3]) > _WHITE_FALL * float(luma.power[2]) else 0.0
    return Noise(sigma, most, 0.0, min(chroma, white), sure=sigma > 0.8 * most, white=white)


def _bounded(correlation: float) -> float:
    return min(max(correlation, 0.0), 0.95)


def _quiet(planes: Tensor, limits: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the power of each band in the quietest patches, and in more of them."""
    cut = torch.cat([_patches(plane) for plane in planes])
    at_limit = _patches(limits[0]).mean(1).repeat(len(planes))
    seen = (_patches(hidden[0]).amax(1) == 0).repeat(len(planes))
    seen &= cut.amax(1) != cut.amin(1)
    if int(seen.sum()) < _LEAST_PATCHES:
        return None
    # If too few patches are free of clipped pixels, the others count, as on white paper.
    free = seen & (at_limit < 0.02)
    chosen = free if int(free.sum()) >= 2 * _LEAST_PATCHES else seen
    power = (cut[chosen] @ dct_matrix().T).square()
    power = power * _unclipped(at_limit[chosen])[:, None]
    bands = torch.stack([_band(power, sums).mean(1) for sums in _BANDS], 1)
    order = bands[:, 0].argsort()
    means = []
    for share in (_QUIET, _NEXT):
        count = max(int(share * len(order)), min(2 * _LEAST_PATCHES, len(order)))
        means.append(bands[order[:count]].mean(0))
    return means[0], means[1]


def _unclipped(share: Tensor) -> Tensor:
    """Return the factor that gives the variance of clipped noise its size without clipping.

    Args:
        share: share of the values that lie at the limit.

    Censored normal numbers: if a share p lies at the limit a (p = Q(a)), the rest has density phi.
    """
    p = share.clamp(0.0, 0.9).double()
    a = -math.sqrt(2) * torch.erfinv(2 * p - 1)
    a = a.clamp(max=8)
    density = torch.exp(-a.square() / 2) / math.sqrt(2 * math.pi)
    mean = a * p - density
    square = (1 - p) - a * density + a.square() * p
    return (1 / (square - mean.square())).float()


def _patches(plane: Tensor) -> Tensor:
    height, width = plane.shape
    if min(height, width) < BLOCK:
        return plane.new_empty(0, BLOCK * BLOCK)
    step = max(1, math.isqrt((height - BLOCK + 1) * (width - BLOCK + 1) // PATCHES))
    return cut_patches(plane, step)


def _band(power: Tensor, sums: range) -> Tensor:
    inside = (frequency_sums() >= sums.start) & (frequency_sums() < sums.stop)
    return power[:, inside]


@cache
def _band_frequencies() -> Tensor:
    """Return the mean squared frequency of the upper bands, in squared indices."""
    index = torch.arange(BLOCK)
    squares = (index[:, None].square() + index[None].square()).flatten().float()
    return torch.stack([_band(squares[None], sums).mean() for sums in _BANDS[1:]])


def _weights() -> tuple[Tensor, Tensor]:
    """Return each band's share of the spectrum, and its contribution to the correlation."""
    # The first coefficient stands for half as many frequencies as the others, the last for 3/2.
    line = torch.ones(BLOCK)
    line[0], line[-1] = 0.5, 1.5
    cosine = torch.cos(math.pi * torch.arange(BLOCK) / BLOCK)
    share = torch.outer(line, line).flatten() / BLOCK**2
    along = ((cosine[:, None] + cosine[None]) / 2).flatten()
    bands = [range(0, _BANDS[0].stop), *_BANDS[1:]]
    weights = [_band(share[None], sums).sum() for sums in bands]
    cosines = [_band((share * along)[None], sums).sum() for sums in bands]
    return torch.stack(weights), torch.stack(cosines)


def _is_drawn(levels: Tensor, visible: Tensor | None) -> bool:
    """Whether a picture is drawn, or printed in dots: see `_DRAWN` and `_DOTS`."""
    equal = (levels[:, :, 1:] == levels[:, :, :-1]).all(0)
    seen = torch.ones_like(equal) if visible is None else (visible[0, :, 1:] & visible[0, :, :-1])
    if not bool(seen.any()) or float(equal[seen].float().mean()) > _DRAWN:
        return True
    # Dots: all patches have two levels.
    patches = _patches(levels.mean(0))
    if len(patches) < _LEAST_PATCHES:
        return False
    off = patches - patches.mean(1, keepdim=True)
    deviation = off.square().mean(1).sqrt()
    strong = deviation > _DOTS_SIGMA
    if float(strong.float().mean()) < 0.5:
        return False
    return float((off.abs().mean(1) / deviation.clamp(min=1))[strong].median()) > _DOTS
