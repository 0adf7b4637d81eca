"""Restoring a picture in overlapping tiles, so that memory depends on the tile, not the picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from irae.errors import IraeError, UsageError
from irae.imaging.hole_boxes import Box, cover_holes
from irae.runtime import is_out_of_memory, upload

MINIMUM_TILE = 64
"""Least side of a tile in pixels; if even this does not fit in memory, smaller ones will not."""

DEFAULT_OVERLAP = 48
"""Default overlap in pixels. 99.99 % of the gradient of a pixel that the default network restores
lies within 32 pixels of it, and the outer quarter of an overlap has no weight. Largest seam error
of the packaged denoiser on a photograph with noise of sigma 50, in tiles of 256: 8.2/255 at an
overlap of 16, 1.9/255 at 32, 0.22/255 at 48 and 0.06/255 at 64 (RMS 0.21, 0.044, 0.008, 0.001)."""

RestoreFunction = Callable[[Tensor, Tensor | None], Tensor]
"""Maps ``1 C h w`` and a mask ``1 1 h w`` or None to ``1 C h w``, on any device."""

Progress = Callable[[float], None]
"""Called after each tile with the share of the work that is done, above 0 and up to 1. An exception
that it raises ends the work."""


@dataclass(frozen=True)
class Span:
    """One tile along one axis: pixels ``start`` to ``stop``, and their weights."""

    start: int
    stop: int
    weight: Tensor  # float32 [stop - start]; the weights of all spans over a pixel add up to 1


def tile_spans(length: int, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """Cut an axis into overlapping spans with feathered weights.

    Spans are as even as possible, so that no narrow remainder is left at the end. Every start is a
    multiple of ``multiple``: a network that begins with a squeeze groups pixels by their position,
    and would group them differently in a tile that starts off this grid.

    Args:
        length: number of pixels along the axis, at least 1.
        tile: largest length of a span, at least ``multiple``; rounded down to a multiple of it.
        overlap: least number of pixels that neighbours share; limited to a third of a tile.
        multiple: grid of the starts, in pixels.

    Raises:
        UsageError: a size is not positive, or the tile is smaller than ``multiple``.
    """
    _check_sizes(length, tile, overlap, multiple)
    if length <= tile:
        return [Span(0, length, torch.ones(length))]
    tile -= tile % multiple
    overlap = _whole_overlap(tile, overlap, multiple)
    count = -(-(length - overlap) // (tile - overlap))
    stride = -(-(length - overlap) // (count * multiple)) * multiple
    starts = [index * stride for index in range(count) if index * stride + overlap < length]
    bounds = [(start, min(start + stride + overlap, length)) for start in starts]
    weights = [torch.ones(stop - start) for start, stop in bounds]
    for index, ((_, stop), (start, _)) in enumerate(zip(bounds, bounds[1:], strict=False)):
        shared = stop - start
        if shared > 0:
            ramp = _ramp(shared)
            weights[index][-shared:] *= 1 - ramp
            weights[index + 1][:shared] *= ramp
    return [
        Span(start, stop, weight) for (start, stop), weight in zip(bounds, weights, strict=True)
    ]


def _check_sizes(length: int, tile: int, overlap: int, multiple: int) -> None:
    if length < 1 or multiple < 1 or overlap < 0 or tile < multiple:
        raise UsageError(
            f"cannot cut {length} pixels into tiles of {tile} with an overlap of {overlap};"
            f" the tile must be at least {multiple} and the overlap not negative"
        )


def _whole_overlap(tile: int, overlap: int, multiple: int) -> int:
    """Round an overlap up to the grid, so that it is not less than requested.

    With at most a third of a tile, the stride stays above the overlap and no pixel lies in three
    spans.
    """
    return min(-(-overlap // multiple), tile // (3 * multiple)) * multiple


def _ramp(length: int) -> Tensor:
    """Return a ramp from 0 to 1: flat for a quarter at either end, a raised cosine between.

    The pixels next to a tile's edge were restored with the least context, so their weight is 0.
    """
    position = (torch.arange(length, dtype=torch.float32) + 0.5) / length
    return 0.5 - 0.5 * torch.cos(torch.pi * ((position - 0.25) / 0.5).clamp(0, 1))


def restore_tiled(
    restore: RestoreFunction,
    picture: Tensor,
    *,
    tile: int,
    overlap: int = DEFAULT_OVERLAP,
    multiple: int = 1,
    mask: Tensor | None = None,
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> Tensor:
    """Restore a picture tile by tile and feather the tiles together.

    ``restore`` gets one tile at a time and may compute it on any device. If it computes on a GPU
    that has room for the picture, give it as ``device``: the picture is then copied there once, the
    tiles are cut and joined there, and the result is copied back once.

    Args:
        restore: restores one tile.
        picture: float32 ``C H W``.
        tile: largest side of a tile in pixels.
        overlap: least number of pixels that neighbouring tiles share.
        multiple: divisor of the tiles' positions (the model's ``size_multiple``).
        mask: bool ``1 H W``, True in the masked region; known pixels are then returned bit-equal.
            Tiles are then crops around the holes, which have a margin of ``overlap``.
        progress: called after each tile.
        device: where tiles are cut and joined; that of ``picture`` if None, or with a mask.

    Returns:
        float32 ``C H W`` on the device of ``picture``, equal to the untiled result except near the
        feathered seams. Of a picture with scratches, the packaged model's crops differed by at most
        0.02/255 in the holes.

    Raises:
        UsageError: the sizes do not fit together (see `tile_spans`).
    """
    if mask is not None:
        return _restore_around_holes(
            restore, picture, mask, tile, overlap, multiple, progress or (lambda _share: None)
        )
    _, height, width = picture.shape
    rows = tile_spans(height, tile, overlap, multiple)
    columns = tile_spans(width, tile, overlap, multiple)
    tell = progress or (lambda _share: None)
    if len(rows) == len(columns) == 1:
        restored = _restore_part(restore, picture, None)
        tell(1.0)
        return restored
    there = picture if device is None else upload(picture, device)
    result = torch.zeros_like(there)
    heights, widths = ([upload(x.weight, there.device) for x in spans] for spans in (rows, columns))
    for done, (at, to) in enumerate(product(range(len(rows)), range(len(columns))), 1):
        row, column = rows[at], columns[to]
        part = (slice(None), slice(row.start, row.stop), slice(column.start, column.stop))
        restored = _restore_part(restore, there[part], None)
        result[part] += restored * heights[at][:, None] * widths[to]
        tell(done / (len(rows) * len(columns)))
    return result.to(picture.device)


def _restore_around_holes(
    restore: RestoreFunction,
    picture: Tensor,
    mask: Tensor,
    tile: int,
    overlap: int,
    multiple: int,
    tell: Progress,
) -> Tensor:
    """Restore crops around the holes, each with a margin of ``overlap``, and feather them."""
    _, height, width = picture.shape
    _check_sizes(min(height, width), tile, overlap, multiple)
    if max(height, width) <= tile:
        boxes, margin = [Box(0, 0, height, width)], 0
    else:
        margin = _whole_overlap(tile, overlap, multiple)
        boxes = cover_holes(mask, margin, tile, multiple)
    result, total = torch.zeros_like(picture), torch.zeros_like(picture[:1])
    for done, box in enumerate(boxes, 1):
        crop = box.grown(margin, height, width)
        weight = _window(crop.top, box.top, box.bottom, crop.bottom, margin)[:, None]
        weight = weight * _window(crop.left, box.left, box.right, crop.right, margin)
        restored = _restore_part(restore, picture[crop.part], mask[crop.part])
        result[crop.part] += restored * weight
        total[crop.part] += weight
        tell(done / len(boxes))
    if not boxes:
        tell(1.0)
    # In place: a large photograph has copies enough.
    return torch.where(mask, result.div_(total), picture, out=result)


def _window(start: int, first: int, end: int, stop: int, margin: int) -> Tensor:
    """Return the weights of a crop along an axis: 1 from ``first`` to ``end``, less outside."""
    if not margin:
        return torch.ones(stop - start)
    fall = 2 * _ramp(2 * margin)[:margin]  # From 0 to almost 1.
    before, after = fall[margin - (first - start) :], fall[margin - (stop - end) :].flip(0)
    return torch.cat([before, torch.ones(end - first), after])


def _restore_part(restore: RestoreFunction, part: Tensor, mask: Tensor | None) -> Tensor:
    """Restore one tile as a batch of one, and bring the result to the picture's device."""
    batch_mask = None if mask is None else mask[None]
    return restore(part[None], batch_mask)[0].to(device=part.device, dtype=part.dtype)


