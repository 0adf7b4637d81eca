"""PNG and PNM files of 16 bits per channel, which Pillow reduces to 8."""

from __future__ import annotations

import contextlib
import io
import re
import struct
import threading
import zlib
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from irae.errors import PictureError
from irae.imaging.io.picture import Picture, codes

Samples = npt.NDArray[np.uint16] | npt.NDArray[np.float32]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STRIP = 1 << 19
_opening = threading.Lock()


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return names and contents of a PNG's chunks except IDAT, up to the end of the file."""
    return [chunk for chunk in _chunks(data) if chunk[0] != b"IDAT"]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + length]
        at += 12 + length


@contextlib.contextmanager
def unlimited_pixels() -> Iterator[None]:
    """Lift Pillow's limit on sizes while a file is opened; the caller checks our own limit.

    Pillow's limit is global and too low for photographs of 100 megapixels. It is restored
    afterwards, because other code in the process may rely on it.
    """
    with _opening:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def decode_png(data: bytes, name: str) -> npt.NDArray[np.uint16]:
    """Decode the samples of a 16-bit PNG, ``H W C`` with C from 1 to 4, interlaced or not.

    PNG's filters work on each byte of a pixel separately (PNG specification, section 9), so the
    high and the low bytes of all samples with their filters form two PNGs of 8 bits, which Pillow
    decodes without loss.
    """
    chunks = list(_chunks(data))
    header = next(content for chunk_name, content in chunks if chunk_name == b"IHDR")
    width, height, _, colour_type, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    channels = {0: 1, 2: 3, 4: 2, 6: 4}.get(colour_type)
    damaged = PictureError(f"{name}: damaged or truncated PNG; fetch the file again")
    if channels is None:
        raise damaged
    passes = _passes(width, height, interlaced == 1)
    expected = sum(rows * (1 + columns * channels * 2) for rows, columns in passes)
    packed = b"".join(content for chunk_name, content in chunks if chunk_name == b"IDAT")
    try:
        raw = np.frombuffer(zlib.decompressobj().decompress(packed, expected), np.uint8)
    except zlib.error:
        raise damaged from None
    if raw.size != expected:
        raise damaged
    del packed, chunks
    samples = np.empty((height, width, channels), np.uint16)
    for low in (0, 1):
        lines, at = zlib.compressobj(0), 0
        body = io.BytesIO()
        for rows, columns in passes:
            size = rows * (1 + columns * channels * 2)
            block = raw[at : at + size].reshape(rows, -1)
            at += size
            half = np.concatenate([block[:, :1], block[:, 1 + low :: 2]], axis=1)
            body.write(lines.compress(half.tobytes()))
        body.write(lines.flush())
        plane = io.BytesIO()
        plane.write(PNG_SIGNATURE)
        _write_chunk(plane, b"IHDR", header[:8] + b"\x08" + header[9:13])
        _write_chunk(plane, b"IDAT", body.getvalue())
        _write_chunk(plane, b"IEND", b"")
        del body
        decoded = _decode_8_bit(plane).reshape(samples.shape)
        if low:
            samples |= decoded
        else:
            np.left_shift(decoded, 8, out=samples, dtype=np.uint16)
    return samples


def _decode_8_bit(stream: io.BytesIO) -> npt.NDArray[np.uint8]:
    with unlimited_pixels():
        image = Image.open(stream, formats=["PNG"])
    with image:
        return np.asarray(image)


