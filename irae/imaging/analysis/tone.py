"""Finding toned black-and-white pictures, and their tone.

The colours of a sepia print, of a tinted scan or of a gray picture stored as RGB lie on one line in
colour space, straight or slightly bent: the colour follows from the brightness.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.metrics import rgb_to_y

# The curve is fitted to the means of small boxes, and judged by those of larger ones: a bent curve
# does not hold for means over texture, and noise is smallest in large boxes.
_BOX, _BOXES = 4, 4
_LEAST_BOXES = 24
_DEGREE = 3

# Largest deviation of box means from the line, RMS and of the 99th percentile, in 8-bit units.
# Measured on photographs and on toned pictures with noise; see `find_tone`.
_RMS, _FAR = 1.9, 5.0


@dataclass(frozen=True)
class Tone:
    """The line on which the colours of a picture lie.

    Attributes:
        curve: coefficients ``4 3`` of a cubic that maps luma to RGB minus luma, in [0, 1] units.
        low, high: the range of luma in which it was fitted; it is continued straight beyond.
        tint: largest deviation of the line from gray, as a share of the range.
    """

    curve: Tensor
    low: float
    high: float
    tint: float

    def to_gray(self, pixels: Tensor) -> Tensor:
        """Project ``3 H W`` on the line: ``1 H W``, the position along it.

        All channels count alike, which averages their noise.
        """
        luma = rgb_to_y(pixels[None])[0]
        gray: Tensor = (pixels - self._chroma(luma)).mean(0, keepdim=True)
        return gray

    def to_colour(self, gray: Tensor) -> Tensor:
        """Give ``1 H W`` its tone again: ``3 H W``."""
        return gray + self._chroma(gray)

    def _chroma(self, luma: Tensor) -> Tensor:
        x = luma.clamp(self.low, self.high)
        constant, linear, square, cubic = self.curve.to(luma)[:, :, None, None].unbind()
        slope: Tensor = linear + x * (2 * square + x * 3 * cubic)
        return constant + x * (linear + x * (square + x * cubic)) + (luma - x) * slope


def find_tone(pixels: Tensor) -> Tone | None:
    """Fit the tone of a picture; None if its colours do not lie on one line.

    The means of boxes are compared, in which noise is small. A picture is toned if they deviate
    from one curve by less than 1.9 levels (RMS): photographs deviate by 2.2 or more, toned ones
    with grain that all channels share by up to 1.5. Strong noise of its own in each channel can
    hide a tone.

    Args:
        pixels: float32 ``3 H W`` in [0, 1].
    """
    height, width = (side // _BOX for side in pixels.shape[1:])
    if (height // _BOXES) * (width // _BOXES) < _LEAST_BOXES:
        return None
    small = F.avg_pool2d(pixels[None].cpu().float(), _BOX)
    luma = rgb_to_y(small).flatten().double()
    chroma = (small[0].flatten(1).double() - luma).T
    powers = torch.stack([luma**n for n in range(_DEGREE + 1)], 1)
    # Slightly regularised: pictures of few tones determine only part of a cubic.
    weights = torch.tensor([0.0, 1e-6, 1e-4, 1e-4], dtype=torch.float64) * len(luma)
    normal = powers.T @ powers + torch.diag(weights)
    curve = torch.linalg.solve(normal, powers.T @ chroma)
    error = (chroma - powers @ curve).T.reshape(1, 3, height, width)
    off = 255 * F.avg_pool2d(error, _BOXES).abs().amax(1).flatten()
    if float(off.square().mean().sqrt()) > _RMS or float(off.quantile(0.99)) > _FAR:
        return None
    low, high = float(luma.min()), float(luma.max())
    tone = Tone(curve.float(), low, high, 0.0)
    line = tone._chroma(torch.linspace(low, high, 64)[None, None])
    return Tone(curve.float(), low, high, float(line.abs().max()))
