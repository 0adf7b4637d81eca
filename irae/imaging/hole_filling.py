"""Classical inpainting by diffusion: filling holes from the known pixels without a network."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

_LEAST = 8  # least side in pixels at which edges are continued
# Parameters of the diffusion along edges, chosen on photos_val (docs/ablation.md).
_STEPS = 14
_STEP_SIZE = 0.4  # the operator's eigenvalues reach 4.8; below 2 / 4.8 the iteration is stable
_GRADIENT_SCALE, _TENSOR_SCALE = 0.5, 4.0  # standard deviations in pixels
_SEEN = 16  # distance in pixels up to which a pixel affects the direction of diffusion
_SHARPNESS = 5
_FLAT = 0.01**2  # squared gradients far below this do not count as edges
_ISOTROPIC = 0.1  # weight of the isotropic diffusion
# Corners of a cell of 2x2 pixels, as signs along x and y.
_CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
# All sums below add whole tensors term by term: convolutions and matrix products round differently
# with the size of the batch, but a picture must be filled equally alone and in a batch.


def fill_holes(picture: Tensor, mask: Tensor, value: float | None = None) -> Tensor:
    """Fill holes from the known pixels around them, as the input of an inpainting network.

    Averages of the known pixels are pulled up a pyramid until no hole is left, and pushed down into
    the holes (Gortler et al. 1996, section 3.4). At every level the filling is then relaxed: first
    towards a membrane (Laplace's equation); then towards a thin plate (the biharmonic equation),
    which continues the slopes at the hole's rim (Chan and Kang 2006); then along edges only, which
    continues edges that run into the hole (coherence-enhancing diffusion, Weickert 1999).

    Args:
        picture: ``B C H W``; its content inside the holes is ignored.
        mask: bool ``B 1 H W``, True in the holes.
        value: fill with this number instead, as the published code does.

    Returns:
        ``B C H W``; known pixels are unchanged. A picture without known pixels becomes 0.5.
    """
    if value is not None:
        return torch.where(mask, torch.full_like(picture, value), picture)
    height, width = picture.shape[-2:]
    if not bool(mask.any()):
        return picture
    if height == 1 and width == 1:
        return torch.where(mask, torch.full_like(picture, 0.5), picture)
    padding = (0, width % 2 if width > 1 else 1, 0, height % 2 if height > 1 else 1)
    weight = F.avg_pool2d(F.pad((~mask).to(picture.dtype), padding), 2)
    total = F.avg_pool2d(F.pad(torch.where(mask, 0, picture), padding), 2)
    coarse = fill_holes(total / weight.clamp_min(1e-8), weight == 0)
    size = (height + padding[3], width + padding[1])
    finer = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    smooth = _relax(torch.where(mask, finer[..., :height, :width], picture), mask)
    return smooth if min(height, width) < _LEAST else _continue_edges(smooth, mask)


def _relax(filled: Tensor, mask: Tensor, sweeps: int = 8) -> Tensor:
    hole = mask.to(filled.dtype)
    for _ in range(sweeps):
        filled = filled + hole * _laplacian(filled) / 4
    for _ in range(sweeps):
        # The operator's eigenvalues reach 64; below 2 / 64 the iteration is stable.
        filled = filled - hole * _laplacian(_laplacian(filled)) * 0.0275
    return filled


def _laplacian(x: Tensor) -> Tensor:
    y = F.pad(x, (1, 1, 1, 1), mode="replicate")
    around = y[..., :-2, 1:-1] + y[..., 2:, 1:-1] + y[..., 1:-1, :-2] + y[..., 1:-1, 2:]
    return around - 4 * x


def _continue_edges(filled: Tensor, mask: Tensor) -> Tensor:
    """Diffuse inside the holes along the edges of the filling and its surroundings."""
    place = mask.expand(len(filled), -1, -1, -1).nonzero()
    first = (place[:, 2:].amin(0) - _SEEN).clamp_min(0).tolist()
    last = (place[:, 2:].amax(0) + _SEEN + 1).tolist()
    part = filled[..., first[0] : last[0], first[1] : last[1]]
    place[:, 2:] -= torch.tensor(first, device=place.device)
    part.copy_(_diffuse(part, place))
    return filled


def _diffuse(filled: Tensor, place: Tensor) -> Tensor:
    batch, channels, height, width = filled.shape
    # Padded by one pixel: pixels outside have no weight, but are looked up.
    wide = width + 2
    pixel = (place[:, 0] * (height + 2) + place[:, 2] + 1) * wide + place[:, 3] + 1
    around = [dy * wide + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    state = F.pad(filled, (1, 1, 1, 1)).permute(0, 2, 3, 1).reshape(-1, channels)
    weights = _stencils(_tensors(filled), place)
    before = now = state[pixel]
    for step in range(_STEPS):
        # Over-relaxed: n steps go as far as n² plain ones (Hafner et al. 2016).
        pace = (4 * step + 2) / (2 * step + 3)
        change = torch.zeros_like(now)
        for weight, offset in zip(weights, around, strict=True):
            change.addcmul_(weight[:, None], state[pixel + offset])
        before, now = now, pace * (now + _STEP_SIZE * change) + (1 - pace) * before
        state[pixel] = now
    filled = state.view(batch, height + 2, wide, channels)[:, 1:-1, 1:-1]
    return filled.permute(0, 3, 1, 2).contiguous()


def _tensors(picture: Tensor) -> Tensor:
    """Compute diffusion tensors in the cells between the pixels of ``B C H W`` and around it.

    Returns:
        ``4 B H+1 W+1``: the tensor's xx, yy and twice its xy component, and the isotropic weight.
    """
    smoothed = _blur(picture, _GRADIENT_SCALE)
    a, b = smoothed[..., :-1, :-1], smoothed[..., :-1, 1:]
    c, d = smoothed[..., 1:, :-1], smoothed[..., 1:, 1:]
    x, y = (b - a + d - c) / 2, (c - a + d - b) / 2
    products = torch.stack([(x * x).sum(1), (y * y).sum(1), (x * y).sum(1)], 1)
    xx, yy, xy = _blur(products, _TENSOR_SCALE).unbind(1)
    difference = torch.sqrt((xx - yy) ** 2 + 4 * xy**2)
    # Where gradients agree, diffusion is along the edge alone; elsewhere in all directions.
    coherence = difference / (xx + yy + _FLAT)
    across = (1 - coherence.clamp(0, 1)) ** _SHARPNESS
    mean, half = (1 + across) / 2, (1 - across) / 2 / difference.clamp_min(1e-12)
    along_x, along_y = mean - half * (xx - yy), mean + half * (xx - yy)
    everywhere = torch.full_like(mean, _ISOTROPIC)
    found = torch.stack([along_x, along_y, -2 * half * xy, everywhere])
    return F.pad(found, (1, 1, 1, 1))


def _blur(picture: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian along x and y; the border is replicated."""
    radius = math.ceil(2.5 * sigma)
    weights = [math.exp(-(at**2) / (2 * sigma**2)) for at in range(-radius, radius + 1)]
    for axis in (2, 3):
        pads = (radius, radius, 0, 0) if axis == 3 else (0, 0, radius, radius)
        padded = F.pad(picture, pads, mode="replicate")
        size = picture.shape[axis]
        picture = torch.zeros_like(picture)
        for start, weight in enumerate(weights):
            picture.add_(padded.narrow(axis, start, size), alpha=weight / sum(weights))
    return picture


def _stencils(tensors: Tensor, place: Tensor) -> list[Tensor]:
    """Compute the 3×3 stencils at N places, 9 tensors ``N``, from tensors ``4 B H+1 W+1``."""
    sample, row, column = place[:, 0], place[:, 2], place[:, 3]
    found = [torch.zeros(len(place), dtype=tensors.dtype, device=tensors.device) for _ in range(9)]
    # The four cells around a pixel, in the order of the corner that the pixel is of the cell.
    for (x, y), couplings in zip(_CORNERS, _cell_couplings(), strict=True):
        for kind, weights in zip(tensors, couplings, strict=True):
            cell = kind[sample, row + (y < 0), column + (x < 0)]
            for total, weight in zip(found, weights, strict=True):
                if weight:
                    total.add_(cell, alpha=weight)
    return found


@cache
def _cell_couplings() -> list[list[list[float]]]:
    """Return the terms of a pixel's stencil from each cell, ``4 4 9``: cell, component, weight.

    They are the derivative of half the sum over all cells of ∇uᵀ D ∇u, where ∇u is the mean of a
    cell's two differences along each axis; for the last component, of half the squared differences
    themselves.
    """
    weights = torch.zeros(4, 4, 3, 3)
    for cell, (x, y) in enumerate(_CORNERS):
        for to_x, to_y in _CORNERS:
            row, column = 1 + (to_y - y) // 2, 1 + (to_x - x) // 2
            each = (x * to_x, y * to_y, x * to_y + y * to_x)
            for kind, value in enumerate(each):
                weights[cell, kind, row, column] -= value / 4
        weights[cell, 3, 1, 1] -= 1
        weights[cell, 3, 1, 1 - x] += 0.5
        weights[cell, 3, 1 - y, 1] += 0.5
    return weights.flatten(2).tolist()
