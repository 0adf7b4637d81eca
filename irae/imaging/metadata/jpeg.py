"""The segments of a JPEG: finding what Pillow drops, and inserting what Pillow cannot write."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from irae.imaging.metadata.photoshop import JPEG_PREFIX

LONGEST = 65533
"""Largest number of bytes in a segment, apart from its marker and its length."""

_APP1, _APP2, _APP11, _APP13, _COMMENT = 0xE1, 0xE2, 0xEB, 0xED, 0xFE
_START_OF_SCAN, _END = 0xDA, 0xD9
# In entropy-coded data, a byte 255 is followed by 0 or is a restart marker (ITU-T T.81, B.1.1).
_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)

_EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
_GAIN_MAPS = (
    b"http://ns.adobe.com/hdr-gain-map/",
    b"urn:iso:std:iso:ts:21496:-1",
    b"http://ns.apple.com/HDRGainMap/",
)
# The types of pictures in an MPF index (CIPA DC-007, 5.2.3.3.1): previews of the first picture.
_PREVIEW_TYPES = (0x010001, 0x010002, 0x010003, 0x010004, 0x010005)


@dataclass(frozen=True)
class JpegSegments:
    """What Pillow does not return of a JPEG.

    Attributes:
        photoshop: the Photoshop image resources, the IPTC record among them.
        comments: the comments, in order.
        dropped: what the file holds beside its picture that cannot be written again, in words
            that follow "its".
    """

    photoshop: bytes | None = None
    comments: tuple[bytes, ...] = ()
    dropped: tuple[str, ...] = ()


@dataclass
class _Parsed:
    segments: list[tuple[int, bytes]] = field(default_factory=list)
    end: int = 0


def picture_end(data: bytes | bytearray, start: int = 0) -> int | None:
    """Find the end of the JPEG that begins at ``start``; None if there is none or it is cut short.

    The markers of a picture inside a segment, such as a thumbnail, are passed over.
    """
    parsed = _parse(data, start)
    return None if parsed is None else parsed.end


def _parse(data: bytes | bytearray, start: int = 0) -> _Parsed | None:
    if data[start : start + 3] != b"\xff\xd8\xff":
        return None
    at, parsed, scanned = start + 2, _Parsed(), False
    while True:
        # Between segments, a byte that begins no marker is damage, which libjpeg skips too.
        found = _MARKER.search(data, at)
        if found is None:
            return None
        marker, at = found.group()[-1], found.end()
        if marker == _END:
            parsed.end = at
            return parsed if scanned else None
        if marker == 0x01:
            continue
        if at + 2 > len(data):
            return None
        (length,) = struct.unpack_from(">H", data, at)
        if length < 2 or at + length > len(data):
            return None
        parsed.segments.append((marker, bytes(data[at + 2 : at + length])))
        scanned = scanned or marker == _START_OF_SCAN
        at += length


def read_segments(data: bytes) -> JpegSegments:
    """Find the IPTC record, the comments, and what cannot be kept, in the bytes of a JPEG file."""
    parsed = _parse(data)
    if parsed is None:
        return JpegSegments()
    resources = b"".join(
        payload[len(JPEG_PREFIX) :]
        for marker, payload in parsed.segments
        if marker == _APP13 and payload.startswith(JPEG_PREFIX)
    )
    comments = tuple(payload for marker, payload in parsed.segments if marker == _COMMENT)
    return JpegSegments(resources or None, comments, tuple(_dropped(data, parsed)))


def _dropped(data: bytes, parsed: _Parsed) -> Iterable[str]:
    head = [payload for marker, payload in parsed.segments if marker in (_APP1, _APP2)]
    if any(payload.startswith(_EXTENDED_XMP) for payload in head):
        yield "extended XMP"
    if any(m == _APP11 and b"jumb" in payload[:32] for m, payload in parsed.segments):
        yield "content credentials"
    rest = data[parsed.end :]
    if not rest.strip(b"\0\r\n\t "):
        return
    index = next((p[4:] for p in head if p.startswith(b"MPF\0")), None)
    types = [] if index is None else _picture_types(index)[1:]
    video = b"ftyp" in rest[4:4096] or b"MotionPhoto_Data" in rest
    others = [kind for kind in types if kind not in _PREVIEW_TYPES]
    gain_map = any(mark in payload for mark in _GAIN_MAPS for payload in head)
    if not gain_map and rest.startswith(b"\xff\xd8"):
        gain_map = any(mark in rest[: 1 << 16] for mark in _GAIN_MAPS)
    if gain_map:
        yield "gain map"
        others = others[1:]
    if others:
        yield "second picture" if len(others) == 1 else f"{len(others)} further pictures"
    if video:
        yield "video"
    if not (types or gain_map or video):
        yield "second picture" if rest.startswith(b"\xff\xd8\xff") else "data after the picture"


def _picture_types(index: bytes) -> list[int]:
    """Return the types of the pictures in an MPF index; empty if it is damaged."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(index[:4])
    if order is None:
        return []
    try:
        (at,) = struct.unpack_from(order + "I", index, 4)
        (count,) = struct.unpack_from(order + "H", index, at)
        for entry in range(count):
            tag, _, size, offset = struct.unpack_from(order + "HHII", index, at + 2 + 12 * entry)
            if tag == 0xB002:  # MPEntry: 16 bytes for each picture, its attributes first.
                size = min(size, len(index))
                starts = range(offset, offset + size, 16)
                return [struct.unpack_from(order + "I", index, s)[0] & 0xFFFFFF for s in starts]
    except struct.error:
        pass
    return []


def insert_segments(jpeg: bytes, photoshop: bytes | None, comments: tuple[bytes, ...]) -> bytes:
    """Insert an IPTC record and comments in an encoded JPEG, after its other metadata.

    Args:
        jpeg: a JPEG as Pillow writes it.
        photoshop: Photoshop image resources, of any length.
        comments: comments of at most `LONGEST` bytes.
    """
    if not photoshop and not comments:
        return jpeg
    at = 2
    while 0xE0 <= jpeg[at + 1] <= 0xEF:
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    room, resources = LONGEST - len(JPEG_PREFIX), photoshop or b""
    parts = [
        (_APP13, JPEG_PREFIX + resources[start : start + room])
        for start in range(0, len(resources), room)
    ]
    parts += [(_COMMENT, comment) for comment in comments]
    inserted = b"".join(
        bytes((0xFF, marker)) + struct.pack(">H", len(payload) + 2) + payload
        for marker, payload in parts
    )
    return jpeg[:at] + inserted + jpeg[at:]
