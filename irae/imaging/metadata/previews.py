"""Removing previews from metadata: they would show the picture as it was before it was changed."""

from __future__ import annotations

import re
import struct

from irae.imaging.metadata.jpeg import picture_end

_MOST_PREFIXES = 4
_EXIF = b"Exif\0\0"
_JPEG = b"\xff\xd8\xff"
_FIRST_MARKERS = (b"\xdb", b"\xe0", b"\xe1")
_MOST_PREVIEWS = 100
_JPEG_OFFSET, _JPEG_LENGTH, _STRIP_OFFSETS, _STRIP_LENGTHS = 513, 514, 273, 279

# Pictures in base64, as xmp:Thumbnails, GImage:Data or GDepth:Data: JPEG, PNG, WebP, HEIF, TIFF.
_PICTURE_IN_XMP = re.compile(
    rb"(?<=[>\"'])\s*(?:/9j/|iVBORw0KGgo|UklGR|AAAA[A-Za-z0-9+/]{2}Z0eX|SUkqA|TU0AK)"
    rb"(?:[A-Za-z0-9+/=\s]|&#[xX]?[0-9A-Fa-f]{1,2};){16,}"
)
# Namespaces and names of previews, and of what announces pictures or a video after the end of a
# JPEG.
_STALE = (
    (rb"http://ns\.adobe\.com/xap/1\.0/", rb"Thumbnails"),
    (rb"http://ns\.adobe\.com/hdr-gain-map/1\.0/", rb"\w+"),
    (rb"http://ns\.google\.com/photos/1\.0/container/", rb"\w+"),
    (rb"http://ns\.google\.com/photos/1\.0/camera/", rb"(?:MotionPhoto|MicroVideo)\w*"),
)


def exif_without_previews(exif: bytes) -> bytes | None:
    """Return an EXIF block without its thumbnail and without JPEGs in the maker's notes.

    Everything else keeps its place, because the maker's notes contain offsets.

    Args:
        exif: the block with its ``Exif`` prefix, damaged or not.

    Returns:
        The block, equal to the one given if it held no preview; None if nothing is left of it.
    """
    block = bytearray(exif)
    _unlink_thumbnail(block)
    at = block.find(_JPEG)
    for _ in range(_MOST_PREVIEWS):
        if at < 0:
            return bytes(block) if len(block) > len(_EXIF) else None
        end = picture_end(block, at)
        if end is None and block[at + 3 : at + 4] in _FIRST_MARKERS:
            end = len(block)  # A picture that is cut short.
        if end is not None:
            _clear(block, at, end)
        at = block.find(_JPEG, at + 3)
    return None  # No camera writes so many.


def _unlink_thumbnail(block: bytearray) -> None:
    """Remove the second directory of an EXIF block, which describes the thumbnail."""
    base = len(_EXIF)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(block[base : base + 4]))
    if order is None:
        return
    try:
        (first,) = struct.unpack_from(order + "I", block, base + 4)
        (count,) = struct.unpack_from(order + "H", block, base + first)
        link = base + first + 2 + 12 * count
        (second,) = struct.unpack_from(order + "I", block, link)
        if second == 0:
            return
        struct.pack_into(order + "I", block, link, 0)
        (count,) = struct.unpack_from(order + "H", block, base + second)
        tags = {}
        for entry in range(count):
            at = base + second + 2 + 12 * entry
            tag, kind, number, value = struct.unpack_from(order + "HHII", block, at)
            if kind == 3 and number == 1:
                (value,) = struct.unpack_from(order + "H", block, at + 8)
            tags[tag] = (number, value)
    except struct.error:
        return
    for place, length in ((_JPEG_OFFSET, _JPEG_LENGTH), (_STRIP_OFFSETS, _STRIP_LENGTHS)):
        if place in tags and length in tags and tags[place][0] == 1:
            begin = base + tags[place][1]
            _clear(block, begin, begin + tags[length][1])
    _clear(block, base + second, base + second + 2 + 12 * count + 4)


def _clear(block: bytearray, begin: int, end: int) -> None:
    """Cut off a part at the block's end; overwrite another by zeros."""
    begin = max(begin, len(_EXIF))
    if end >= len(block):
        del block[begin:]
    elif begin < end:
        block[begin:end] = bytes(end - begin)


def xmp_without_previews(xmp: bytes) -> bytes:
    """Return an XMP packet without pictures in it, and without what announces others."""
    xmp = _PICTURE_IN_XMP.sub(b"", xmp)
    for namespace, names in _STALE:
        declared = re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + namespace + rb"[\"']", xmp)
        for prefix in sorted(set(declared))[:_MOST_PREFIXES]:
            name = re.escape(prefix) + rb":" + names
            xmp = re.sub(rb"\s" + name + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", xmp)
            xmp = _without_elements(xmp, name)
    return xmp


def _without_elements(xmp: bytes, name: bytes) -> bytes:
    """Remove the elements of a name, given as a pattern, with all that they contain."""
    kept, at = [], 0
    for tag in re.finditer(rb"<(" + name + rb")(?=[\s/>])[^<>]*>", xmp):
        if tag.start() < at:
            continue
        end = tag.end()
        if not tag.group().endswith(b"/>"):
            closing = b"</" + tag[1] + b">"
            end = xmp.find(closing, tag.end())
            if end < 0:
                break
            end += len(closing)
        kept.append(xmp[at : tag.start()])
        at = end
    return b"".join([*kept, xmp[at:]])
