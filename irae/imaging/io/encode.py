"""Encoding pictures: the capabilities of each file format, and writing a picture in it."""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from irae.errors import PictureError
from irae.imaging.degrade import Subsampling
from irae.imaging.io import sixteen_bit as deep
from irae.imaging.io import tiff as deep_tiff
from irae.imaging.io.picture import Layout, Picture, upright
from irae.imaging.io.pillow import exif_tags, image_of, palette_holds
from irae.imaging.io.tiff_pages import add_tags
from irae.imaging.metadata.held import fit_metadata
from irae.imaging.metadata.jpeg import insert_segments
from irae.imaging.metadata.photoshop import iptc_of, to_png_text


@dataclass(frozen=True)
class _Format:
    """The capabilities of a format beyond 8-bit gray.

    Attributes:
        name: Pillow's name of the format.
        holds: any of ``colour``, ``alpha``, ``mask`` (alpha of 0 or 1 only), ``deep`` (16 bits),
            ``float`` and ``cmyk``.
        modes: further Pillow modes that it stores as such.
        exif: whether it stores EXIF, and thus an orientation.
        side: largest width and height.
    """

    name: str
    holds: frozenset[str]
    modes: frozenset[str] = frozenset()
    exif: bool = False
    side: int = (1 << 31) - 1


def _format(
    name: str, holds: str, modes: str = "", exif: bool = False, side: int = (1 << 31) - 1
) -> _Format:
    return _Format(name, frozenset(holds.split()), frozenset(modes.split()), exif, side)


_PNG = _format("PNG", "colour alpha mask deep", "1 L LA P", exif=True)
_JPEG = _format("JPEG", "colour cmyk", "L", exif=True, side=65500)
_TIFF = _format("TIFF", "colour alpha mask deep float cmyk", "1 L LA P PA", exif=True)

_FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".webp": _format("WEBP", "colour alpha mask", exif=True, side=16383),
    ".bmp": _format("BMP", "colour", "1 L P"),
    ".ppm": _format("PPM", "colour deep", "1 L"),
    ".pgm": _format("PPM", "deep", "L"),
    ".gif": _format("GIF", "colour mask", "L P", side=65535),
}
if features.check("jpg_2000"):
    _FORMATS[".jp2"] = _format("JPEG2000", "colour alpha mask", "L LA")
if features.check("avif"):
    _FORMATS[".avif"] = _format("AVIF", "colour alpha mask", exif=True, side=65536)

PICTURE_SUFFIXES = frozenset(_FORMATS)
"""Suffixes that are read and written, in lower case with their dot."""

JPEG_QUALITY = 98
"""Quality of a JPEG where nobody asks for another, in 4:4:4.

It takes 0.05 to 0.3 dB from a restored picture, 95 takes 0.1 to 0.6; files are 1.4 times as large
as at 95. 100 takes hardly less, in files twice as large: its loss is that of converting colours.
"""

LOSSY_SUFFIXES = frozenset({".jpg", ".jpeg", ".avif", ".gif"})
"""Suffixes of formats that can change pixels (GIF: pictures of more than 256 colours)."""

SUFFIX_OF_FORMAT = {
    "AVIF": ".avif", "BMP": ".bmp", "DIB": ".bmp", "GIF": ".gif", "HEIF": ".heic", "JPEG": ".jpg",
    "JPEG2000": ".jp2", "MPO": ".jpg", "PNG": ".png", "PPM": ".ppm", "TIFF": ".tif",
    "WEBP": ".webp",
}  # fmt: skip
"""The usual suffix of each format, by Pillow's names."""

_WORDS = {
    "alpha": "transparency",
    "mask": "transparency",
    "deep": "16 bits per channel",
    "float": "float samples",
    "cmyk": "CMYK colour",
    "colour": "colour",
}
_LOSSLESS_TIFF = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate")
_BILEVEL_TIFF = ("group3", "group4", "tiff_ccitt")


def encode(
    picture: Picture,
    suffix: str,
    name: str,
    *,
    quality: int = JPEG_QUALITY,
    subsampling: Subsampling = "4:4:4",
) -> bytes:
    """Encode a picture as the bytes of a file.

    Args:
        picture: the picture.
        suffix: suffix of the format, such as ``.png``, in upper or lower case.
        name: name of the file for error messages.
        quality: of a JPEG, from 1 to 100.
        subsampling: of a JPEG's chroma.

    Raises:
        PictureError: the suffix is unknown, the format cannot hold the picture, or pixels are not
            finite.
    """
    target = _target(suffix, name)
    # A NaN or an infinity makes the sum non-finite, and a sum takes no memory.
    if not math.isfinite(float(picture.pixels.sum())):
        raise PictureError(f"{name}: the pixels are not finite (NaN or infinity); try fp32")
    picture = _fit(picture, target, name)
    picture = replace(picture, layout=fit_metadata(picture.layout, target.name)[0])
    if not target.exif and picture.orientation != 1:
        picture = upright(picture)
    try:
        if picture.layout.depth > 8:
            return _encode_deep(picture, target)
        return _encode_plain(picture, target, {"quality": quality, "subsampling": subsampling})
    except PictureError:
        raise
    except MemoryError:
        raise PictureError(f"{name}: not enough memory to encode it") from None
    except (OSError, ValueError, OverflowError, RuntimeError, struct.error, zlib.error) as error:
        raise PictureError(
            f"{name}: {target.name} cannot hold this picture ({error}); write it as .png"
        ) from None


