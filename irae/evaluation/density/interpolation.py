"""Pictures between two pictures, through the latents of a density."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from irae.errors import ModelError, UsageError
from irae.models.density import Latents
from irae.models.loaded_density import LoadedDensity

FEWEST, MOST = 2, 1000
"""Fewest and most pictures of an interpolation, with both ends."""


def between(first: Latents, second: Latents, share: float) -> Latents:
    """Return latents between those of two pictures, of a length between theirs.

    The direction turns at a constant rate (Shoemake 1985's slerp, over all latents together),
    because in many dimensions a straight line passes far nearer to the origin than latents lie.
    """
    norms = [math.sqrt(sum(float(s.sum()) for s in each.squares())) for each in (first, second)]
    dot = sum(float((a * b).sum()) for a, b in zip(first.levels, second.levels, strict=True))
    if not all(norms):
        return first * (1 - share) + second * share
    angle = math.acos(max(-1.0, min(1.0, dot / (norms[0] * norms[1]))))
    if angle < 1e-4:
        return first * (1 - share) + second * share
    length = norms[0] * (1 - share) + norms[1] * share
    weights = [math.sin(angle * part) / math.sin(angle) for part in (1 - share, share)]
    return first * (length * weights[0] / norms[0]) + second * (length * weights[1] / norms[1])


def interpolate(model: LoadedDensity, first: Tensor, second: Tensor, count: int) -> Tensor:
    """Return pictures from one to another: uint8 ``count C H W``; both ends are exact.

    Args:
        model: the density.
        first, second: uint8 ``C H W`` of the model's shape.
        count: number of pictures with both ends.

    Raises:
        UsageError: the count is not from `FEWEST` to `MOST`.
        ModelError: the model does not give the ends back.
    """
    if not FEWEST <= count <= MOST:
        raise UsageError(f"`steps` is {count}; use {FEWEST} (both ends) to {MOST:,}")
    one, other = model.latents(first[None]), model.latents(second[None])
    found = [one]
    found += [between(one, other, i / (count - 1)) for i in range(1, count - 1)]
    pictures = torch.cat([model.pictures(each) for each in [*found, other]])
    network = model.network
    for name, given, got in (("first", first, pictures[0]), ("second", second, pictures[-1])):
        expected = network.to_pictures(network.dequantise(given[None]))[0]
        if not torch.equal(expected.cpu(), got):
            raise ModelError(
                f"{model.name}: the {name} picture does not come back from its latents; the model "
                "is not accurate enough here, use fp32 or another one"
            )
    return pictures
