"""TIFF files of 16 bits per channel or of floats, which Pillow reduces to 8 bits or refuses."""

from __future__ import annotations

import io
import itertools
import logging
import lzma
import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from irae.errors import PictureError, first_line
from irae.imaging.io.limits import check_size
from irae.imaging.io.picture import Picture
from irae.imaging.io.sixteen_bit import Samples, sample_strips, unlimited_pixels
from irae.imaging.io.tiff_pages import raw_tag
from irae.imaging.metadata.photoshop import iptc_of, with_iptc

PHOTOSHOP, IPTC = 34377, 33723
"""Tags of Photoshop's image resources and of the IPTC record."""

_LONG = 4
_LARGE_TILE = 1 << 22
_DEFLATE, _LZMA = (8, 32946), 34925
# Deflate expands a byte to at most this many; parts that cannot exceed _SMALL need no check.
_MOST_DEFLATED, _SMALL = 1032, 1 << 24
_MOST_LZMA = 1 << 28

# Without a handler, tifffile's log of a damaged file would be printed beside the error.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

# Tags that describe the raster itself, or hold XMP or the profile, which the encoder writes and
# which are never copied.
STRUCTURE_TAGS = frozenset(
    (254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281)
    + (284, 290, 291, 292, 293, 297, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 332)
    + (333, 334, 336, 337, 338, 339, 340, 341, 342, 347, 512, 513, 514, 529, 530, 531, 532)
    + (700, 34675, 37724, 40965)
)


def decode_tiff(data: bytes, name: str) -> tuple[Samples, int]:
    """Decode the samples of a TIFF of 16-bit integers or 32-bit floats.

    Returns:
        Samples ``H W C``, gray with 0 for black; and the number of colour channels.

    Raises:
        PictureError: the file is damaged or too large, has another sample type or an unknown
            colour space, or needs a codec that is not installed.
    """
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages.first
            _check_raster(page, name)
            _check_packed(page, data, name)
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
    except (
        *(OSError, ValueError, IndexError, TypeError),
        *(struct.error, zlib.error, lzma.LZMAError),
    ) as error:
        raise PictureError(
            f"{name}: damaged TIFF ({first_line(error)}); fetch the file again"
        ) from None
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


def check_samples(tags: Mapping[int, Any], name: str) -> None:
    """Refuse samples that cannot be handled, by their own name.

    Args:
        tags: tags of the page, by number.
        name: name of the file for error messages.

    Raises:
        PictureError: they are of such a kind.
    """
    photometric, formats, bits = (_largest(tags.get(tag, 1)) for tag in (262, 339, 258))
    camera = 50706 in tags or (330 in tags and _largest(tags.get(254, 0)) & 1)
    kind = remedy = ""
    if camera or photometric in (32803, 34892):
        kind, remedy = "is a raw file of a camera", "develop it to TIFF or PNG first"
    elif photometric in (8, 9, 10):
        kind, remedy = "has LAB colours", "convert it to RGB first"
    elif photometric == 6 and _largest(tags.get(259, 1)) == 1:
        kind, remedy = "has YCbCr colours without compression", "convert it to RGB first"
    elif formats == 3 and bits != 32:
        kind = f"has floats of {bits} bits"
        remedy = "convert it to floats of 32 bits in 0 to 1, or to integers of 16 bits"
    elif formats in (2, 5, 6):
        kind = "has complex numbers" if formats > 2 else f"has signed integers of {bits} bits"
        remedy = "convert it to unsigned integers of 8 or 16 bits"
    elif formats != 3 and bits > 16:
        kind, remedy = f"has integers of {bits} bits", "convert it to 16 bits first"
    if kind:
        raise PictureError(f"{name}: {kind}, which cannot be handled; {remedy}")


def _largest(value: Any) -> int:
    values = value if isinstance(value, tuple) else (value,)
    return max((each for each in values if isinstance(each, int)), default=0)


def _check_raster(page: Any, name: str) -> None:
    """Refuse a raster whose tags demand more memory than its picture takes."""
    width, height, channels = page.imagewidth, page.imagelength, page.samplesperpixel
    check_size(width, height, name)
    if page.imagedepth != 1 or not 1 <= channels <= 5:
        raise PictureError(
            f"{name}: a TIFF of {channels} channels and {page.imagedepth} layers cannot be "
            "handled; save it as 8- or 16-bit RGB, gray or CMYK"
        )
    if page.is_tiled and page.tilewidth * page.tilelength > max(4 * width * height, _LARGE_TILE):
        raise PictureError(
            f"{name}: damaged TIFF (tiles of {page.tilewidth}x{page.tilelength} pixels); "
            "fetch the file again"
        )


