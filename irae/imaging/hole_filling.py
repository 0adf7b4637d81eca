"""Classical inpainting by diffusion: filling holes from the known pixels without a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.hole_boxes import cover_holes

_LEAST = 8  # least side in pixels at which edges are continued
# Parameters of the diffusion along edges, chosen on photos_val (docs/ablation.md).
_STEPS = 14
_STEP_SIZE = 0.4  # the operator's eigenvalues reach 4.8; below 2 / 4.8 the iteration is stable
_GRADIENT_SCALE, _TENSOR_SCALE = 0.5, 4.0  # standard deviations in pixels
_SEEN = 16  # distance in pixels up to which a pixel affects the direction of diffusion
_FLAT = 0.01**2  # squared gradients far below this do not count as edges
_ISOTROPIC = 0.1  # weight of the isotropic diffusion
# Corners of a cell of 2x2 pixels, as signs along x and y.
_CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1))
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_FEW = 0.04  # share of pixels in holes below which a CPU is faster with these alone
_CHUNK = 2**17  # numbers that a CPU works on at once
# Pictures of more pixels are smoothed in crops around their holes. A pixel is affected by 24 pixels
# through `_relax`, by one for each step of the diffusion, and by 13 and one through the tensors.
_LARGE, _CROP = 2**18, 512
_REACH = 24 + _STEPS + 14
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
    # Without holes there is nothing to do; but to ask a GPU takes longer than to do it.
    if picture.is_cpu and not bool(mask.any()):
        return picture
    if height == 1 and width == 1:
        return torch.where(mask, torch.full_like(picture, 0.5), picture)
    filled = torch.where(mask, _finer(fill_holes(*_coarser(picture, mask)), picture), picture)
    mask = mask.expand(len(filled), -1, -1, -1)
    if filled.is_cpu and height * width > _LARGE and not filled.requires_grad:
        return _smooth_around_holes(filled, mask)
    # Small batches stay in a core's cache.
    count = max(1, _CHUNK // filled[0].numel()) if filled.is_cpu else len(filled)
    parts = zip(torch.split(filled, count), torch.split(mask, count), strict=True)
    done = [_smooth(part, hole) for part, hole in parts]
    result = done[0] if len(done) == 1 else torch.cat(done)
    order = torch.channels_last if _is_channels_last(picture) else torch.contiguous_format
    return result.contiguous(memory_format=order)


def _padding(height: int, width: int) -> tuple[int, int, int, int]:
    """Return the padding to even sizes, and of one pixel to two."""
    return (0, width % 2 if width > 1 else 1, 0, height % 2 if height > 1 else 1)


def _coarser(picture: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the averages of known pixels at half the size, and where there are none."""
    padding = _padding(*picture.shape[-2:])
    weight = F.avg_pool2d(F.pad((~mask).to(picture.dtype), padding), 2)
    total = F.avg_pool2d(F.pad(torch.where(mask, 0, picture), padding), 2)
    return total / weight.clamp_min(1e-8), weight == 0


def _finer(coarse: Tensor, like: Tensor) -> Tensor:
    """Enlarge the filling at half the size to the size of ``like``."""
    height, width = like.shape[-2:]
    size = [2 * side for side in coarse.shape[-2:]]
    finer = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return finer[..., :height, :width]


def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _smooth(filled: Tensor, mask: Tensor) -> Tensor:
    smooth = _relax(filled, mask)
    return smooth if min(filled.shape[-2:]) < _LEAST else _continue_edges(smooth, mask)


def _smooth_around_holes(filled: Tensor, mask: Tensor) -> Tensor:
    """Smooth large pictures crop by crop, in place: the result and less time and memory."""
    height, width = filled.shape[-2:]
    for picture, hole in zip(filled, mask, strict=True):
        found = []
        for box in cover_holes(hole, _REACH, _CROP):
            crop = box.grown(_REACH, height, width)
            smooth = _smooth(picture[crop.part][None], hole[crop.part][None])[0]
            inside = smooth[:, box.top - crop.top :, box.left - crop.left :]
            changed = hole[box.part][0]
            height_of, width_of = changed.shape
            found.append((box, changed, inside[:, :height_of, :width_of][:, changed]))
        # Afterwards, because crops overlap.
        for box, changed, values in found:
            picture[box.part][:, changed] = values
    return filled


def _inwards(x: Tensor) -> Tensor:
    """Reorder ``B C H W`` to ``C H W B``: then shifted parts of all pictures are long runs."""
    return x.permute(1, 2, 3, 0).contiguous()


