"""How large a picture may be, and what else is refused before a decoder sees it."""

from __future__ import annotations

import os

from irae.errors import PictureError, UsageError

MAX_PIXELS = 400_000_000
"""Largest picture read. A file that claims more is taken for a decompression bomb."""

LIMIT_VARIABLE = "IRAE_MAX_PIXELS"
"""Environment variable that sets another limit."""

# No format here takes more for a pixel, uncompressed: four channels of 32 bits.
_BYTES_PER_PIXEL, _SPARE_BYTES = 16, 1 << 26

# Cameras and optimisers write some ten scans; each one costs a pass over the whole picture, for as
# little as a few bytes of the file.
_MAX_JPEG_SCANS = 200


def max_pixels() -> int:
    """The largest picture read now: :data:`MAX_PIXELS`, or what IRAE_MAX_PIXELS says.

    Raises:
        UsageError: the variable holds no whole number from 1.
    """
    wanted = os.environ.get(LIMIT_VARIABLE)
    if not wanted:
        return MAX_PIXELS
    if not wanted.isdecimal() or len(wanted) > 18 or int(wanted) < 1:
        raise UsageError(f"{LIMIT_VARIABLE} is {wanted!r}; give a number of pixels, or unset it")
    return int(wanted)


def check_size(width: int, height: int, name: str) -> None:
    """Refuse what a header claims before memory is set aside for it.

    Raises:
        PictureError: more pixels than allowed, or none.
    """
    limit = max_pixels()
    if width * height > limit:
        allowed = f"{limit // 1_000_000} million" if limit >= 1_000_000 else str(limit)
        raise PictureError(
            f"{name}: claims {width}x{height} pixels, more than the {allowed} allowed; "
            f"cut it into parts, or raise {LIMIT_VARIABLE}"
        )
    if width < 1 or height < 1:
        raise PictureError(f"{name}: has no pixels; fetch the file again")


def check_bytes(count: int, name: str) -> None:
    """Refuse a file too long to be a picture of the size allowed, before it is read."""
    limit = _BYTES_PER_PIXEL * max_pixels() + _SPARE_BYTES
    if count > limit:
        raise PictureError(
            f"{name}: is a file of {count >> 20} MiB, more than the {limit >> 20} MiB that the "
            f"largest picture takes; raise {LIMIT_VARIABLE}"
        )


def check_scans(data: bytes, name: str) -> None:
    """Refuse a JPEG of absurdly many scans, which would take hours."""
    # Entropy-coded data never hold the two bytes; a thumbnail adds a scan or two of its own.
    scans = data.count(b"\xff\xda")
    if scans > _MAX_JPEG_SCANS:
        raise PictureError(f"{name}: has {scans} scans, more than any camera writes; save it anew")