def restore_within_memory(
    restore: RestoreFunction,
    picture: Tensor,
    *,
    tile: int,
    overlap: int = DEFAULT_OVERLAP,
    multiple: int = 1,
    mask: Tensor | None = None,
    minimum: int = MINIMUM_TILE,
    notify: Callable[[str], None],
    progress: Progress | None = None,
    device: torch.device | None = None,
) -> tuple[Tensor, int]:
    """Restore a picture in tiles; when memory runs out, the tile is halved and restoring restarts.

    The other arguments are those of `restore_tiled`.

    Args:
        tile: largest side of a tile at first, in pixels; 0 for the whole picture at once.
        minimum: smallest side of a tile to try, in pixels.
        notify: called with one line each time the tile is halved.

    Returns:
        The restored picture ``C H W`` and the final tile (0 for the whole picture).

    Raises:
        IraeError: even a tile of ``minimum`` pixels does not fit in memory.
    """
    longest = max(picture.shape[-2:])
    while True:
        side = max(min(tile or longest, longest), multiple)
        try:
            restored = restore_tiled(
                restore,
                picture,
                tile=side,
                overlap=overlap,
                multiple=multiple,
                mask=mask,
                progress=progress,
                device=device,
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return restored, tile
        # Outside the handler, because its traceback holds the tensors of the failed attempt.
        _empty_caches()
        if side <= max(minimum, multiple):
            raise IraeError(
                f"out of memory even in tiles of {side} pixels;"
                " free some memory, or use the device cpu"
            )
        tile = max(side // 2, minimum, multiple)
        notify(f"out of memory; going on in tiles of {tile} pixels")


def _empty_caches() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