def _outwards(x: Tensor) -> Tensor:
    return x.permute(3, 0, 1, 2).contiguous()


def _relax(filled: Tensor, mask: Tensor, sweeps: int = 8) -> Tensor:
    hole = _inwards(mask).to(filled.dtype)
    state, curved = (_framed(_inwards(filled)) for _ in range(2))
    inside = state[:, 1:-1, 1:-1]
    share = hole / 4
    for _ in range(sweeps):
        inside.addcmul_(share, _laplacian(state))
    # The operator's eigenvalues reach 64; below 2 / 64 the iteration is stable.
    share = hole * 0.0275
    for _ in range(sweeps):
        curved[:, 1:-1, 1:-1] = _laplacian(state)
        inside.sub_(_laplacian(curved).mul_(share))
    return _outwards(inside)


def _framed(x: Tensor) -> Tensor:
    """Pad ``C H W B`` by one pixel; what is there is for `_laplacian` to fill."""
    return F.pad(x, (0, 0, 1, 1, 1, 1))


def _laplacian(framed: Tensor) -> Tensor:
    """Compute the Laplacian of ``C H+2 W+2 B``, whose frame is overwritten: ``C H W B``."""
    for axis in (1, 2):
        size = framed.shape[axis]
        framed.select(axis, 0).copy_(framed.select(axis, 1))
        framed.select(axis, size - 1).copy_(framed.select(axis, size - 2))
    inside = framed[:, 1:-1, 1:-1]
    around = framed[:, :-2, 1:-1] + framed[:, 2:, 1:-1]
    around.add_(framed[:, 1:-1, :-2]).add_(framed[:, 1:-1, 2:])
    return around.sub_(inside, alpha=4)


def _continue_edges(filled: Tensor, mask: Tensor) -> Tensor:
    """Diffuse inside the holes along the edges of the filling and its surroundings."""
    if not filled.is_cpu and not filled.requires_grad:
        return _diffuse_all(filled, mask)
    place = mask.nonzero()
    if not len(place):
        return filled
    first = (place[:, 2:].amin(0) - _SEEN).clamp_min(0).tolist()
    last = (place[:, 2:].amax(0) + _SEEN + 1).tolist()
    rows, columns = (slice(start, stop) for start, stop in zip(first, last, strict=True))
    part, hole = filled[..., rows, columns], mask[..., rows, columns]
    if filled.requires_grad or len(place) < _FEW * hole.numel():
        place[:, 2:] -= torch.tensor(first, device=place.device)
        found = _diffuse_at(part, place)
    else:
        found = _diffuse_all(part, hole)
    part.copy_(found)
    return filled


def _diffuse_at(filled: Tensor, place: Tensor) -> Tensor:
    """Diffuse at these places, ``N 4``, alone: for few pixels in a large picture."""
    batch, channels, height, width = filled.shape
    # Padded by one pixel: pixels outside have no weight, but are looked up.
    wide = width + 2
    pixel = (place[:, 0] * (height + 2) + place[:, 2] + 1) * wide + place[:, 3] + 1
    around = [dy * wide + dx for dy, dx in _AROUND]
    state = F.pad(filled, (1, 1, 1, 1)).permute(0, 2, 3, 1).reshape(-1, channels)
    weights = _stencils_at(_tensors(_inwards(filled)), place)
    before = now = state[pixel]
    for pace in _paces():
        change = torch.zeros_like(now)
        for weight, offset in zip(weights, around, strict=True):
            change.addcmul_(weight[:, None], state[pixel + offset])
        before, now = now, pace * (now + _STEP_SIZE * change) + (1 - pace) * before
        state[pixel] = now
    filled = state.view(batch, height + 2, wide, channels)[:, 1:-1, 1:-1]
    return filled.permute(0, 3, 1, 2).contiguous()