def _check_packed(page: Any, data: bytes, name: str) -> None:
    """Refuse strips and tiles that unpack to more than their size; tifffile would unpack all."""
    packing = int(page.compression)
    if packing not in (*_DEFLATE, _LZMA):
        return
    # Some writers pad the last strip, or slightly more.
    wanted = 2 * math.prod(page.chunks) * np.dtype(page.dtype).itemsize
    parts = zip(page.dataoffsets, page.databytecounts, strict=False)
    for offset, count in itertools.islice(parts, math.prod(page.chunked)):
        part = data[offset : offset + count]
        if packing == _LZMA:
            size = len(lzma.LZMADecompressor(memlimit=_MOST_LZMA).decompress(part, wanted + 1))
        elif _MOST_DEFLATED * len(part) <= max(wanted, _SMALL):
            continue
        else:
            size = len(zlib.decompressobj().decompress(part, wanted + 1))
        if size > wanted:
            raise PictureError(f"{name}: damaged TIFF (a strip is too long); fetch the file again")


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
    """Decode LZW and PackBits, for which tifffile needs another package, by Pillow's libtiff.

    Pillow would reduce 16-bit colour to 8 bits, but it keeps 16-bit gray. A second directory,
    appended to the file, describes the same strips or tiles as a gray raster of C times the width.
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
    with unlimited_pixels():
        image = Image.open(patched, formats=["TIFF"])
    with image:
        gray = np.asarray(image).astype(np.uint16)
    raster = gray.reshape(page.imagelength, page.imagewidth, channels)
    if int(page.predictor) != 2:
        return raster
    span = page.tilewidth if page.is_tiled else page.imagewidth
    for left in range(0, page.imagewidth, span):
        part = raster[:, left : left + span]
        np.cumsum(part, axis=1, dtype=np.uint16, out=part)
    return raster


def encode_tiff(picture: Picture, compressed: bool) -> bytes:
    """Encode a TIFF of 16-bit integers, or of floats if the picture's depth is 32.

    Args:
        picture: a picture with 1, 3 or 4 channels, with or without alpha.
        compressed: compress by deflate.
    """
    layout = picture.layout
    colours = picture.pixels.shape[0]
    channels = colours + (picture.alpha is not None)
    packer = zlib.compressobj(6) if compressed else None
    body = io.BytesIO()
    for samples in sample_strips(picture):
        raw = samples.astype("<f4" if layout.depth == 32 else "<u2").tobytes()
        body.write(packer.compress(raw) if packer else raw)
    if packer:
        body.write(packer.flush())
    directory = ImageFileDirectory_v2(prefix=b"II")
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
    # Pillow adds the end of the directory to this offset, and chooses its field's size by it.
    directory[273], directory[279] = 0, body.tell()
    directory.tagtype[273] = directory.tagtype[279] = _LONG
    out = io.BytesIO()
    directory.save(out)
    out.write(body.getbuffer())
    return out.getvalue()


def copy_tags(tags: Image.Exif | None, directory: Image.Exif) -> None:
    """Copy EXIF tags with their sub-directories, except those that describe the raster."""
    for tag in tags or ():
        assert tags is not None
        if tag in STRUCTURE_TAGS:
            continue
        sub = tags.get_ifd(tag) if tag in (34665, 34853) else None
        directory[tag] = sub if sub is not None else tags[tag]


def take_photoshop(tags: Image.Exif, data: bytes) -> bytes | None:
    """Remove Photoshop's image resources and the IPTC record from a TIFF's tags.

    Args:
        tags: the descriptive tags, which are changed.
        data: content of the file, from which the values are read: Pillow returns only the first
            number of a record that is stored as numbers of 32 bits, as Photoshop does.

    Returns:
        The resources, with the IPTC record in them; None if the TIFF has neither.
    """
    for tag in (PHOTOSHOP, IPTC):
        tags.pop(tag, None)
    resources, record = raw_tag(data, PHOTOSHOP), raw_tag(data, IPTC)
    if record is None or record == iptc_of(resources):
        return resources
    return with_iptc(resources, record)
