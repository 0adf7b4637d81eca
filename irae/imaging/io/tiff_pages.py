"""The pages of a TIFF: finding them, showing one to a decoder, and joining encoded ones."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from irae.errors import PictureError

Data = bytes | mmap.mmap
"""The content of a file, in memory or mapped to it."""

_MOST_PAGES = 10_000
# Raised for an offset after the end of the file, or larger than any file.
_OUTSIDE = (struct.error, OverflowError)
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT = 254, 255, 256, 257
# Tags whose values are offsets: strips and tiles, then directories.
_DATA_OFFSETS, _DIRECTORIES = (273, 324), (330, 34665, 34853, 40965)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}


@dataclass(frozen=True)
class TiffPage:
    """A page of a TIFF.

    Attributes:
        offset: where its directory begins in the file.
        width: number of columns.
        height: number of rows.
        extra: whether it is a thumbnail or a mask of another page.
    """

    offset: int
    width: int
    height: int
    extra: bool


@dataclass(frozen=True)
class _Form:
    """How a TIFF stores its directories: byte order, and formats of the numbers in them."""

    order: str
    big: bool

    @property
    def link(self) -> tuple[int, str]:
        return (8, f"{self.order}Q") if self.big else (4, f"{self.order}I")


def _form_of(data: Data) -> _Form | None:
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None or len(data) < 16:
        return None
    version = struct.unpack_from(order + "H", data, 2)[0]
    return _Form(order, version == 43) if version in (42, 43) else None


def find_pages(data: Data, name: str) -> list[TiffPage]:
    """Find the pages of a TIFF; empty for other files and where the first page is damaged.

    Raises:
        PictureError: there are more pages than any scanner writes.
    """
    form = _form_of(data)
    if form is None:
        return []
    pages: list[TiffPage] = []
    seen: set[int] = set()
    size, link = form.link
    (offset,) = struct.unpack_from(link, data, size)
    while offset and offset not in seen:
        seen.add(offset)
        try:
            tags, after = _directory(data, offset, form)
            (following,) = struct.unpack_from(link, data, after)
        except _OUTSIDE:
            break
        kind = tags.get(_SUBFILE, 0)
        extra = bool(kind & 5) or tags.get(_OLD_SUBFILE) == 2
        pages.append(TiffPage(offset, tags.get(_WIDTH, 0), tags.get(_HEIGHT, 0), extra))
        if len(pages) > _MOST_PAGES:
            raise PictureError(f"{name}: has over {_MOST_PAGES} pages; split it")
        offset = following
    return pages


def _directory(data: Data, offset: int, form: _Form) -> tuple[dict[int, int], int]:
    """Return the numbers in a directory that describe a page, and the place of the next link."""
    head, entry = (8, 20) if form.big else (2, 12)
    (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, offset)
    if offset + head + count * entry > len(data):
        raise struct.error
    tags = {}
    for place in range(offset + head, offset + head + count * entry, entry):
        tag, kind = struct.unpack_from(form.order + "HH", data, place)
        if tag in (_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT):
            value = form.order + {3: "H", 4: "I", 16: "Q"}.get(kind, "I")
            (tags[tag],) = struct.unpack_from(value, data, place + (12 if form.big else 8))
    return tags, offset + head + count * entry


def raw_tag(data: bytes, wanted: int) -> bytes | None:
    """Return the bytes of a tag in the first directory of a TIFF; None if it is not there."""
    form = _form_of(data)
    if form is None:
        return None
    size, link = form.link
    head, entry, number = (8, 20, "Q") if form.big else (2, 12, "I")
    try:
        (offset,) = struct.unpack_from(link, data, size)
        (count,) = struct.unpack_from(form.order + ("Q" if form.big else "H"), data, offset)
        for place in range(offset + head, min(offset + head + count * entry, len(data)), entry):
            tag, kind = struct.unpack_from(form.order + "HH", data, place)
            if tag != wanted:
                continue
            (values,) = struct.unpack_from(form.order + number, data, place + 4)
            if values > len(data):
                return None
            length, at = values * _SIZES.get(kind, 1), place + 4 + size
            if length > size:
                (at,) = struct.unpack_from(form.order + number, data, at)
            value = data[at : at + length]
            return value if value and len(value) == length else None
    except _OUTSIDE:
        pass
    return None


def with_first_page(data: bytes, page: TiffPage) -> bytes:
    """Return a TIFF with its first link set to a page, as if that page were the only one."""
    form = _form_of(data)
    if form is None:
        raise ValueError("not a TIFF")
    size, link = form.link
    if struct.unpack_from(link, data, size)[0] == page.offset:
        return data
    return data[:size] + struct.pack(link, page.offset) + data[2 * size :]


def add_tags(tiff: bytes, tags: bytes) -> bytes:
    """Add the tags of one TIFF to another, except those that it has.

    libtiff, by which Pillow compresses, writes no directories below the first, such as EXIF's.

    Args:
        tiff: a little-endian TIFF of one page.
        tags: a little-endian TIFF that holds nothing but tags.
    """
    whole = bytearray(tiff + b"\0" * (len(tiff) % 2))
    base, moved = len(whole), bytearray(tags)
    (first,) = struct.unpack_from("<I", tags, 4)
    _move(moved, first, base, set())
    whole += moved + b"\0" * (len(moved) % 2)
    (own,) = struct.unpack_from("<I", tiff, 4)
    entries = {**_raw_entries(moved, first), **_raw_entries(tiff, own)}
    struct.pack_into("<I", whole, 4, len(whole))
    listed = b"".join(entries[tag] for tag in sorted(entries))
    return bytes(whole + struct.pack("<H", len(entries)) + listed + bytes(4))


def _raw_entries(tiff: bytes | bytearray, offset: int) -> dict[int, bytes]:
    (count,) = struct.unpack_from("<H", tiff, offset)
    places = range(offset + 2, offset + 2 + 12 * count, 12)
    entries = (bytes(tiff[place : place + 12]) for place in places)
    return {int.from_bytes(entry[:2], "little"): entry for entry in entries}


def join_pages(pages: Sequence[bytes]) -> bytes:
    """Join TIFFs of one page each, as `irae.imaging.io.encode` writes them, to one of several.

    Raises:
        PictureError: the file would be larger than a TIFF can be.
    """
    joined = bytearray()
    last_link = 4
    for page in pages:
        base = len(joined)
        if base + len(page) >= 1 << 32:
            raise PictureError("all pages together are larger than 4 GiB, the limit of a TIFF")
        moved = bytearray(page)
        (first,) = struct.unpack_from("<I", page, 4)
        link = _move(moved, first, base, set())
        joined += moved
        struct.pack_into("<I", joined, last_link, base + first)
        last_link = base + link
        joined += b"\0" * (len(joined) % 2)
    return bytes(joined)


def _move(page: bytearray, offset: int, base: int, seen: set[int]) -> int:
    """Add ``base`` to all offsets in a directory of a little-endian TIFF and those below it.

    Returns:
        The place of the link to the next directory.
    """
    seen.add(offset)
    count = int.from_bytes(page[offset : offset + 2], "little")
    for place in range(offset + 2, offset + 2 + 12 * count, 12):
        tag, kind, number, value = struct.unpack_from("<HHII", page, place)
        inline = _SIZES.get(kind, 1) * number <= 4
        at = place + 8 if inline else value
        if not inline:
            struct.pack_into("<I", page, place + 8, value + base)
        if tag not in (*_DATA_OFFSETS, *_DIRECTORIES) or kind not in (4, 13):
            continue
        values = struct.unpack_from(f"<{number}I", page, at)
        for below in values if tag in _DIRECTORIES else ():
            if below not in seen:
                _move(page, below, base, seen)
        struct.pack_into(f"<{number}I", page, at, *(each + base for each in values))
    return offset + 2 + 12 * count
