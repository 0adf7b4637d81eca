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
# RGB to YCbCr with 16 binary places, of Cb and Cr less 128 (jccolor.c).
_TO_YCC = ((19595, 38470, 7471), (-11059, -21709, 32768), (32768, -27439, -5329))
# The shares of Cb and Cr, less 128, in red, green and blue, with 16 binary places (jdcolor.c).
_RED_OF_CR, _GREEN_OF_CR, _GREEN_OF_CB, _BLUE_OF_CB = 91881, -46802, -22554, 116130
_ONE = 2.0**16


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
    pixels = pictures.permute(0, 2, 3, 1)
    size = (len(pixels), framing.wanted_rows.shape[1], framing.wanted_columns.shape[1], 3)
    out, order = pixels.new_empty(size), torch.empty(0, dtype=torch.int64)
    for halved in (True, False):
        index = (subsampled == halved).nonzero()[:, 0]
        if not len(index):
            continue
        tables = [scaled_tables(base)[quality[index] - 1].T for base in (LUMA, CHROMA)]
        steps = upload(torch.stack(tables).float(), pixels.device)
        planes = _to_ycc(pixels.index_select(0, upload(index, pixels.device)))
        compress = _compress_halved if halved else _compress_whole
        samples = compress(planes, steps, framing.select(index))
        _to_rgb(samples, out[len(order) : len(order) + len(index)])
        order = torch.cat([order, index])
    return out.index_select(0, upload(order.argsort(), pixels.device)).permute(0, 3, 1, 2)


def _compress_whole(planes: Tensor, steps: Tensor, framing: Framing) -> Tensor:
    """Compress Y, Cb and Cr, or Y alone, without subsampling.

    Args:
        planes: whole numbers less 128, ``P B h w``.
        steps: quantisation steps of luma and chroma, ``2 64 B``.
        framing: the pictures in the planes, on the host.

    Returns:
        The wanted samples, less 128, ``P B h w``.
    """
    rows, wanted_rows = _needed(framing.rows, framing.wanted_rows)
    columns, wanted_columns = _needed(framing.columns, framing.wanted_columns)
    height, width = rows.shape[1] // BLOCK, columns.shape[1] // BLOCK
    batch = len(rows)
    sources = _sum(
        _blocked(rows * planes.shape[3] + _numbers(batch) * planes[0, 0].numel())[:, None, :, None],
        _blocked(columns)[None, :, None],
        planes.device,
    )
    kinds = [0, 1, 1][: len(planes)]
    samples = _code(_look_up(planes, sources), torch.stack([steps[kind] for kind in kinds]))
    # The samples of a block lie apart, those of one place in all blocks together.
    blocks = height * width * batch
    down = wanted_rows % BLOCK * BLOCK * blocks + wanted_rows // BLOCK * width * batch
    across = wanted_columns % BLOCK * blocks + wanted_columns // BLOCK * batch
    places = _sum((down + _numbers(batch))[:, :, None], across[:, None], planes.device)
    return _look_up(samples, places)


