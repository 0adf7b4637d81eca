"""What is kept of an original: its difference from the restored picture, packed without loss.

Two ways of predicting the original's pixels. ``restored``: they are the restored picture's, and
the difference is kept. ``inverse``: the network is run on the original as a bijection of integers
(`irae.models.lossless`); of what comes out, only what the restored picture does not say is kept.
The first costs as many bits as the noise has; the second as many as the network shrinks a picture
by, whatever the noise, and up to one more where the picture is small and cut into narrow strips.
"""

from __future__ import annotations

import lzma
import math
import struct
import zlib
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

from irae.models.lanes import Lanes
from irae.models.lossless import LosslessIRAE

Codes = npt.NDArray[np.int64]

LEAST_SIDE = 32
"""Pixels: no tile is narrower."""

_TILE = 384  # Side of the largest part that the network is run on at once,
_WHOLE = 200_000  # or pixels: memory, and not much more time, is all that larger ones cost.
# Where a first tile of this length is cut: the strips grow as what was kept before them does.
_SHARES = ((400, (0.12, 0.21, 0.36, 0.6)), (240, (0.19, 0.35, 0.6)), (0, (0.33, 0.6)))
# The network sees numbers of 16 bits, so that its rounding is below the last of 8.
_CENTRE = 1 << 15
_RINGS = (0, 2, 4, 7, 10)  # Distances from a tile's edge, where the network sees less, at which
_CLASSES = 8  # the numbers are of other sizes; and how many sizes are told apart.
_LENGTH = struct.Struct("<I")
_RECORD = struct.Struct("<III")


_Part = tuple[slice, slice, slice]


class DamagedError(ValueError):
    """Packed data that does not unpack to what was promised."""


def pack(data: bytes) -> bytes:
    """Compress with whichever of a few coders does best; its letter comes first."""
    # Noise has no repeats to be found: an entropy coder alone is quicker and no worse.
    plain = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
    candidates = [b"r" + data, b"z" + plain.compress(data) + plain.flush()]
    candidates.append(b"z" + zlib.compress(data, 6))
    if len(candidates[2]) < 0.97 * len(candidates[1]):
        candidates.append(b"x" + lzma.compress(data, lzma.FORMAT_XZ))
    return min(candidates, key=len)


def unpack(packed: bytes, size: int) -> bytes:
    """The ``size`` bytes that `pack` was given; never more memory than these.

    Raises:
        DamagedError: the data is not that.
    """
    kind, body = packed[:1], packed[1:]
    try:
        if kind == b"r":
            data, whole = body, True
        elif kind == b"z":
            inflate = zlib.decompressobj()
            # One byte more than promised is enough to see that there are too many.
            data = inflate.decompress(body, size + 1)
            whole = inflate.eof and not inflate.unused_data
        elif kind == b"x":
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28)
            data = decoder.decompress(body, size + 1)
            whole = decoder.eof and not decoder.unused_data
        else:
            raise DamagedError("unknown coder")
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise DamagedError(str(error)) from None
    if len(data) != size or not whole:
        raise DamagedError("another size than promised")
    return data


def encode_difference(original: Codes, restored: Codes, depth: int) -> bytes:
    """Pack ``original - restored``, both codes of ``depth`` bits (8 or 16) and any one shape."""
    half = 1 << (depth - 1)
    difference = ((original - restored + half) & (2 * half - 1)) - half
    # Small numbers of either sign become small ones without: 0 -1 1 -2 2 to 0 1 2 3 4.
    folded = np.where(difference < 0, -2 * difference - 1, 2 * difference).ravel()
    planes = [folded & 255] if depth == 8 else [folded >> 8, folded & 255]
    return pack(np.concatenate(planes).astype(np.uint8).tobytes())


def decode_difference(packed: bytes, restored: Codes, depth: int) -> Codes:
    """The original that `encode_difference` was given.

    Raises:
        DamagedError: the data does not fit.
    """
    planes = depth // 8
    raw = np.frombuffer(unpack(packed, planes * restored.size), np.uint8).astype(np.int64)
    folded = raw if depth == 8 else (raw[: restored.size] << 8) | raw[restored.size :]
    difference = np.where(folded & 1, -((folded + 1) >> 1), folded >> 1)
    result: Codes = (restored + difference.reshape(restored.shape)) & ((1 << depth) - 1)
    return result


