"""Limits on pictures, which are checked before a decoder runs."""

from __future__ import annotations

import os

from irae.errors import PictureError, UsageError

MAX_PIXELS = 400_000_000
"""Largest picture read, in pixels. A larger file could be a decompression bomb."""

LIMIT_VARIABLE = "IRAE_MAX_PIXELS"
"""Environment variable that sets another limit."""

# No supported format takes more bytes per uncompressed pixel than four channels of 32 bits.
_BYTES_PER_PIXEL, _SPARE_BYTES = 16, 1 << 26

# Cameras and optimisers write about ten scans. Each scan costs a pass over the whole picture, but
# may take only a few bytes of the file.
_MAX_JPEG_SCANS = 200


def max_pixels() -> int:
    """Return the limit in pixels: the value of IRAE_MAX_PIXELS, else :data:`MAX_PIXELS`.

    Raises:
        UsageError: the variable is not a whole number from 1.
    """
    wanted = os.environ.get(LIMIT_VARIABLE)
    if not wanted:
        return MAX_PIXELS
    if not wanted.isdecimal() or len(wanted) > 18 or int(wanted) < 1:
        raise UsageError(f"{LIMIT_VARIABLE} is {wanted!r}; give a number of pixels, or unset it")
    return int(wanted)


def check_size(width: int, height: int, name: str) -> None:
    """Check the size in a header before memory is allocated for it.

    Raises:
        PictureError: there are more pixels than allowed, or none.
    """
    if width * height > max_pixels():
        raise PictureError(
            f"{name}: claims {width}x{height} pixels, more than the {_allowed()} allowed; "
            f"cut it into parts, or raise {LIMIT_VARIABLE}"
        )
    if width < 1 or height < 1:
        raise PictureError(f"{name}: has no pixels; fetch the file again")


def check_total(pixels: int, pages: int, name: str) -> None:
    """Check the pixels of all pages of a file together.

    Raises:
        PictureError: there are more than allowed.
    """
    if pixels > max_pixels():
        raise PictureError(
            f"{name}: its {pages} pages claim {pixels} pixels, more than the {_allowed()} allowed; "
            f"split it, or raise {LIMIT_VARIABLE}"
        )


def _allowed() -> str:
    limit = max_pixels()
    return f"{limit // 1_000_000} million" if limit >= 1_000_000 else str(limit)


def max_bytes() -> int:
    """Return the largest number of bytes that a file of a picture may have."""
    return _BYTES_PER_PIXEL * max_pixels() + _SPARE_BYTES


def check_bytes(count: int, name: str) -> None:
    """Refuse a file that is too long for the largest picture, before it is read."""
    limit = max_bytes()
    if count > limit:
        raise PictureError(
            f"{name}: is a file of {count >> 20} MiB, more than the {limit >> 20} MiB that the "
            f"largest picture takes; raise {LIMIT_VARIABLE}"
        )


def check_scans(data: bytes, name: str) -> None:
    """Refuse a JPEG with so many scans that decoding could take hours."""
    # These two bytes never occur in entropy-coded data; a thumbnail adds a scan or two.
    scans = data.count(b"\xff\xda")
    if scans > _MAX_JPEG_SCANS:
        raise PictureError(f"{name}: has {scans} scans, more than any camera writes; save it again")
