"""JPEG compression of a whole batch in tensor operations, bit for bit that of libjpeg-turbo.

Pillow compresses one picture at a time, in host memory, and Python takes most of the time. Here
only the lossy part of a file's making and reading is computed: conversion to YCbCr, subsampling,
DCT, quantisation, and the way back with its interpolation of the chroma. In libjpeg-turbo all of
this is integer arithmetic (jccolor.c, jcsample.c, jfdctint.c, jcdctmgr.c, jidctint.c, jdsample.c,
jdcolor.c); a DCT with its sums and shifts is a matrix of integers and one rounding. So it is
computed by matrix products in floating point, in which every number is a whole number of some power
of two and below the limit of exactness. The result is Pillow's, to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from irae.imaging.analysis.dct import BLOCK
from irae.imaging.jpeg_tables import CHROMA, LUMA, scaled_tables
from irae.runtime import constant, upload

# The first four numbers of each row of the DCT, with 13 binary places (jfdctint.c); the others are
# the same in reverse, with the opposite sign in odd rows.
_HALF_DCT = (
    (8192, 8192, 8192, 8192),
    (11363, 9633, 6437, 2260),
    (10703, 4433, -4433, -10703),
    (9633, -2259, -11362, -6436),
    (8192, -8192, -8192, 8192),
    (6437, -11362, 2261, 9633),
    (4433, -10704, 10704, -4433),
    (2260, -6436, 9633, -11363),
)
_DCT = tuple(
    (*half, *(x if number % 2 == 0 else -x for x in reversed(half)))
    for number, half in enumerate(_HALF_DCT)
)
_DCTS = {n: tuple(tuple(x * 2.0**-n for x in row) for row in _DCT) for n in (11, 15, 18)}
"""The DCT's matrix for a pass that drops ``n`` binary places."""

_ONE = 2.0**16


def _shares(*rows: tuple[int, ...]) -> tuple[tuple[float, ...], ...]:
    """Return numbers that are given with 16 binary places."""
    return tuple(tuple(number / _ONE for number in row) for row in rows)


