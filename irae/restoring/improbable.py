"""What is improbable in a photograph: blocks of pixels that their surroundings do not foretell.

A density of blocks (`irae.models.networks.densities.patches`) maps each block, given the pixels
around it, to a latent that is standard normal for photographs. Its mean square, 1 on average, says
how far from the expected the block is, whatever texture surrounds it; dust and scratches are far
from it, and so are single small things of the photograph itself.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.models.loaded_patches import LoadedPatchDensity

SCALES = (1, 2, 4)
"""Factors by which the picture is scaled down: a block of 4 pixels is 16 of the picture at 4."""

STRIDE = 2
"""Distance of the blocks at each scale, in pixels."""

WHITE = 100.0
"""Improbability from which a map is white."""


STRANGE = 4.0
"""Improbability from which a pixel counts as improbable in a summary."""


def improbability(
    model: LoadedPatchDensity, pixels: Tensor, *, seen: Tensor | None = None
) -> Tensor:
    """Return how improbable each pixel's blocks are: float32 ``1 H W``, about 1 where as expected.

    It is the geometric mean over `SCALES` of the mean square of the blocks' latents.

    Args:
        model: the density of blocks.
        pixels: float32 ``C H W`` in [0, 1], C 1 or 3.
        seen: bool ``1 H W``, the pixels that count; others, such as transparent ones, become 0.
    """
    height, width = pixels.shape[1:]
    picture = pixels.expand(3, -1, -1)
    logs = torch.zeros(1, height, width)
    for scale in SCALES:
        small = _scaled_down(picture, scale)
        found = model.surprise(small, STRIDE)[1].clamp_min(1e-6).log()
        large = F.interpolate(found[None], scale_factor=scale, mode="bilinear", align_corners=False)
        logs += large[0, :, :height, :width] / len(SCALES)
    result = logs.exp()
    return result if seen is None else torch.where(seen, result, 0.0)


def _scaled_down(picture: Tensor, scale: int) -> Tensor:
    """Average squares of pixels; the last row and column are repeated where they are too few."""
    height, width = picture.shape[1:]
    padded = F.pad(picture[None], (0, -width % scale, 0, -height % scale), mode="replicate")
    return F.avg_pool2d(padded, scale)[0]


def to_map(improbable: Tensor) -> Tensor:
    """Return it as gray values ``1 H W`` in [0, 1]: 0 is 1 and less, 1 is `WHITE` and more."""
    return (improbable.clamp_min(1.0).log() / math.log(WHITE)).clamp_max(1.0)
