"""Classical inpainting by diffusion: filling holes from the known pixels without a network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.crops import halve
from irae.imaging.hole_boxes import cover_holes

_LEAST = 8  # least side in pixels at which edges are continued
# Parameters of the diffusion along edges, chosen on photos_val (docs/ablation.md).
_STEPS = 14
_STEP_SIZE = 0.4  # the operator's eigenvalues reach 4.8; below 2 / 4.8 the iteration is stable
_GRADIENT_SCALE, _TENSOR_SCALE = 0.5, 4.0  # standard deviations in pixels
_SEEN = 16  # distance in pixels up to which a pixel affects the direction of diffusion
_FLAT = 0.01**2  # squared gradients far below this do not count as edges
_ISOTROPIC = 0.1  # weight of the isotropic diffusion
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
_MIDDLE = 4  # the pixel itself in this list
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
    weight = halve(F.pad((~mask).to(picture.dtype), padding))
    total = halve(F.pad(torch.where(mask, 0, picture), padding))
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
    state, curved = (_Framed(_inwards(filled)) for _ in range(2))
    share = hole / 4
    for _ in range(sweeps):
        state.inside.addcmul_(share, state.laplacian())
    # The operator's eigenvalues reach 64; below 2 / 64 the iteration is stable.
    share = hole * -0.0275
    for _ in range(sweeps):
        if filled.requires_grad:
            curved.inside.copy_(state.laplacian())
        else:
            state.laplacian(out=curved.inside)
        state.inside.addcmul_(share, curved.laplacian())
    return _outwards(state.inside)


class _Framed:
    """``C H W B`` inside a frame of one pixel, with views that are made once.

    Attributes:
        inside: the view ``C H W B``.
    """

    def __init__(self, x: Tensor) -> None:
        whole = F.pad(x, (0, 0, 1, 1, 1, 1))
        self.inside = whole[:, 1:-1, 1:-1]
        self._frame = [
            (whole.select(axis, end), whole.select(axis, next_))
            for axis in (1, 2)
            for end, next_ in ((0, 1), (-1, -2))
        ]
        self._up, self._down = whole[:, :-2, 1:-1], whole[:, 2:, 1:-1]
        self._left, self._right = whole[:, 1:-1, :-2], whole[:, 1:-1, 2:]

    def laplacian(self, out: Tensor | None = None) -> Tensor:
        """Compute the Laplacian ``C H W B``; beyond the border lies the border's pixel again."""
        for outside, border in self._frame:
            outside.copy_(border)
        around = torch.add(self._up, self._down, out=out)
        return around.add_(self._left).add_(self._right).sub_(self.inside, alpha=4)


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
    weights = [_STEP_SIZE * each[:, None] for each in weights]
    before = now = state[pixel]
    for pace in _paces():
        stepped = now
        for weight, offset in zip(weights, around, strict=True):
            stepped = stepped.addcmul(weight, state[pixel + offset])
        before, now = now, torch.lerp(before, stepped, pace)
        state[pixel] = now
    filled = state.view(batch, height + 2, wide, channels)[:, 1:-1, 1:-1]
    return filled.permute(0, 3, 1, 2).contiguous()


def _diffuse_all(filled: Tensor, mask: Tensor) -> Tensor:
    """Diffuse inside the holes, everywhere at once and without waiting for the device."""
    start = _inwards(filled)
    height, width = start.shape[1:3]
    # Known pixels have no weights, so that nothing is added to them.
    share = _STEP_SIZE * _inwards(mask)[0].to(filled.dtype)
    weights = [each * share for each in _stencils(_tensors(start))]
    # Pixels outside have no weight either.
    now, before = (F.pad(start, (0, 0, 1, 1, 1, 1)) for _ in range(2))
    near, near_before = (
        [each[:, 1 + y : 1 + y + height, 1 + x : 1 + x + width] for y, x in _AROUND]
        for each in (now, before)
    )
    stepped = torch.empty_like(start)
    for pace in _paces():
        middle = near[_MIDDLE]
        torch.addcmul(middle, weights[0], near[0], out=stepped)
        for weight, neighbour in zip(weights[1:], near[1:], strict=True):
            stepped.addcmul_(weight, neighbour)
        # In the place of the state before; a pixel that was the same before and now stays so.
        near_before[_MIDDLE].lerp_(stepped, pace)
        near, near_before = near_before, near
    return _outwards(near[_MIDDLE])


