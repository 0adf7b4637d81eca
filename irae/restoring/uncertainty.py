"""What a model is unsure of: the spread of its results over the picture's eight orientations.

None of the orientations is special, so the spread says how much the result depends on what should
not matter. It does not know of errors that all eight results have in common.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from irae.errors import UsageError
from irae.imaging.io.picture import TURNS, to_stored, to_upright
from irae.imaging.tiling import Progress
from irae.restoring.restorer import Restorer

WHITE = 16.0
"""Spread, in 8-bit units, from which a map is white."""


def orientation_spread(
    restorer: Restorer,
    pixels: Tensor,
    mask: Tensor | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Return the spread over the eight orientations: float32 ``1 H W`` in 8-bit units.

    Args:
        restorer: restores the picture in each orientation, in tiles if it is large. An ensemble,
            which averages over the orientations, is left out.
        pixels: float32 ``C H W`` in [0, 1].
        mask: bool ``1 H W``, for inpainting.
        progress: called after each tile with the share that is done; may raise to end the work.
    """
    tell = progress or (lambda _share: None)
    count, mean, squares = 0, torch.zeros_like(pixels), torch.zeros_like(pixels)
    ensemble, restorer.model.ensemble = restorer.model.ensemble, False
    try:
        for orientation in TURNS:
            hole = None if mask is None else to_upright(mask, orientation)
            turned = to_upright(pixels, orientation).contiguous()
            done = partial(_tell_part, tell, count / len(TURNS))
            restored = to_stored(restorer.restore_pixels(turned, hole, done), orientation)
            # Welford 1962: the sum of squares about the mean so far. In place, for large pictures.
            count += 1
            change = restored - mean
            mean.add_(change, alpha=1 / count)
            squares.addcmul_(change, restored - mean)
    finally:
        restorer.model.ensemble = ensemble
    return spread_of(squares, count)


def _tell_part(tell: Progress, begin: float, share: float) -> None:
    tell(begin + share / len(TURNS))


def spread_of(squares: Tensor, count: int) -> Tensor:
    """Return the mean over channels of the standard deviation, in 8-bit units: ``1 H W``.

    Args:
        squares: sums of squared differences from the mean, ``C H W``, of values in [0, 1].
        count: number of values.
    """
    return 255 * (squares.clamp(min=0) / (count - 1)).mean(0, keepdim=True).sqrt()


def to_map(spread: Tensor) -> Tensor:
    """Return a spread as a gray picture, uint8 ``1 H W``: black is 0, white `WHITE` and more."""
    if not math.isfinite(float(spread.max())):
        raise UsageError("the spread is not finite; use `precision` fp32")
    return (spread * (255 / WHITE)).round().clamp(0, 255).to(torch.uint8).cpu()
