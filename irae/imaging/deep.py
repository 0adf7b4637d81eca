"""Files of more than 8 bits per channel, which Pillow cuts to 8: PNG, TIFF and PNM."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from irae.errors import PictureError
from irae.imaging.picture import Picture, codes

Samples = npt.NDArray[np.uint16] | npt.NDArray[np.float32]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_STRIP = 1 << 21
_LONG = 4

# Tags that describe the raster itself; they are the encoder's to write, never copied.
STRUCTURE_TAGS = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281)
    + (284, 290, 291, 292, 293, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332)
    + (333, 334, 336, 337, 338, 339, 340, 341, 342, 347, 512, 513, 514, 529, 530, 531, 532)
    + (34675, 37724, 40965)
)


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and contents of a PNG's chunks other than IDAT, as far as the file goes."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if name != b"IDAT":
            yield name, data[at + 8 : at + 8 + length]
        at += 12 + length


def decode_png(data: bytes, name: str) -> npt.NDArray[np.uint16]:
    """The samples of a 16-bit PNG, ``H W C`` with C from 1 to 4."""
    from torchvision.io import (  # type: ignore[import-untyped, unused-ignore]
        ImageReadMode,
        decode_image,
    )

    try:
        # A bytearray because torch wants memory that it might write to.
        raster = decode_image(
            torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.UNCHANGED
        )
    except RuntimeError:
        raise PictureError(f"{name}: damaged or truncated PNG; fetch the file again") from None
    samples: npt.NDArray[np.uint16] = raster.permute(1, 2, 0).numpy()
    return samples


def encode_png(picture: Picture, extra: list[tuple[bytes, bytes]]) -> bytes:
    """A 16-bit PNG (gray, gray with alpha, RGB, RGBA).

    Args:
        picture: pixels with 1 or 3 channels, alpha or not.
        extra: chunks to put between IHDR and IDAT, in order.
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
    for samples in _sample_strips(picture):
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
    """Rows under PNG's Paeth filter (PNG specification, section 9.4), filter byte first."""
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
    """The samples of a PGM or PPM of more than 8 bits, ``H W C``; None if it is another kind."""
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


def encode_pnm(picture: Picture) -> bytes:
    """A 16-bit PGM or PPM."""
    kind = 6 if picture.pixels.shape[0] == 3 else 5
    out = io.BytesIO()
    out.write(b"P%d\n%d %d\n65535\n" % (kind, picture.width, picture.height))
    for samples in _sample_strips(picture):
        out.write(samples.astype(">u2").tobytes())
    return out.getvalue()


