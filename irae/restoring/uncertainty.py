"""What a model is unsure of: the spread of its results over equal tasks.

Two spreads, each a standard deviation over eight results, averaged over the channels:

- over the picture's eight orientations, of which none is special to the picture;
- over draws of noise added to the state in the middle of a lifted network, of a tenth of the
  noise that the picture has.

Both say how much the network's result depends on what should not matter. Neither knows of errors
that all results have in common.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from irae.errors import UsageError
from irae.imaging.analysis.noise_level import estimate_noise
from irae.imaging.io.picture import TURNS, to_stored, to_upright
from irae.models.loaded import LoadedModel
from irae.models.networks.lifted import LiftedIRAE
from irae.restoring.restorer import Restorer
from irae.runtime import generator

DRAWS = 8
"""Number of draws of noise."""

NOISE_SHARE = 0.1
"""Standard deviation of the noise in the middle, as a share of the picture's noise."""

WHITE = 16.0
"""Spread, in 8-bit units, from which a map is white."""


def orientation_spread(restorer: Restorer, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return the spread over the eight orientations: float32 ``1 H W`` in 8-bit units.

    Args:
        restorer: restores the picture in each orientation, in tiles if it is large.
        pixels: float32 ``C H W`` in [0, 1].
        mask: bool ``1 H W``, for inpainting.
    """
    count, mean, squares = 0, torch.zeros_like(pixels), torch.zeros_like(pixels)
    for orientation in TURNS:
        hole = None if mask is None else to_upright(mask, orientation)
        restored = restorer.restore_pixels(to_upright(pixels, orientation).contiguous(), hole)
        restored = to_stored(restored, orientation)
        # Welford 1962: the sum of squares about the mean so far.
        count += 1
        change = restored - mean
        mean = mean + change / count
        squares = squares + change * (restored - mean)
    return _spread(squares, count)


@torch.inference_mode()
def middle_noise_spread(model: LoadedModel, pixels: Tensor, *, seed: int = 0) -> Tensor:
    """Return the spread over draws of noise in the middle: float32 ``1 H W`` in 8-bit units.

    Args:
        model: a lifted network that needs nothing besides the picture.
        pixels: float32 ``3 H W`` in [0, 1], small enough to be restored at once.
        seed: seed of the noise.

    Raises:
        UsageError: the network is of another kind.
    """
    network = model.network
    if not isinstance(network, LiftedIRAE) or model.takes_mask or model.takes_sigma:
        raise UsageError(f"model {model.name!r} is not a lifted network of pictures alone")
    x, condition = model.network_inputs(pixels[None], None)
    middle = network.encode(x, condition)
    amount = NOISE_SHARE * (estimate_noise(pixels) or 0.0) / 255
    results = []
    for draw in range(DRAWS):
        noise = torch.randn(middle.shape, generator=generator(seed, draw)).to(middle)
        results.append(network.decode(middle + amount * noise))
    height, width = pixels.shape[1:]
    stacked = torch.cat(results)[..., :height, :width].clamp(0, 1).cpu()
    return _spread((stacked - stacked.mean(0)).square().sum(0), DRAWS)


def _spread(squares: Tensor, count: int) -> Tensor:
    return 255 * (squares.clamp(min=0) / (count - 1)).mean(0, keepdim=True).sqrt()


def to_map(spread: Tensor) -> Tensor:
    """Return a spread as a gray picture, uint8 ``1 H W``: black is 0, white `WHITE` and more."""
    if not math.isfinite(float(spread.max())):
        raise UsageError("the spread is not finite; use `precision` fp32")
    return (spread * (255 / WHITE)).round().clamp(0, 255).to(torch.uint8).cpu()