def _compress_halved(planes: Tensor, steps: Tensor, framing: Framing) -> Tensor:
    """Compress Y, Cb and Cr with subsampled chroma; see `_compress_whole`."""
    luma = _compress_whole(planes[:1], steps, framing)
    batch, height, width = len(framing.rows), framing.rows.shape[1], framing.columns.shape[1]
    # The last row of the subsampled chroma is repeated below the picture, not the last row before
    # subsampling (jcprepct.c).
    along, last = torch.arange(height)[None], (framing.height[:, None] - 1) // 2
    rows = framing.rows.gather(1, 2 * torch.minimum(along // 2, last) + along % 2)
    first = _numbers(batch) * planes[0, 0].numel()
    sources = _sum(
        (rows * planes.shape[3] + first)[:, :, None], framing.columns[:, None], planes.device
    )
    whole = _look_up(planes[1:], sources)
    pairs = whole[:, :, ::2] + whole[:, :, 1::2]
    halves = pairs[..., ::2] + pairs[..., 1::2]
    # Sums of four are rounded down and up in turn (jcsample.c).
    bias = torch.arange(width // 2, device=halves.device) % 2 + 1
    halves.add_(bias).mul_(0.25).floor_()
    squares = halves.view(2, batch, height // 16, BLOCK, width // 16, BLOCK)
    samples = _code(squares.permute(0, 3, 5, 2, 4, 1).contiguous(), steps[1:].expand(2, -1, -1))
    chroma = samples.permute(0, 5, 3, 1, 4, 2).reshape(halves.shape)
    return torch.cat([luma, _interpolate(chroma, framing)])


def _to_ycc(pixels: Tensor) -> Tensor:
    """Convert RGB ``B h w 3`` in [0, 1] to whole numbers Y, Cb, Cr, less 128: ``3 B h w``."""
    levels = pixels.permute(3, 0, 1, 2).contiguous()
    levels = levels.clamp_(0, 1).mul_(255).round_().view(3, -1)
    mixed = (constant(_TO_YCC, levels) / _ONE) @ levels
    mixed[0] += 0.5 - 128  # Rounded to nearest; Cb and Cr too, but for ties.
    mixed[1:] += 0.5 - 1 / _ONE
    return mixed.floor_().view(3, *pixels.shape[:3])


def _code(blocks: Tensor, steps: Tensor) -> Tensor:
    """Transform and quantise blocks, and undo both.

    Args:
        blocks: samples less 128, ``P 8 8 m n B``, each place of a block in all blocks together.
        steps: quantisation steps, ``P 64 B``.

    Returns:
        The decoded samples, less 128, of the same shape.
    """
    count, size = len(blocks), blocks.shape
    step = steps.double().view(count, BLOCK, BLOCK, 1, 1, -1)
    # Ties are rounded away from zero, but `round` takes them to the even number. So quotients are
    # made larger, by less than what lies between any of them and a tie.
    inverse = (1 + 2.0**-20) / (8 * step)
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


def _interpolate(chroma: Tensor, framing: Framing) -> Tensor:
    """Double the chroma ``P B H/2 W/2`` by a triangle filter (*fancy upsampling*): ``P B h w``."""
    device = chroma.device
    near, far = _neighbours(framing.wanted_rows, framing.height)
    number = _numbers(len(near))
    down = _look_up_rows(chroma, near, number), _look_up_rows(chroma, far, number)
    rows = down[0].mul_(3).add_(down[1])
    left, right = _neighbours(framing.wanted_columns, framing.width)
    filters = torch.zeros(len(left), chroma.shape[3], left.shape[1])
    filters.scatter_(1, left[:, None], 3 / 16)
    filters.scatter_add_(1, right[:, None], torch.full_like(filters[:, :1], 1 / 16))
    filters = upload(filters, device)
    bias = upload(0.5 - framing.wanted_columns[:, None] % 2 / 16, device)
    return torch.stack([torch.bmm(each, filters).add_(bias).floor_() for each in rows])


def _look_up_rows(planes: Tensor, rows: Tensor, number: Tensor) -> Tensor:
    """Take rows ``B h`` of planes ``P B H W``: ``P B h W``."""
    count, batch, height, width = planes.shape
    index = upload((number * height + rows).flatten(), planes.device)
    found = [plane.reshape(-1, width).index_select(0, index) for plane in planes]
    return torch.stack(found).view(count, batch, -1, width)


def _neighbours(places: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest and the next nearest subsampled place of each, inside the picture."""
    near = places // 2
    far = (near + places % 2 * 2 - 1).clamp_min(0)
    return near, torch.minimum(far, (length[:, None] - 1) // 2)


def _to_rgb(samples: Tensor, out: Tensor) -> None:
    """Convert Y, Cb, Cr less 128, ``3 B h w``, to RGB in [0, 1], ``B h w 3``, in ``out``."""
    luma, blue, red = samples
    rgb = torch.empty_like(samples)
    torch.mul(red, _RED_OF_CR / _ONE, out=rgb[0])
    torch.mul(red, _GREEN_OF_CR / _ONE, out=rgb[1]).add_(blue, alpha=_GREEN_OF_CB / _ONE)
    torch.mul(blue, _BLUE_OF_CB / _ONE, out=rgb[2])
    rgb.add_(0.5).floor_().add_(luma).add_(128).clamp_(0, 255).div_(constant((255,), rgb))
    out.permute(3, 0, 1, 2).copy_(rgb)


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


def _numbers(batch: int) -> Tensor:
    return torch.arange(batch)[:, None]


def _sum(first: Tensor, second: Tensor, device: torch.device) -> Tensor:
    """Add two broadcast indices on a device."""
    return upload(first, device) + upload(second, device)


def _look_up(planes: Tensor, index: Tensor) -> Tensor:
    """Look up samples of each plane by their numbers: ``P …`` and int64 ``…`` to ``P …``."""
    found = planes.new_empty(len(planes), index.numel())
    for plane, out in zip(planes, found, strict=True):
        torch.index_select(plane.reshape(-1), 0, index.reshape(-1), out=out)
    return found.view(len(planes), *index.shape)


def _up_to(multiple: int, length: int) -> int:
    return -(-length // multiple) * multiple


def _dct(like: Tensor, places: int) -> Tensor:
    """Return the DCT's matrix, ``8 8``, for a pass that drops this number of binary places."""
    return constant(_DCT, like) * 2.0**-places