def _passes(width: int, height: int, interlaced: bool) -> list[tuple[int, int]]:
    """Return rows and columns of each reduced image of Adam7 (PNG specification, section 8)."""
    if not interlaced:
        return [(height, width)]
    grid = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2))
    sizes = [
        (-(-(height - top) // down), -(-(width - left) // across))
        for top, left, down, across in (*grid, (1, 0, 2, 1))
    ]
    return [(rows, columns) for rows, columns in sizes if rows > 0 and columns > 0]


def encode_png(picture: Picture, extra: list[tuple[bytes, bytes]]) -> bytes:
    """Encode a 16-bit PNG (gray, gray with alpha, RGB, RGBA).

    Args:
        picture: a picture with 1 or 3 channels, with or without alpha.
        extra: names and contents of chunks to insert between IHDR and IDAT, in order.
    """
    channels = picture.pixels.shape[0] + (picture.alpha is not None)
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", picture.width, picture.height, 16, colour_type, 0, 0, 0)
    out = io.BytesIO()
    out.write(PNG_SIGNATURE)
    _write_chunk(out, b"IHDR", header)
    for chunk_name, content in extra:
        _write_chunk(out, chunk_name, content)
    packer = zlib.compressobj(6)
    above = np.zeros((1, picture.width * channels * 2), np.uint8)
    for samples in sample_strips(picture):
        rows = samples.astype(">u2").reshape(len(samples), -1).view(np.uint8)
        filtered = _paeth(rows, above, channels * 2)
        above = rows[-1:].copy()
        _write_chunk(out, b"IDAT", packer.compress(filtered.tobytes()))
    _write_chunk(out, b"IDAT", packer.flush())
    _write_chunk(out, b"IEND", b"")
    return out.getvalue()


def _paeth(
    rows: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], step: int
) -> npt.NDArray[np.uint8]:
    """Apply PNG's Paeth filter to rows (PNG specification, section 9.4), filter byte first."""
    here = rows.astype(np.int16)
    up = np.concatenate([above, rows[:-1]]).astype(np.int16)
    left = np.zeros_like(here)
    left[:, step:] = here[:, :-step]
    corner = np.zeros_like(here)
    corner[:, step:] = up[:, :-step]
    far_left, far_up = np.abs(up - corner), np.abs(left - corner)
    far_corner = np.abs(left + up - 2 * corner)
    guess = np.where(far_up <= far_corner, up, corner)
    guess = np.where((far_left <= far_up) & (far_left <= far_corner), left, guess)
    result = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    result[:, 0] = 4
    result[:, 1:] = (here - guess) & 255
    return result


def _write_chunk(out: io.BytesIO, name: bytes, content: bytes) -> None:
    if name == b"IDAT" and not content:
        return
    out.write(struct.pack(">I", len(content)))
    out.write(name)
    out.write(content)
    out.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(name))))


def decode_pnm(data: bytes, name: str) -> npt.NDArray[np.uint16] | None:
    """Decode the samples of a PGM or PPM of over 8 bits, ``H W C``; None for other files."""
    gap = rb"(?:\s|#[^\n]*\n)+"
    head = re.match(rb"P([56])" + (gap + rb"(\d{1,9})") * 3 + rb"\s", data[:4096])
    if head is None:
        return None
    kind, width, height, top = (int(group) for group in head.groups())
    if not 255 < top < 65536:
        return None
    channels = 3 if kind == 6 else 1
    count = width * height * channels
    if len(data) - head.end() < 2 * count:
        raise PictureError(f"{name}: truncated file; fetch it again")
    raw = np.frombuffer(data, ">u2", count, head.end()).reshape(height, width, channels)
    if top == 65535:
        return raw.astype(np.uint16)
    return np.floor(raw.astype(np.float64) * (65535 / top) + 0.5).clip(0, 65535).astype(np.uint16)


def pnm_comments(data: bytes) -> tuple[bytes, ...]:
    """Return the comments in the header of a PNM file, one for each line."""
    head = re.match(rb"P\d(?:\s+|#[^\n]*\n|\d+)*", data[:65536])
    if head is None:
        return ()
    return tuple(line.removeprefix(b" ") for line in re.findall(rb"#([^\n]*)\n", head.group()))


def with_pnm_comments(data: bytes, comments: tuple[bytes, ...]) -> bytes:
    """Insert comments in an encoded PNM file, after the first line."""
    lines = [line for comment in comments for line in comment.replace(b"\r", b"").split(b"\n")]
    first, rest = data[:3], data[3:]
    return b"".join((first, *(b"# " + line + b"\n" for line in lines), rest))


def encode_pnm(picture: Picture) -> bytes:
    """Encode a 16-bit PGM or PPM."""
    kind = 6 if picture.pixels.shape[0] == 3 else 5
    out = io.BytesIO()
    out.write(b"P%d\n%d %d\n65535\n" % (kind, picture.width, picture.height))
    for samples in sample_strips(picture):
        out.write(samples.astype(">u2").tobytes())
    return out.getvalue()


def sample_strips(picture: Picture) -> Iterator[Samples]:
    """Yield the picture as a file's samples, ``rows W C`` at a time, alpha last."""
    rows = max(1, _STRIP // max(1, picture.width))
    for top in range(0, picture.height, rows):
        part = picture.pixels[:, top : top + rows]
        if picture.alpha is not None:
            part = torch.cat([part, picture.alpha[:, top : top + rows]])
        if picture.layout.depth == 32:
            yield part.clamp(0.0, 1.0).permute(1, 2, 0).contiguous().numpy()
        elif picture.pixels.shape[0] == 4:
            ink = 65535 - codes(part, 16).to(torch.int32)
            yield ink.permute(1, 2, 0).numpy().astype(np.uint16)
        else:
            yield codes(part, 16).permute(1, 2, 0).contiguous().numpy()