def encode_by_inverse(flow: LosslessIRAE, original: Codes, restored: Codes, depth: int) -> bytes:
    """Keep what the network takes away from the original, given the restored picture.

    Args:
        flow: the network; its unit is `unit` of the depth.
        original: codes ``3 H W``, H and W at least `LEAST_SIDE`.
        restored: likewise.
        depth: bits per channel, 8 or 16.
    """
    tiles, stack = _tiles(original, depth), bytearray()
    if depth < 16:
        first = tiles.pop(0)
        stack += encode_difference(original[first], restored[first], depth)
        stack += _LENGTH.pack(len(stack))
    for tile in tiles:
        given, known = (_padded(c[tile], flow.multiple) for c in (original, restored))
        # The bits below the original's last one must be something, and come back as they were:
        # so what was kept of the parts before goes there, and costs nothing ("bits back").
        count = min(given.size, len(stack)) if depth < 16 else 0
        borrowed = np.zeros(given.size, np.int64)
        borrowed[:count] = np.frombuffer(_pop(stack, count), np.uint8)
        fine = (given << (16 - depth)) + borrowed.reshape(given.shape) - _CENTRE
        lanes = Lanes.open(stack, flow.lanes(*given.shape[1:]))
        result = flow.forward(torch.from_numpy(fine), lanes).numpy()
        lanes.suspend()
        block = _encode_block(result - _expected(flow, known, depth), flow.scale.shape[1])
        stack += block + _RECORD.pack(count, lanes.missing, len(block))
    return bytes(stack)


def decode_by_inverse(flow: LosslessIRAE, kept: bytes, restored: Codes, depth: int) -> Codes:
    """The original that `encode_by_inverse` was given.

    Raises:
        DamagedError: the data does not fit.
    """
    tiles, stack = _tiles(restored, depth), bytearray(kept)
    original = np.empty_like(restored)
    first = tiles.pop(0) if depth < 16 else None
    for tile in reversed(tiles):
        known = _padded(restored[tile], flow.multiple)
        count, missing, length = _RECORD.unpack(_pop(stack, _RECORD.size))
        if count > known.size:
            raise DamagedError("more was lent than fits")
        rest = _decode_block(_pop(stack, length), known.shape, flow.scale.shape[1])
        result = torch.from_numpy(rest + _expected(flow, known, depth))
        fine = _inverse(flow, result, stack, missing) + _CENTRE
        height, width = original[tile].shape[1:]
        original[tile] = (fine >> (16 - depth))[:, :height, :width]
        stack += (fine & 255).ravel()[:count].astype(np.uint8).tobytes()
    if first is not None:
        (length,) = _LENGTH.unpack(_pop(stack, 4))
        original[first] = decode_difference(_pop(stack, length), restored[first], depth)
    if stack or original.min() < 0 or original.max() >= 1 << depth:
        raise DamagedError("bytes are left over, or pixels out of range")
    return original


def _inverse(flow: LosslessIRAE, result: torch.Tensor, stack: bytearray, missing: int) -> Codes:
    try:
        lanes = Lanes.resume(stack, flow.lanes(*result.shape[1:]))
        fine: Codes = flow.inverse(result, lanes).numpy()
        lanes.close()
    except ValueError as error:
        raise DamagedError(str(error)) from None
    # The zeros that were taken when there was nothing left have come back below all else.
    if lanes.missing or missing > len(stack) or any(stack[:missing]):
        raise DamagedError("its remainders do not come out even")
    del stack[:missing]
    return fine


def unit(depth: int) -> float:
    """What the integer 1 at the network's input stands for, in [0, 1]: a 16th bit, or nearly."""
    return 1.0 / (((1 << depth) - 1) << (16 - depth))


def _pop(stack: bytearray, count: int) -> bytes:
    if count > len(stack):
        raise DamagedError("it is too short")
    taken = bytes(stack[len(stack) - count :])
    del stack[len(stack) - count :]
    return taken


def _tiles(codes: Codes, depth: int) -> list[_Part]:
    """Parts that start at multiples of 16, where every squeeze starts; the first ones grow.

    The first of 8 bits is kept the other way, and each can borrow no more than was kept before.
    """
    height, width = codes.shape[1:]
    side = max(height, width) if height * width <= _WHOLE else _TILE
    tiles = [
        (slice(None), row, column) for row in _spans(height, side) for column in _spans(width, side)
    ]
    return tiles if depth == 16 else [*_growing(tiles[0]), *tiles[1:]]


def _growing(tile: _Part) -> list[_Part]:
    """Cut a tile into strips across its longer side."""
    _, row, column = tile
    along = row if row.stop - row.start >= column.stop - column.start else column
    length = along.stop - along.start
    shares = next(shares for least, shares in _SHARES if length >= least)
    bounds = [along.start + round(share * length / 16) * 16 for share in (0.0, *shares)]
    strips = [slice(*ends) for ends in zip(bounds, [*bounds[1:], along.stop], strict=True)]
    return [
        (slice(None), strip, column) if along is row else (slice(None), row, strip)
        for strip in strips
    ]