def check_writable(picture: Picture, suffix: str, name: str, *, pages: int = 1) -> None:
    """Check that a format can hold pictures of this size and kind, before one is restored.

    Args:
        picture: a picture as read, of which the result will have the size, depth and alpha.
        suffix: suffix of the format.
        name: name of the file to write, for error messages.
        pages: number of pages that the file will have.

    Raises:
        PictureError: the suffix is unknown, or the format cannot hold the result.
    """
    target = _target(suffix, name)
    if pages > 1 and target.name != "TIFF":
        raise PictureError(f"{name}: {target.name} cannot hold {pages} pages; write it as .tif")
    _fit(picture, target, name)


def format_of(suffix: str) -> str:
    """Return Pillow's name of the format of a suffix in `PICTURE_SUFFIXES`, in any case."""
    return _FORMATS[suffix.lower()].name


def same_format(suffix: str, other: str) -> bool:
    """Whether files of two suffixes are of one format, such as ``.jpg`` and ``.JPEG``."""
    names = [each.lower() for each in (suffix, other)]
    known = [_FORMATS[name].name if name in _FORMATS else name for name in names]
    return known[0] == known[1]


def _target(suffix: str, name: str) -> _Format:
    target = _FORMATS.get(suffix.lower())
    if target is None:
        known = " ".join(sorted(PICTURE_SUFFIXES))
        raise PictureError(f"{name}: unknown suffix {suffix!r}; use one of {known}")
    return target


def _needs(picture: Picture) -> list[str]:
    """List the capabilities that a picture needs, in the order in which errors name them."""
    needs = []
    if picture.pixels.shape[0] == 4:
        needs.append("cmyk")
    if picture.layout.depth == 32:
        needs.append("float")
    if picture.layout.depth == 16:
        needs.append("deep")
    if picture.alpha is not None and not bool((picture.alpha == 1.0).all()):
        binary = bool(((picture.alpha == 0.0) | (picture.alpha == 1.0)).all())
        needs.append("mask" if binary else "alpha")
    if picture.pixels.shape[0] == 3:
        needs.append("colour")
    return needs


def _fit(picture: Picture, target: _Format, name: str) -> Picture:
    """Refuse a picture that the format cannot hold; drop opaque alpha if it has no alpha."""
    needs = _needs(picture)
    missing = [need for need in needs if need not in target.holds]
    if missing:
        able = [s for s, f in _FORMATS.items() if f.holds.issuperset(needs)]
        able.sort(key=lambda suffix: suffix in LOSSY_SUFFIXES)
        partial = "partial " if missing[0] == "alpha" and "mask" in target.holds else ""
        fix = f"write it as {able[0]}" if able else "convert it to 8 bits first"
        what = partial + _WORDS[missing[0]]
        raise PictureError(f"{name}: {target.name} cannot hold {what}; {fix}")
    if max(picture.width, picture.height) > target.side:
        able = [
            s for s, f in _FORMATS.items() if f.holds.issuperset(needs) and f.side > target.side
        ]
        raise PictureError(
            f"{name}: {target.name} cannot hold {picture.width}x{picture.height} pixels, but "
            f"{target.side} a side at most; write it as {able[0]}"
        )
    if picture.alpha is not None and not target.holds & {"alpha", "mask"}:
        picture = replace(picture, alpha=None)
    return picture


def _mode_for(picture: Picture, target: _Format) -> str:
    """Choose the Pillow mode to write: the picture's own if possible, or one that holds it."""
    own, channels = picture.layout.mode, picture.pixels.shape[0]
    alpha = picture.alpha is not None
    if channels == 4:
        return "CMYK"
    if target.name == "GIF":
        return "L" if channels == 1 and not alpha else "P"
    if own == "PA" and "PA" in target.modes and palette_holds(picture, "PA"):
        return "PA"
    fits = "P" in target.modes and not (alpha and target.name != "PNG")
    if own == "P" and fits and palette_holds(picture, "P"):
        return "P"
    if own == "1" and "1" in target.modes:
        return "1"
    if channels == 1 and "L" in target.modes and (not alpha or "LA" in target.modes):
        return "LA" if alpha else "L"
    return "RGBA" if alpha else "RGB"


