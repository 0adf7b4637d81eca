"""Lossless coding of an original as its difference from the restored picture."""

from __future__ import annotations

import lzma
import zlib

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]


class DamagedError(ValueError):
    """Packed data that is damaged or of another size than stated."""


def pack(data: bytes) -> bytes:
    """Compress with the best of several coders, whose letter is the first byte."""
    # Noise has no repetitions, so an entropy coder alone is faster and compresses as well.
    plain = zlib.compressobj(9, strategy=zlib.Z_HUFFMAN_ONLY)
    candidates = [b"r" + data, b"z" + plain.compress(data) + plain.flush()]
    candidates.append(b"z" + zlib.compress(data, 6))
    if len(candidates[2]) < 0.97 * len(candidates[1]):
        candidates.append(b"x" + lzma.compress(data, lzma.FORMAT_XZ))
    return min(candidates, key=len)


def unpack(packed: bytes, size: int) -> bytes:
    """Return the ``size`` bytes that were packed, never using more memory than these.

    Raises:
        DamagedError: the data is damaged or has another size.
    """
    kind, body = packed[:1], packed[1:]
    try:
        if kind == b"r":
            data, whole = body, True
        elif kind == b"z":
            inflate = zlib.decompressobj()
            # One byte more than stated shows that there are too many.
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
        raise DamagedError("another size than stated")
    return data


def encode_difference(original: Codes, restored: Codes, depth: int) -> bytes:
    """Pack ``original - restored``, both codes of ``depth`` bits (8 or 16) and equal shape."""
    half = 1 << (depth - 1)
    difference = ((original - restored + half) & (2 * half - 1)) - half
    # Small numbers of either sign become small unsigned ones: 0 -1 1 -2 2 to 0 1 2 3 4.
    folded = np.where(difference < 0, -2 * difference - 1, 2 * difference).ravel()
    planes = [folded & 255] if depth == 8 else [folded >> 8, folded & 255]
    return pack(np.concatenate(planes).astype(np.uint8).tobytes())


def decode_difference(packed: bytes, restored: Codes, depth: int) -> Codes:
    """Decode the original that `encode_difference` packed.

    Raises:
        DamagedError: the data does not fit the restored picture.
    """
    planes = depth // 8
    raw = np.frombuffer(unpack(packed, planes * restored.size), np.uint8).astype(np.int64)
    folded = raw if depth == 8 else (raw[: restored.size] << 8) | raw[restored.size :]
    difference = np.where(folded & 1, -((folded + 1) >> 1), folded >> 1)
    result: Codes = (restored + difference.reshape(restored.shape)) & ((1 << depth) - 1)
    return result