def _diffuse_all(filled: Tensor, mask: Tensor) -> Tensor:
    """Diffuse inside the holes, everywhere at once and without waiting for the device."""
    now, hole = _inwards(filled), _inwards(mask).to(filled.dtype)
    height, width = now.shape[1:3]
    weights = _stencils(_tensors(now))
    # Pixels outside have no weight.
    state = _framed(now)
    inside = state[:, 1:-1, 1:-1]
    near = [state[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in _AROUND]
    known, before, change = now * (1 - hole), now.clone(), torch.empty_like(now)
    for pace in _paces():
        torch.mul(weights[0], near[0], out=change)
        for weight, neighbour in zip(weights[1:], near[1:], strict=True):
            change.addcmul_(weight, neighbour)
        change.mul_(_STEP_SIZE).add_(now).mul_(pace).add_(before.mul_(1 - pace))
        # Known pixels stay: each sum has one term that is zero.
        before, now = now, torch.addcmul(known, hole, change, out=before)
        inside.copy_(now)
    return _outwards(now)


def _paces() -> list[float]:
    # Over-relaxed: n steps go as far as n² plain ones (Hafner et al. 2016).
    return [(4 * step + 2) / (2 * step + 3) for step in range(_STEPS)]


def _tensors(picture: Tensor) -> Tensor:
    """Compute diffusion tensors in the cells between the pixels of ``C H W B`` and around it.

    Returns:
        ``4 H+1 W+1 B``: the tensor's xx, yy and twice its xy component, and the isotropic weight.
    """
    smoothed = _blur(picture, _GRADIENT_SCALE)
    a, b = smoothed[:, :-1, :-1], smoothed[:, :-1, 1:]
    c, d = smoothed[:, 1:, :-1], smoothed[:, 1:, 1:]
    x, y = (b - a + d - c) / 2, (c - a + d - b) / 2
    products = torch.stack([_sum(x * x), _sum(y * y), _sum(x * y)])
    xx, yy, xy = _blur(products, _TENSOR_SCALE).unbind()
    difference = torch.sqrt((xx - yy) ** 2 + 4 * xy**2)
    # Where gradients agree, diffusion is along the edge alone; elsewhere in all directions.
    coherence = difference / (xx + yy + _FLAT)
    single = 1 - coherence.clamp(0, 1)
    double = single * single
    across = double * double * single  # Sharper; a general power takes as long as all the rest.
    mean, half = (1 + across) / 2, (1 - across) / 2 / difference.clamp_min(1e-12)
    along_x, along_y = mean - half * (xx - yy), mean + half * (xx - yy)
    everywhere = torch.full_like(mean, _ISOTROPIC)
    found = torch.stack([along_x, along_y, -2 * half * xy, everywhere])
    return _framed(found)


def _sum(channels: Tensor) -> Tensor:
    first, *others = channels.unbind()
    for other in others:
        first = first + other
    return first


def _blur(picture: Tensor, sigma: float) -> Tensor:
    """Blur ``C H W B`` by a Gaussian along H and W; the border is replicated."""
    radius = math.ceil(2.5 * sigma)
    weights = [math.exp(-(at**2) / (2 * sigma**2)) for at in range(-radius, radius + 1)]
    for axis in (1, 2):
        size = picture.shape[axis]
        ends = picture.narrow(axis, 0, 1), picture.narrow(axis, size - 1, 1)
        before, after = (end.repeat_interleave(radius, axis) for end in ends)
        padded = torch.cat([before, picture, after], axis)
        picture = torch.zeros_like(picture)
        for start, weight in enumerate(weights):
            picture.add_(padded.narrow(axis, start, size), alpha=weight / sum(weights))
    return picture


def _stencils(tensors: Tensor) -> list[Tensor]:
    """Compute the 3×3 stencil of every pixel, 9 tensors ``H W B``, from ``4 H+1 W+1 B``."""
    _, height, width, _ = tensors.shape
    return _added(
        lambda kind, row, column: kind[row : height - 1 + row, column : width - 1 + column],
        tensors,
    )


def _stencils_at(tensors: Tensor, place: Tensor) -> list[Tensor]:
    """Compute the 3×3 stencils at N places, 9 tensors ``N``, from tensors ``4 H+1 W+1 B``."""
    sample, row, column = place[:, 0], place[:, 2], place[:, 3]
    return _added(lambda kind, down, right: kind[row + down, column + right, sample], tensors)


def _added(cell: Callable[[Tensor, int, int], Tensor], tensors: Tensor) -> list[Tensor]:
    """Add what the four cells around a pixel give; ``cell`` takes them out of a component."""
    like = cell(tensors[0], 0, 0)
    found = [torch.zeros_like(like) for _ in range(9)]
    # The cells in the order of the corner that the pixel is of the cell.
    for (x, y), couplings in zip(_CORNERS, _cell_couplings(), strict=True):
        for kind, weights in zip(tensors, couplings, strict=True):
            part = cell(kind, int(y < 0), int(x < 0))
            for total, weight in zip(found, weights, strict=True):
                if weight:
                    total.add_(part, alpha=weight)
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