def _encode_plain(picture: Picture, target: _Format, jpeg: dict[str, Any]) -> bytes:
    layout = picture.layout
    mode = _mode_for(picture, target)
    image = image_of(picture, mode)
    options: dict[str, Any] = {}
    # A gray profile does not describe gray repeated into colour.
    promoted = picture.pixels.shape[0] == 1 and mode not in ("1", "L", "LA")
    gray_profile = layout.icc is not None and layout.icc[16:20] == b"GRAY"
    if layout.icc is not None and not (promoted and gray_profile):
        options["icc_profile"] = layout.icc
    if layout.dpi is not None:
        options["dpi"] = layout.dpi
    # AVIF is written from parsed tags, which a damaged block does not have.
    usable = target.name != "AVIF" or exif_tags(layout.exif) is not None
    if target.exif and layout.exif is not None and usable:
        options["exif"] = layout.exif
    if layout.xmp is not None and target.name not in ("PNG", "TIFF"):
        options["xmp"] = layout.xmp
    transparency: int | bytes | None = image.info.get("transparency")
    if target.name == "PNG":
        options["pnginfo"] = _png_info(picture)
    elif target.name == "JPEG":
        options |= jpeg
    elif target.name == "WEBP":
        # Without `exact` libwebp changes the colour under transparent pixels.
        options |= {"lossless": True, "exact": True, "quality": 80}
    elif target.name == "AVIF":
        options |= {"quality": 95, "subsampling": "4:4:4"}
    elif target.name == "JPEG2000" and layout.comments:
        options["comment"] = b"\n".join(layout.comments)
    elif target.name == "TIFF":
        options = _tiff_options(picture, mode, options)
    elif target.name == "GIF":
        options["optimize"] = False
        options["comment"] = b"\n".join(layout.comments)
        if isinstance(transparency, bytes):
            transparency = _one_transparent(image, transparency)
    if transparency is not None:
        options["transparency"] = transparency
    # Only palette and transparency are passed on, or Pillow would write the rest of info too.
    image.info = {}
    encoded = _saved(image, target, options)
    if target.name == "TIFF":
        return _with_tags(encoded, picture)
    if target.name == "JPEG":
        return insert_segments(encoded, layout.photoshop, layout.comments)
    return deep.with_pnm_comments(encoded, layout.comments) if target.name == "PPM" else encoded


def _saved(image: Image.Image, target: _Format, options: dict[str, Any]) -> bytes:
    stream = io.BytesIO()
    image.save(stream, target.name, **options)
    return stream.getvalue()


def _one_transparent(image: Image.Image, alphas: bytes) -> int | None:
    """Replace all transparent entries of a palette image by the first, as a GIF has only one."""
    clear = [entry for entry, alpha in enumerate(alphas) if alpha == 0]
    if not clear:
        return None
    if len(clear) > 1:
        table = [clear[0] if entry in clear else entry for entry in range(256)]
        palette = image.getpalette("RGB") or []
        joined = Image.frombytes("P", image.size, image.tobytes().translate(bytes(table)))
        joined.putpalette(palette)
        image.paste(joined)
    return clear[0]


def _png_info(picture: Picture) -> PngInfo:
    info = PngInfo()
    for name, content in _png_chunks(picture.layout):
        info.add(name, content)
    return info


def _png_chunks(layout: Layout) -> list[tuple[bytes, bytes]]:
    """Return the chunks that Pillow does not write by itself: colours, texts, IPTC and XMP."""
    chunks = list(layout.chunks)
    if layout.photoshop is not None:
        chunks.append((b"zTXt", to_png_text(layout.photoshop)))
    # A text must not contain zeros (PNG specification, 11.3.4.3).
    chunks += [(b"tEXt", b"Comment\0" + text.replace(b"\0", b"")) for text in layout.comments]
    if layout.xmp is not None:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + layout.xmp))
    return chunks


def _with_tags(encoded: bytes, picture: Picture) -> bytes:
    """Add the picture's EXIF, XMP and IPTC to an encoded TIFF."""
    layout = picture.layout
    source, kept = exif_tags(layout.exif), Image.Exif()
    deep_tiff.copy_tags(source, kept)
    if layout.xmp is not None:
        kept[700] = layout.xmp
    record = iptc_of(layout.photoshop)
    if layout.photoshop is not None:
        kept[deep_tiff.PHOTOSHOP] = layout.photoshop
    if record is not None:
        kept[deep_tiff.IPTC] = record
    if not len(kept):
        return encoded
    kept.endian = "<"
    return add_tags(encoded, kept.tobytes().removeprefix(b"Exif\0\0"))


def _tiff_options(picture: Picture, mode: str, options: dict[str, Any]) -> dict[str, Any]:
    options.pop("exif", None)
    allowed = _LOSSLESS_TIFF + (_BILEVEL_TIFF if mode == "1" else ())
    own = picture.layout.compression
    options["compression"] = own if own in allowed else "tiff_adobe_deflate"
    return options


def _encode_deep(picture: Picture, target: _Format) -> bytes:
    layout = picture.layout
    if target.name == "PPM":
        return deep.with_pnm_comments(deep.encode_pnm(picture), layout.comments)
    if target.name == "TIFF":
        return _with_tags(deep_tiff.encode_tiff(picture, layout.compression != "raw"), picture)
    extra = _png_chunks(layout)
    if layout.icc is not None:
        extra.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(layout.icc)))
    if layout.dpi is not None:
        across, down = (round(value / 0.0254) for value in layout.dpi)
        extra.append((b"pHYs", across.to_bytes(4, "big") + down.to_bytes(4, "big") + b"\x01"))
    if layout.exif is not None:
        extra.append((b"eXIf", layout.exif[6:]))
    return deep.encode_png(picture, extra)
