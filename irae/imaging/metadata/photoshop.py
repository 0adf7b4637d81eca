"""Photoshop's image resources, in which JPEG, TIFF and PNG files keep the IPTC record.

Each resource is ``8BIM``, its number, a Pascal string of even length, its size, and its bytes,
padded to an even length (Adobe Photoshop File Formats Specification, "Image Resource Blocks").
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

JPEG_PREFIX = b"Photoshop 3.0\0"
"""Beginning of a JPEG's APP13 segment that holds image resources."""

PNG_KEYWORD = b"Raw profile type iptc"
"""Keyword of the text in which PNG files keep image resources, by the custom of ImageMagick."""

_IPTC, _THUMBNAILS = 0x0404, (0x0409, 0x040C)
# A text of a PNG unpacks to more than this only in a file that is made to do harm.
_MOST_TEXT = 1 << 25


def _resources(block: bytes) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield number, begin, begin of the content, its end, and end of each resource."""
    at = 0
    while block[at : at + 4] in (b"8BIM", b"MeSa", b"AgHg", b"PHUT", b"DCSR") and at + 12 <= len(
        block
    ):
        number = int.from_bytes(block[at + 4 : at + 6], "big")
        name = 1 + block[at + 6]
        content = at + 6 + name + name % 2 + 4
        if content > len(block):
            return
        size = int.from_bytes(block[content - 4 : content], "big")
        end = content + size + size % 2
        if content + size > len(block):
            return
        yield number, at, content, content + size, min(end, len(block))
        at = end


def iptc_of(block: bytes | None) -> bytes | None:
    """Return the IPTC record among image resources, if there is one."""
    for number, _, begin, end, _ in _resources(block or b""):
        if number == _IPTC:
            return (block or b"")[begin:end] or None
    return None


def with_iptc(block: bytes | None, record: bytes) -> bytes:
    """Return the image resources with another IPTC record."""
    kept = b"".join(
        (block or b"")[begin:end]
        for number, begin, _, _, end in _resources(block or b"")
        if number != _IPTC
    )
    padding = b"\0" * (len(record) % 2)
    return struct.pack(">4sHHI", b"8BIM", _IPTC, 0, len(record)) + record + padding + kept


def without_thumbnails(block: bytes) -> bytes | None:
    """Return image resources without pictures of the picture; None if nothing else is left."""
    kept, at = b"", 0
    for number, begin, _, _, end in _resources(block):
        if number in _THUMBNAILS:
            kept, at = kept + block[at:begin], end
    return (kept + block[at:]) or None


def to_png_text(block: bytes) -> bytes:
    """Return the content of a PNG's zTXt chunk that holds image resources."""
    digits = block.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    text = f"\niptc\n{len(block):8d}\n{lines}\n"
    return PNG_KEYWORD + b"\0\0" + zlib.compress(text.encode("ascii"))


def raw_profile(name: bytes, content: bytes) -> bytes | None:
    """Return what a PNG's text chunk holds if its keyword is that of a raw profile.

    Args:
        name: ``tEXt`` or ``zTXt``.
        content: the chunk's content, keyword first.

    Returns:
        The profile; None if the chunk is damaged.
    """
    text = content.partition(b"\0")[2]
    try:
        if name == b"zTXt":
            text = zlib.decompressobj().decompress(text[1:], _MOST_TEXT)
        _, length, digits = text.strip(b"\n").split(b"\n", 2)
        profile = bytes.fromhex(digits.decode("ascii"))
        return profile if len(profile) == int(length) else None
    except (ValueError, zlib.error):
        return None


def from_profile(profile: bytes) -> bytes:
    """Return image resources for a raw profile that holds these, or the IPTC record alone."""
    profile = profile.removeprefix(JPEG_PREFIX)
    return profile if profile.startswith(b"8BIM") else with_iptc(None, profile)
