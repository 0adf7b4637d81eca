"""Restoring a picture in overlapping tiles, so that memory follows the tile, not the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from irae.errors import IraeError, UsageError

MINIMUM_TILE = 64
"""Pixels: when memory does not even hold a tile of this side, smaller ones will not help."""

DEFAULT_OVERLAP = 48
"""Pixels. 99.99 % of the gradient of a pixel that the default network restores lies within 32
pixels of it, and the outer quarter of an overlap has no say. Largest seam error of the packaged
denoiser on a photograph with noise of sigma 50, in tiles of 256: 8.2/255 at an overlap of 16,
1.9/255 at 32, 0.22/255 at 48 and 0.06/255 at 64 (RMS 0.21, 0.044, 0.008 and 0.001)."""

RestoreFunction = Callable[[Tensor, Tensor | None], Tensor]
"""Takes ``1 C h w`` and a mask ``1 1 h w`` or none, returns ``1 C h w``, on any device."""


@dataclass(frozen=True)
class Span:
    """One tile along one axis: pixels ``start`` to ``stop``, and how much each of them counts."""

    start: int
    stop: int
    weight: Tensor  # float32 [stop - start]; the weights of all spans over a pixel add up to 1


def tile_spans(length: int, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """Cut an axis into overlapping spans with feathered weights.

    Spans are as even as they can be, so that no narrow remainder is left at the end. Every
    start is a multiple of ``multiple``: a network that begins with a squeeze groups pixels by
    their position, and a tile that starts off that grid would be grouped otherwise.

    Args:
        length: pixels along the axis, at least 1.
        tile: most pixels of a span, at least ``multiple``; rounded down to a multiple of it.
        overlap: least pixels that neighbours share; at most a third of a tile is used.
        multiple: the grid of the starts, in pixels.

    Raises:
        UsageError: a size that is not positive, or a tile below ``multiple``.
    """
    if length < 1 or multiple < 1 or overlap < 0 or tile < multiple:
        raise UsageError(
            f"cannot cut {length} pixels into tiles of {tile} with an overlap of {overlap};"
            f" the tile must be at least {multiple} and the overlap not negative"
        )
    if length <= tile:
        return [Span(0, length, torch.ones(length))]
    tile -= tile % multiple
    # Rounded up, or the overlap promised would not be kept. With at most a third of a tile, the
    # stride stays above the overlap and no pixel lies in three spans.
    overlap = min(-(-overlap // multiple), tile // (3 * multiple)) * multiple
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


def _ramp(length: int) -> Tensor:
    """0 to 1 over ``length`` pixels, flat for a quarter at either end, raised cosine between.

    The pixels next to a tile's edge are those that saw least of their surroundings, so they
    get no say at all.
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
) -> Tensor:
    """Restore a picture tile by tile and feather the tiles together.

    Picture and result stay where ``picture`` is (host memory); ``restore`` is handed one tile at
    a time and may compute it on any device.

    Args:
        restore: what restores one tile.
        picture: float32 ``C H W``.
        tile: largest side of a tile, pixels.
        overlap: pixels that neighbouring tiles share.
        multiple: what tile positions must be a multiple of (the model's ``size_multiple``).
        mask: bool ``1 H W``, true in the holes; known pixels are then returned bit-equal.

    Returns:
        float32 ``C H W``, the same as the untiled result but for the feathered seams.

    Raises:
        UsageError: sizes that do not fit together (see `tile_spans`).
    """
    _, height, width = picture.shape
    rows = tile_spans(height, tile, overlap, multiple)
    columns = tile_spans(width, tile, overlap, multiple)
    if len(rows) == len(columns) == 1:
        return _restore_part(restore, picture, mask)
    result = torch.zeros_like(picture)
    for row, column in _pairs(rows, columns):
        part = (slice(None), slice(row.start, row.stop), slice(column.start, column.stop))
        hole = None if mask is None else mask[part]
        if hole is not None and not bool(hole.any()):
            continue  # Nothing to fill here, and what is known is put back below.
        restored = _restore_part(restore, picture[part], hole)
        result[part] += restored * row.weight[:, None] * column.weight
    return result if mask is None else torch.where(mask, result, picture)


def _pairs(rows: list[Span], columns: list[Span]) -> Iterator[tuple[Span, Span]]:
    for row in rows:
        for column in columns:
            yield row, column


def _restore_part(restore: RestoreFunction, part: Tensor, mask: Tensor | None) -> Tensor:
    """Hand one tile to ``restore`` as a batch of one, and bring the answer back to its place."""
    batch_mask = None if mask is None else mask[None]
    return restore(part[None], batch_mask)[0].to(device=part.device, dtype=part.dtype)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed, on an accelerator or on the host."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The host allocator and MPS raise a plain RuntimeError, known only by its text.
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "DefaultCPUAllocator" in text or "out of memory" in text or "bad_alloc" in text
    )


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
) -> tuple[Tensor, int]:
    """As `restore_tiled`, but when memory runs out the tile is halved and the picture redone.

    Args:
        tile: first largest side of a tile; 0 means the whole picture at once.
        minimum: the smallest side that is tried, pixels.
        notify: told in one line each time the tile is halved.

    Returns:
        The restored picture ``C H W`` and the tile that memory held (0: the whole picture).

    Raises:
        IraeError: memory does not hold a tile of ``minimum`` pixels either.
    """
    longest = max(picture.shape[-2:])
    while True:
        side = max(min(tile or longest, longest), multiple)
        try:
            restored = restore_tiled(
                restore, picture, tile=side, overlap=overlap, multiple=multiple, mask=mask
            )
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return restored, tile
        # Outside the handler, whose traceback still holds the tensors of the failed attempt.
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