def _spans(length: int, side: float) -> list[slice]:
    """Cut a length into pieces; what is left of it goes with the last one if it is narrow."""
    step = -(-length // math.ceil(length / side))
    step = -(-step // 16) * 16
    starts = [start for start in range(0, length, step) if length - start >= LEAST_SIDE]
    return [slice(*ends) for ends in zip(starts, [*starts[1:], length], strict=True)]


def _padded(codes: Codes, multiple: int) -> Codes:
    height, width = codes.shape[1:]
    # As `LoadedModel.restore` does, or the network would see another picture there.
    return np.pad(codes, ((0, 0), (0, -height % multiple), (0, -width % multiple)), "reflect")


def _expected(flow: LosslessIRAE, restored: Codes, depth: int) -> Codes:
    """What the flow would give if the restored picture were exact; the same on every machine."""
    period = flow.scale.shape[1]
    repeats = (restored.shape[1] // period, restored.shape[2] // period)
    scale = np.tile(flow.scale.numpy(), (1, *repeats))
    level = restored.astype(np.float64) / ((1 << depth) - 1) - 0.5
    expected: Codes = np.floor(level / scale + 0.5).astype(np.int64)
    return expected


@cache
def _groups(channels: int, height: int, width: int, period: int) -> Codes:
    """A group for each sample, ``C H W``: by channel, phase and distance from the tile's edge."""
    row, column = np.arange(height)[:, None], np.arange(width)[None]
    edge = np.minimum(np.minimum(row, height - 1 - row), np.minimum(column, width - 1 - column))
    phase = row % period * period + column % period
    within = phase * len(_RINGS) + np.searchsorted(_RINGS, edge, side="right") - 1
    groups: Codes = np.arange(channels)[:, None, None] * (period**2 * len(_RINGS)) + within
    return groups


def _encode_block(values: Codes, period: int) -> bytes:
    """Folded to numbers without sign: high parts packed, low bits, which are noise, as they are.

    The numbers of a group are about equally large. Their high parts are some five bits, and are
    packed together with those of the groups whose high parts are as large as theirs.
    """
    groups = _groups(*values.shape, period).ravel()
    folded = np.where(values < 0, -2 * values - 1, 2 * values).ravel()
    count = int(groups.max()) + 1
    means = np.bincount(groups, folded, count) / np.maximum(1, np.bincount(groups, None, count))
    largest = np.zeros(count, np.int64)
    np.maximum.at(largest, groups, folded)
    shifts = [
        max(0, int(mean).bit_length() - 5, int(top).bit_length() - 24)
        for mean, top in zip(means, largest, strict=True)
    ]
    classes = [
        min(_CLASSES - 1, int(_CLASSES / 16 * max(0.0, mean / 2.0**shift - 16)))
        for mean, shift in zip(means, shifts, strict=True)
    ]
    shift, kind = (np.array(table, np.int64)[groups] for table in (shifts, classes))
    high = folded >> shift
    # Few numbers pass a byte: those where the restored picture was clipped.
    planes = [
        pack(((high[kind == k] >> (8 * plane)) & 255).astype(np.uint8).tobytes())
        for k in range(_CLASSES)
        for plane in range(3)
    ]
    low = _low_bits(shift)
    digits = np.repeat(folded, shift) >> low & 1
    header = bytes(shifts) + bytes(classes) + b"".join(_LENGTH.pack(len(p)) for p in planes)
    return header + b"".join(planes) + np.packbits(digits.astype(np.uint8)).tobytes()


def _low_bits(shift: Codes) -> Codes:
    """0 1 ... shift - 1 for each number, one after the other."""
    ends = np.cumsum(shift)
    bits: Codes = np.arange(int(ends[-1])) - np.repeat(ends - shift, shift)
    return bits


def _decode_block(block: bytes, shape: tuple[int, ...], period: int) -> Codes:
    groups = _groups(*shape, period).ravel()
    count = int(groups.max()) + 1
    at = 2 * count + 4 * 3 * _CLASSES
    if len(block) < at:
        raise DamagedError("it is too short")
    shifts, classes = (np.frombuffer(block, np.uint8, count, k * count) for k in range(2))
    if shifts.max() > 38 or classes.max() >= _CLASSES:
        raise DamagedError("its tables are out of range")
    shift, kind = shifts.astype(np.int64)[groups], classes[groups]
    lengths = struct.unpack_from(f"<{3 * _CLASSES}I", block, 2 * count)
    folded = np.zeros(len(groups), np.int64)
    for index, length in enumerate(lengths):
        here = kind == index // 3
        raw = np.frombuffer(unpack(block[at : at + length], int(here.sum())), np.uint8)
        folded[here] |= raw.astype(np.int64) << (8 * (index % 3))
        at += length
    total = int(shift.sum())
    if len(block) - at != -(-total // 8):
        raise DamagedError("another size than promised")
    digits = np.unpackbits(np.frombuffer(block, np.uint8, offset=at))[:total].astype(np.int64)
    low = np.concatenate([[0], np.cumsum(digits << _low_bits(shift))])
    ends = np.cumsum(shift)
    folded = (folded << shift) | (low[ends] - low[ends - shift])
    values: Codes = np.where(folded & 1, -((folded + 1) >> 1), folded >> 1).reshape(shape)
    return values