def decode_tiff(data: bytes, name: str) -> tuple[Samples, int]:
    """The samples of a TIFF of 16-bit integers or 32-bit floats.

    Returns:
        ``H W C`` samples, gray with 0 for black; and how many of the channels are colour.

    Raises:
        PictureError: another sample type, an unknown colour space, or a codec that is missing.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages.first
            photometric, planar = int(page.photometric), int(page.planarconfig or 1)
            associated = 1 in [int(extra) for extra in page.extrasamples]
            plain = planar == 1 and page.dtype == np.uint16 and int(page.predictor) in (1, 2)
            if plain and int(page.compression) in (5, 32773):
                raster: npt.NDArray[Any] = _decode_as_gray(data, tiff)
            else:
                raster = page.asarray()
            channels = page.samplesperpixel
            size = (page.imagelength, page.imagewidth)
    except (ImportError, KeyError) as error:
        if "imagecodecs" not in str(error) and not isinstance(error, ImportError):
            raise PictureError(f"{name}: damaged TIFF; fetch the file again") from None
        raise PictureError(
            f"{name}: this TIFF compression needs another package; "
            "pip install imagecodecs, or save it with deflate compression"
        ) from None
    except (OSError, ValueError, IndexError, TypeError, struct.error, zlib.error) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PictureError(f"{name}: damaged TIFF ({reason}); fetch the file again") from None
    colours = {0: 1, 1: 1, 2: 3, 5: 4}.get(photometric)
    known = raster.dtype in (np.uint16, np.float32)
    if colours is None or not known or channels not in (colours, colours + 1) or channels > 4:
        raise PictureError(
            f"{name}: a TIFF of {channels} {raster.dtype} channels (photometric {photometric}) "
            "cannot be handled; save it as 8- or 16-bit RGB, gray or CMYK"
        )
    if raster.size != size[0] * size[1] * channels:
        raise PictureError(f"{name}: a stack of pictures cannot be handled; save a single one")
    if planar == 2 and channels > 1:
        raster = np.moveaxis(raster.reshape(channels, *size), 0, -1)
    raster = raster.reshape(*size, channels)
    if photometric == 0:
        raster = raster.copy()
        raster[..., 0] = (65535 if raster.dtype == np.uint16 else 1) - raster[..., 0]
    if associated and channels > colours:
        raster = _unpremultiply(raster)
    return np.ascontiguousarray(raster), colours


def _unpremultiply(raster: npt.NDArray[Any]) -> npt.NDArray[Any]:
    top = 65535.0 if raster.dtype == np.uint16 else 1.0
    alpha = raster[..., -1:].astype(np.float64)
    black = np.zeros(raster[..., :-1].shape)
    plain = np.divide(raster[..., :-1] * top, alpha, out=black, where=alpha > 0)
    plain = np.minimum(plain, top)
    if raster.dtype == np.uint16:
        plain = np.floor(plain + 0.5)
    return np.concatenate([plain.astype(raster.dtype), raster[..., -1:]], axis=-1)


def _decode_as_gray(data: bytes, tiff: Any) -> npt.NDArray[np.uint16]:
    """LZW and PackBits, which tifffile leaves to another package, by way of Pillow's libtiff.

    Pillow would cut 16-bit colour to 8 bits, but it keeps 16-bit gray. A second directory,
    appended to the file, calls the same strips or tiles a gray raster of C times the width.
    Horizontal differencing, which depends on C, is undone here.
    """
    page, order = tiff.pages.first, tiff.byteorder
    channels = page.samplesperpixel
    entries = {256: [page.imagewidth * channels], 257: [page.imagelength], 258: [16], 277: [1]}
    entries |= {259: [int(page.compression)], 262: [1]}
    if page.is_tiled:
        entries |= {322: [page.tilewidth * channels], 323: [page.tilelength]}
    else:
        entries[278] = [page.rowsperstrip]
    entries[324 if page.is_tiled else 273] = [int(offset) for offset in page.dataoffsets]
    entries[325 if page.is_tiled else 279] = [int(count) for count in page.databytecounts]
    body = data + b"\0" * (len(data) % 2)
    at = len(body)
    tail_at = at + 2 + 12 * len(entries) + 4
    directory, tail = struct.pack(order + "H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        packed = struct.pack(f"{order}{len(values)}I", *values)
        if len(values) > 1:
            tail, packed = tail + packed, struct.pack(order + "I", tail_at + len(tail))
        directory += struct.pack(order + "HHI", tag, _LONG, len(values)) + packed
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, at)
    patched = io.BytesIO(header + body[8:] + directory + b"\0\0\0\0" + tail)
    with Image.open(patched, formats=["TIFF"]) as image:
        image.load()
        gray = np.asarray(image).astype(np.uint16)
    raster = gray.reshape(page.imagelength, page.imagewidth, channels)
    if int(page.predictor) != 2:
        return raster
    span = page.tilewidth if page.is_tiled else page.imagewidth
    for left in range(0, page.imagewidth, span):
        part = raster[:, left : left + span]
        np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    return raster


def encode_tiff(picture: Picture, tags: Image.Exif | None, compressed: bool) -> bytes:
    """A TIFF of 16-bit integers, or of floats if the picture's depth is 32.

    Args:
        picture: 1, 3 or 4 channels, alpha or not.
        tags: EXIF to put in; tags that describe the raster are left out.
        compressed: with deflate.
    """
    layout = picture.layout
    colours = picture.pixels.shape[0]
    channels = colours + (picture.alpha is not None)
    packer = zlib.compressobj(6) if compressed else None
    body = io.BytesIO()
    for samples in _sample_strips(picture):
        raw = samples.astype("<f4" if layout.depth == 32 else "<u2").tobytes()
        body.write(packer.compress(raw) if packer else raw)
    if packer:
        body.write(packer.flush())
    directory = ImageFileDirectory_v2(prefix=b"II")
    copy_tags(tags, directory)
    directory[256], directory[257] = picture.width, picture.height
    directory[258] = (32 if layout.depth == 32 else 16,) * channels
    directory[259] = 8 if compressed else 1
    directory[262] = {1: 1, 3: 2, 4: 5}[colours]
    directory[277], directory[278], directory[284] = channels, picture.height, 1
    directory[339] = (3 if layout.depth == 32 else 1,) * channels
    if picture.alpha is not None:
        directory[338] = (2,)
    if layout.icc is not None:
        directory[34675] = layout.icc
    if layout.dpi is not None:
        directory[296], directory[282], directory[283] = 2, layout.dpi[0], layout.dpi[1]
    # Pillow adds the end of the directory to this offset, and sizes its field by the value here.
    directory[273], directory[279] = 0, body.tell()
    directory.tagtype[273] = directory.tagtype[279] = _LONG
    out = io.BytesIO()
    directory.save(out)
    out.write(body.getbuffer())
    return out.getvalue()


def copy_tags(tags: Image.Exif | None, directory: ImageFileDirectory_v2 | Image.Exif) -> None:
    """Copy EXIF tags, sub-directories too, without those that describe the raster."""
    for tag in tags or ():
        assert tags is not None
        if tag in STRUCTURE_TAGS:
            continue
        sub = tags.get_ifd(tag) if tag in (34665, 34853) else None
        directory[tag] = sub if sub is not None else tags[tag]


def _sample_strips(picture: Picture) -> Iterator[Samples]:
    """The picture as a file's samples, ``rows W C`` at a time, alpha last."""
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