# RGB to YCbCr, of Cb and Cr less 128 (jccolor.c).
_TO_YCC = _shares((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
# Rounded to nearest; Cb and Cr too, but for ties.
_YCC_BIAS = ((0.5 - 128,), (0.5 - 1 / _ONE,), (0.5 - 1 / _ONE,))
# The shares of Cb and Cr, less 128, in red, green and blue (jdcolor.c).
_TO_RGB = _shares((0, 91881), (-22554, -46802), (116130, 0))


@dataclass(frozen=True)
class Framing:
    """Where the pixels of JPEG pictures come from and which of them are wanted; all int64.

    Attributes:
        rows: for each row of a picture its row in the source, ``B H``. H is a multiple of 16; rows
            below the picture are the last one's copies.
        columns: the same for columns, ``B W``.
        height: number of a picture's rows, ``B``.
        width: number of a picture's columns, ``B``.
        wanted_rows: rows to return, rising by one, ``B h``.
        wanted_columns: columns to return, ``B w``.
    """

    rows: Tensor
    columns: Tensor
    height: Tensor
    width: Tensor
    wanted_rows: Tensor
    wanted_columns: Tensor

    def select(self, index: Tensor) -> Framing:
        """Select the pictures at these indices."""
        return Framing(*(part[index] for part in vars(self).values()))


def frame_pictures(
    height: int, width: int, top: Tensor, left: Tensor, *, whole: bool = False
) -> Framing:
    """Frame pictures so that blocks start ``top`` rows above and ``left`` columns before them.

    The pictures are continued there by reflection.

    Args:
        height: height of the pictures in pixels.
        width: width of the pictures in pixels.
        top: number of rows, int64 ``B`` on the host, less than ``height``.
        left: number of columns, ``B``, less than ``width``.
        whole: want the continued pictures, from their first to the last block, instead of the
            given ones; beyond the last row and column they are undefined.
    """
    parts = []
    for side, start in ((height, top), (width, left)):
        along = torch.arange(_up_to(2 * BLOCK, side + int(start.amax())))
        wanted = along.expand(len(start), -1) if whole else along[:side] + start[:, None]
        parts.append(((along - start[:, None]).abs().clamp(max=side - 1), side + start, wanted))
    (rows, tall, wanted_rows), (columns, wide, wanted_columns) = parts
    return Framing(rows, columns, tall, wide, wanted_rows, wanted_columns)


def frame_cropped(
    height: int, width: int, before: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]
) -> Framing:
    """Frame pictures that were framed whole, after they were cropped above and on the left.

    Args:
        height: height of the pictures in pixels.
        width: width of the pictures in pixels.
        before: ``top`` and ``left`` of `frame_pictures`, with ``whole``.
        now: the rows and columns of these that are left.
    """
    parts = []
    for side, old, new in zip((height, width), before, now, strict=True):
        along = torch.arange(_up_to(2 * BLOCK, side + int(new.amax())))
        sources = ((old - new)[:, None] + along).minimum((side + old)[:, None] - 1)
        parts.append((sources, side + new, along[:side] + new[:, None]))
    (rows, tall, wanted_rows), (columns, wide, wanted_columns) = parts
    return Framing(rows, columns, tall, wide, wanted_rows, wanted_columns)


def compress_together(
    pictures: Tensor, quality: Tensor, subsampled: Tensor, framing: Framing
) -> Tensor:
    """Compress pictures to JPEG as Pillow does, and decode them again.

    Gray pictures, of three equal channels, come out as from a gray file. Nothing in it waits for
    the device.

    Args:
        pictures: the sources, float32 ``B 3 h w`` in [0, 1]; rounded to 8 bits first.
        quality: quality on the scale of Pillow and libjpeg, 1 to 100, int64 ``B`` on the host.
        subsampled: bool ``B`` on the host: whether a picture is 4:2:0 instead of 4:4:4.
        framing: the pictures in the sources, on the host; at least 5 pixels high and wide.

    Returns:
        The wanted pixels, float32 ``B 3 h w`` in channels-last order.
    """
    if pictures.device.type == "mps":  # It has no float64.
        return compress_together(pictures.cpu(), quality, subsampled, framing).to(pictures.device)
    pixels, device = pictures.permute(0, 2, 3, 1), pictures.device
    height, width = pictures.shape[2:]
    parts = [(subsampled == halved).nonzero()[:, 0] for halved in (False, True)]
    plans = [_plan_blocks(framing.select(part), part * height * width, width) for part in parts]
    order, whole = torch.cat(parts), len(parts[0])
    # All that the host knows is copied at once: on a GPU, a copy costs as much as arithmetic.
    tables = [scaled_tables(base)[quality[order] - 1].T for base in (LUMA, CHROMA, CHROMA)]
    places, numbers = [order.argsort(), *plans[0], *plans[1]], [torch.stack(tables).float()]
    if len(parts[1]):
        some = framing.select(parts[1])
        places += _plan_halves(some, parts[1] * height * width, width)
        rows, *filters = _plan_interpolation(some)
        places, numbers = [*places, rows], [*numbers, *filters]
    back, *places = _upload_together(places, device)
    steps, *numbers = _upload_together(numbers, device)
    step = steps.double().view(3, BLOCK, BLOCK, 1, 1, -1)
    # Ties are rounded away from zero, but `round` takes them to the even number. So quotients are
    # made larger, by less than what lies between any of them and a tie.
    inverse = (1 + 2.0**-20) / (8 * step)
    planes = _to_ycc(pixels)
    size = framing.wanted_rows.shape[1], framing.wanted_columns.shape[1]
    samples = pixels.new_empty(3, len(pixels), *size)
    if whole:
        coding = step[..., :whole], inverse[..., :whole]
        _compress_blocks(planes, coding, places[:4], samples[:, :whole])
    if len(parts[1]):
        coding = step[:1, ..., whole:], inverse[:1, ..., whole:]
        _compress_blocks(planes[:1], coding, places[4:8], samples[:1, whole:])
        coding = step[1:, ..., whole:], inverse[1:, ..., whole:]
        chroma = _compress_halves(planes[1:], coding, places[8:10])
        _interpolate(chroma, places[10], numbers, samples[1:, whole:])
    return _to_rgb(samples).index_select(0, back).permute(0, 3, 1, 2)


def _plan_blocks(framing: Framing, first: Tensor, line: int) -> list[Tensor]:
    """Plan the compression of planes whose samples are all kept.

    Args:
        framing: the pictures in the planes.
        first: number of each picture's first pixel in a plane, ``B``.
        line: number of pixels between two rows of a plane.

    Returns:
        Two numbers to add for the source of each place of each block, and two for the place of
        each wanted sample among the blocks.
    """
    if not len(first):
        return [first] * 4
    rows, wanted_rows = _needed(framing.rows, framing.wanted_rows)
    columns, wanted_columns = _needed(framing.columns, framing.wanted_columns)
    batch, width = len(first), columns.shape[1] // BLOCK
    blocks = rows.shape[1] // BLOCK * width * batch
    # The samples of a block lie apart, those of one place in all blocks together.
    down = wanted_rows % BLOCK * BLOCK * blocks + wanted_rows // BLOCK * width * batch
    across = wanted_columns % BLOCK * blocks + wanted_columns // BLOCK * batch
    return [
        _blocked(rows * line + first[:, None])[:, None, :, None],
        _blocked(columns)[None, :, None],
        (down + torch.arange(batch)[:, None])[:, :, None],
        across[:, None],
    ]


def _plan_halves(framing: Framing, first: Tensor, line: int) -> list[Tensor]:
    """Plan the subsampling of chroma: two numbers to add for each source; see `_plan_blocks`."""
    # The last row of the subsampled chroma is repeated below the picture, not the last row before
    # subsampling (jcprepct.c).
    along = torch.arange(framing.rows.shape[1])[None]
    last = (framing.height[:, None] - 1) // 2
    rows = framing.rows.gather(1, 2 * torch.minimum(along // 2, last) + along % 2)
    return [(rows * line + first[:, None])[:, :, None], framing.columns[:, None]]


def _plan_interpolation(framing: Framing) -> tuple[Tensor, Tensor, Tensor]:
    """Plan the doubling of subsampled chroma by a triangle filter (*fancy upsampling*).

    Returns:
        The numbers, among all rows of both planes, of the nearest and the next nearest row of each
        wanted one, ``2 B 2 h``; filters that double rows, ``B W/2 w``; what is added, ``B 1 w``.
    """
    batch, height, width = len(framing.rows), framing.rows.shape[1] // 2, framing.columns.shape[1]
    rows = torch.stack(_neighbours(framing.wanted_rows, framing.height))[:, :, None]
    rows = rows + height * (torch.arange(batch)[:, None] + batch * torch.arange(2))[..., None]
    left, right = _neighbours(framing.wanted_columns, framing.width)
    filters = torch.zeros(batch, width // 2, left.shape[1])
    filters.scatter_(1, left[:, None], 3 / 16)
    filters.scatter_add_(1, right[:, None], torch.full_like(filters[:, :1], 1 / 16))
    return rows, filters, 0.5 - framing.wanted_columns[:, None] % 2 / 16


def _compress_blocks(
    planes: Tensor, coding: tuple[Tensor, Tensor], places: list[Tensor], out: Tensor
) -> None:
    """Compress planes whose samples are all kept.

    Args:
        planes: whole numbers less 128, ``P b h w``.
        coding: quantisation steps, ``P 8 8 1 1 B``, and by what is multiplied to divide by them.
        places: the indices from `_plan_blocks`.
        out: receives the wanted samples, less 128, ``P B h w``.
    """
    samples = _code(_look_up(planes, places[0] + places[1]), *coding)
    _look_up(samples, places[2] + places[3], out)


def _compress_halves(planes: Tensor, coding: tuple[Tensor, Tensor], places: list[Tensor]) -> Tensor:
    """Subsample and compress planes of chroma: ``P B H/2 W/2``; see `_compress_blocks`."""
    whole = _look_up(planes, places[0] + places[1])
    count, batch, height, width = whole.shape
    pairs = whole[:, :, ::2] + whole[:, :, 1::2]
    halves = pairs[..., ::2] + pairs[..., 1::2]
    # Sums of four are rounded down and up in turn (jcsample.c).
    halves.view(*halves.shape[:3], -1, 2).add_(constant((1, 2), halves))
    halves.mul_(0.25).floor_()
    squares = halves.view(count, batch, height // 16, BLOCK, width // 16, BLOCK)
    samples = _code(squares.permute(0, 3, 5, 2, 4, 1).contiguous(), *coding)
    return samples.permute(0, 5, 3, 1, 4, 2).reshape(halves.shape)


def _to_ycc(pixels: Tensor) -> Tensor:
    """Convert RGB ``B h w 3`` in [0, 1] to whole numbers Y, Cb, Cr, less 128: ``3 B h w``."""
    levels = pixels.permute(3, 0, 1, 2).contiguous()
    levels = levels.clamp_(0, 1).mul_(255).round_().view(3, -1)
    mixed = constant(_TO_YCC, levels) @ levels
    return mixed.add_(constant(_YCC_BIAS, levels)).floor_().view(3, *pixels.shape[:3])


def _code(blocks: Tensor, step: Tensor, inverse: Tensor) -> Tensor:
    """Transform and quantise blocks, and undo both.

    Args:
        blocks: samples less 128, ``P 8 8 m n B``, each place of a block in all blocks together.
        step: quantisation steps, float64 ``P 8 8 1 1 B``.
        inverse: by what is multiplied to divide by them, and by eight.

    Returns:
        The decoded samples, less 128, of the same shape.
    """
    count, size = len(blocks), blocks.shape
    lines = blocks.view(count * BLOCK, BLOCK, -1)
    rows = (_dct(lines, 11) @ lines).add_(0.5).floor_()
    bands = rows.double().view(count, BLOCK, -1)
    found = (_dct(bands, 15) @ bands).add_(0.5).floor_()
    found.view(size).mul_(inverse).round_().mul_(step)
    bands = found.view(count, BLOCK, -1)
    columns = (_dct(bands, 11).T @ bands).add_(0.5).floor_()
    lines = columns.view(count * BLOCK, BLOCK, -1)
    samples = (_dct(lines, 18).T @ lines).add_(0.5).floor_().float()
    return samples.clamp_(-128, 127).view(size)


def _interpolate(chroma: Tensor, rows: Tensor, numbers: list[Tensor], out: Tensor) -> None:
    """Double chroma ``2 B H/2 W/2``, as `_plan_interpolation` says; ``out`` is ``2 B h w``."""
    filters, bias = numbers
    found = chroma.reshape(-1, chroma.shape[3]).index_select(0, rows.flatten())
    near, far = found.view(2, len(filters), -1, chroma.shape[3])
    doubled = torch.bmm(near.mul_(3).add_(far), filters).add_(bias).floor_()
    out.copy_(doubled.view(len(filters), 2, -1, filters.shape[2]).transpose(0, 1))


def _neighbours(places: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest and the next nearest subsampled place of each, inside the picture."""
    near = places // 2
    far = (near + places % 2 * 2 - 1).clamp_min(0)
    return near, torch.minimum(far, (length[:, None] - 1) // 2)


def _to_rgb(samples: Tensor) -> Tensor:
    """Convert Y, Cb, Cr less 128, ``3 B h w``, to RGB in [0, 1], ``B h w 3``."""
    luma, chroma = samples[0], samples[1:].reshape(2, -1)
    rgb = (constant(_TO_RGB, chroma) @ chroma).view(samples.shape)
    rgb.add_(0.5).floor_().add_(luma).add_(128).clamp_(0, 255).div_(constant((255,), rgb))
    return rgb.permute(1, 2, 3, 0).contiguous()


def _needed(sources: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Leave out whole blocks before and after what is wanted along one axis.

    Returns:
        The source of each place in the needed blocks, and the wanted places in these.
    """
    first = wanted[:, :1] // BLOCK * BLOCK
    wanted = wanted - first
    length = _up_to(BLOCK, int(wanted.amax()) + 1)
    places = (first + torch.arange(length)).clamp(max=sources.shape[1] - 1)
    return sources.gather(1, places), wanted


def _blocked(places: Tensor) -> Tensor:
    """Reorder ``B 8m`` to ``8 m B``: the place in the block, the block, the picture."""
    return places.view(len(places), -1, BLOCK).permute(2, 1, 0).contiguous()


def _upload_together(parts: list[Tensor], device: torch.device) -> list[Tensor]:
    """Copy tensors of one type to a device at once; on the CPU they stay what they are."""
    if device.type == "cpu":
        return parts
    there = upload(torch.cat([part.flatten() for part in parts]), device)
    found = torch.split(there, [part.numel() for part in parts])
    return [each.view(part.shape) for each, part in zip(found, parts, strict=True)]


def _look_up(planes: Tensor, index: Tensor, out: Tensor | None = None) -> Tensor:
    """Look up samples of each plane by their numbers: ``P …`` and int64 ``…`` to ``P …``."""
    found = planes.new_empty(len(planes), *index.shape) if out is None else out
    flat = planes.reshape(len(planes), -1)
    if planes.is_cpu:
        for plane, each in zip(flat, found, strict=True):
            torch.index_select(plane, 0, index.reshape(-1), out=each.view(-1))
        return found
    return found.copy_(flat.index_select(1, index.reshape(-1)).view(found.shape))


def _up_to(multiple: int, length: int) -> int:
    return -(-length // multiple) * multiple


def _dct(like: Tensor, places: int) -> Tensor:
    """Return the DCT's matrix, ``8 8``, for a pass that drops this number of binary places."""
    return constant(_DCTS[places], like)