def _paces() -> list[float]:
    # Over-relaxed: n steps go as far as n² plain ones (Hafner et al. 2016).
    return [(4 * step + 2) / (2 * step + 3) for step in range(_STEPS)]


def _tensors(picture: Tensor) -> Tensor:
    """Compute diffusion tensors in the cells between the pixels of ``C H W B`` and around it.

    A cell's energy is ∇uᵀ D ∇u / 2, where ∇u is the mean of its two differences along each axis,
    and `_ISOTROPIC` times half of its squared differences. Its derivative couples each of the four
    pixels with the other three.

    Returns:
        ``4 H+1 W+1 B``: the couplings along the two diagonals, down right and down left, along x,
        and along y. Outside the picture they are zero.
    """
    smoothed = _blur(picture, _GRADIENT_SCALE)
    a, b = smoothed[:, :-1, :-1], smoothed[:, :-1, 1:]
    c, d = smoothed[:, 1:, :-1], smoothed[:, 1:, 1:]
    x, y = (b - a + d - c) / 2, (c - a + d - b) / 2
    products = torch.stack([_sum(x * x), _sum(y * y), _sum(x * y)])
    xx, yy, xy = _blur(products, _TENSOR_SCALE).unbind()
    difference = xx - yy
    length = torch.sqrt(difference * difference + 4 * (xy * xy))
    # Where gradients agree, diffusion is along the edge alone; elsewhere in all directions.
    single = 1 - (length / (xx + yy + _FLAT)).clamp(0, 1)
    double = single * single
    across = double * double * single  # Sharper; a general power takes as long as all the rest.
    # D has the eigenvalues 1 and `across`.
    mean, share = (1 + across) / 4, (1 - across) / length.clamp_min(1e-12) / 4
    difference, twisted = difference * share, 2 * (xy * share)
    straight = [_ISOTROPIC / 2 - difference, _ISOTROPIC / 2 + difference]
    return F.pad(torch.stack([mean - twisted, mean + twisted, *straight]), (0, 0, 1, 1, 1, 1))


def _sum(channels: Tensor) -> Tensor:
    first, *others = channels.unbind()
    for other in others:
        first = first + other
    return first


def _blur(picture: Tensor, sigma: float) -> Tensor:
    """Blur ``C H W B`` by a Gaussian along H and W; the border is replicated."""
    radius = math.ceil(2.5 * sigma)
    weights = [math.exp(-(at**2) / (2 * sigma**2)) for at in range(-radius, radius + 1)]
    total = sum(weights)
    for axis in (1, 2):
        size = picture.shape[axis]
        ends = picture.narrow(axis, 0, 1), picture.narrow(axis, size - 1, 1)
        before, after = (end.repeat_interleave(radius, axis) for end in ends)
        padded = torch.cat([before, picture, after], axis)
        first, *others = (weight / total for weight in weights)
        picture = padded.narrow(axis, 0, size) * first
        for start, weight in enumerate(others, 1):
            picture.add_(padded.narrow(axis, start, size), alpha=weight)
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
    falling, rising, along, down = tensors
    left, right = (cell(along, 0, at) + cell(along, 1, at) for at in (0, 1))
    above, below = (cell(down, at, 0) + cell(down, at, 1) for at in (0, 1))
    corners = [cell(falling, 0, 0), cell(rising, 0, 1), cell(rising, 1, 0), cell(falling, 1, 1)]
    sides = (left + right) + (above + below)
    # A constant does not change.
    middle = -(sides + ((corners[0] + corners[3]) + (corners[1] + corners[2])))
    return [corners[0], above, corners[1], left, middle, right, corners[2], below, corners[3]]
