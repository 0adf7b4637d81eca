"""Reading and writing pictures with their depth, alpha, palette, profile, EXIF and so on."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import mmap
import os
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from irae.errors import IraeError, PictureError, PictureFileError, first_line
from irae.imaging.io.decode import DECODER_FAULTS, decode, decode_unknown_tiff
from irae.imaging.io.encode import JPEG_QUALITY, PICTURE_SUFFIXES, SUFFIX_OF_FORMAT, encode
from irae.imaging.io.kinds import (
    HEAD,
    decode_heif,
    foreign_kind,
    is_heif,
)
from irae.imaging.io.limits import check_bytes, check_size, check_total
from irae.imaging.io.picture import Picture
from irae.imaging.io.sixteen_bit import unlimited_pixels
from irae.imaging.io.tiff_pages import TiffPage, find_pages, with_first_page
from irae.writing import write_atomically

RESTORED_MARK = ".restored"
"""Mark before the suffix of a result that is written beside its source."""

MASK_MARK = ".mask"
"""Mark before the suffix of a mask that ``irae degrade`` writes beside its picture."""

# Without a handler, Pillow's log of a damaged file would be printed beside the error.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_READABLE = ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "PPM", "GIF", "JPEG2000", "AVIF"]


def read_picture(path: str | Path) -> Picture:
    """Read a picture with all metadata of its file.

    Pixels stay as stored: the EXIF orientation is in ``layout.orientation`` and is not applied.

    Raises:
        PictureError: the file is missing, a folder, unreadable, empty, truncated, animated,
            a TIFF of several pages, larger than `max_pixels`, or not a picture.
    """
    path = Path(path)
    data = _read_bytes(path)
    kind = foreign_kind(data[:HEAD])
    if kind is not None:
        raise PictureError(f"{path}: is {kind}")
    pages = find_pages(data, str(path))
    pictures = [page for page in pages if not page.extra]
    if len(pictures) > 1:
        raise PictureError(
            f"{path}: has {len(pictures)} pages; only irae restore and irae inspect take them all, "
            "so split it"
        )
    if pictures and len(pages) > 1:
        picture = _read_page(data, path, pictures[0])
        layout = replace(picture.layout, dropped=("thumbnail page",))
        return replace(picture, layout=layout)
    return _decode(data, path)


@dataclass(frozen=True)
class Document:
    """A TIFF of several pages, which are read one by one.

    Attributes:
        path: path of the file.
        pages: the pages, without thumbnails and masks.
    """

    path: Path
    pages: tuple[TiffPage, ...]

    def read(self) -> Iterator[Picture]:
        """Read the pages, in order.

        Raises:
            PictureError: as for `read_picture`.
        """
        data = _read_bytes(self.path)
        for page in self.pages:
            yield _read_page(data, self.path, page)


def open_document(path: str | Path) -> Document | None:
    """Find the pages of a TIFF that has several; None for every other file.

    Raises:
        PictureError: the pages together are larger than `max_pixels`.
    """
    path = Path(path)
    pages = tuple(page for page in _pages_of(path) if not page.extra)
    if len(pages) < 2:
        return None
    check_total(sum(page.width * page.height for page in pages), len(pages), str(path))
    return Document(path, pages)


def _pages_of(path: Path) -> list[TiffPage]:
    """Find the pages of a TIFF without reading it; empty for all other files."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return []
        with path.open("rb") as file:
            if file.read(4)[:3] not in (b"II*", b"II+", b"MM\0"):
                return []
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return find_pages(data, str(path))
    except (OSError, ValueError):
        return []  # Reading the picture reports the error.


def suffix_of_content(data: bytes) -> str:
    """Return the suffix that a file of this content would have; ``.png`` if it is no picture."""
    if is_heif(data[:HEAD]):
        return SUFFIX_OF_FORMAT["HEIF"]
    try:
        with unlimited_pixels(), Image.open(io.BytesIO(data), formats=_READABLE) as image:
            return SUFFIX_OF_FORMAT.get(image.format or "", ".png")
    except DECODER_FAULTS:
        # Such as a TIFF that only `read_picture` can open, or nothing that it can.
        return ".tif" if data[:4] in (b"II*\0", b"MM\0*") else ".png"


def _read_page(data: bytes, path: Path, page: TiffPage) -> Picture:
    return _decode(with_first_page(data, page), path)


def _decode(data: bytes, path: Path) -> Picture:
    try:
        # Pillow's warnings about odd metadata do not help somebody who restores a folder.
        with warnings.catch_warnings(action="ignore"):
            if is_heif(data[:HEAD]):
                return decode_heif(data, str(path))
            try:
                with _open(data, path) as image:
                    return decode(image, data, str(path))
            except UnidentifiedImageError:
                picture = decode_unknown_tiff(data, str(path))
    except IraeError:
        raise
    except MemoryError:
        raise PictureError(f"{path}: not enough memory for a picture this large") from None
    except DECODER_FAULTS as error:
        raise PictureError(
            f"{path}: damaged or truncated picture ({first_line(error)}); fetch the file again"
        ) from None
    if picture is None:
        raise PictureError(
            f"{path}: not a picture, or damaged at its start; use one of "
            + " ".join(sorted(PICTURE_SUFFIXES))
        )
    return picture


def picture_size(path: str | Path) -> tuple[int, int]:
    """Read width and height from a file's header without decoding it; (0, 0) if it has none.

    The height of a TIFF of several pages is that of a picture with the pixels of all. A damaged
    file never raises an error here; `read_picture` does that.
    """
    try:
        with unlimited_pixels(), Image.open(path, formats=_READABLE) as image:
            width, height = image.size
            pages = _pages_of(Path(path)) if image.format == "TIFF" else []
    except (*DECODER_FAULTS, PictureError):
        return 0, 0
    total = sum(page.width * page.height for page in pages)
    return (width, -(-total // width)) if len(pages) > 1 and width else (width, height)


def _read_bytes(path: Path) -> bytes:
    try:
        # Checked before opening: a pipe would wait for its writer, and a device has no end.
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
            raise PictureFileError(f"{path}: is no regular file; name a picture file")
        check_bytes(about.st_size, str(path))
        data = path.read_bytes()
    except IraeError:
        raise
    except FileNotFoundError:
        raise PictureFileError(f"{path}: no such file; check the name") from None
    except IsADirectoryError:
        raise PictureFileError(f"{path}: is a folder, not a picture; name a file in it") from None
    except PermissionError:
        raise PictureFileError(f"{path}: no permission to read it; change its mode") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureFileError(f"{path}: cannot be read ({reason}); check the name") from None
    if not data:
        raise PictureError(f"{path}: is empty (0 bytes); fetch the file again")
    return data


@contextlib.contextmanager
def _open(data: bytes, path: Path) -> Iterator[Image.Image]:
    """Open with our limit on the size in place of Pillow's, which is too low for photographs."""
    with unlimited_pixels():
        image = Image.open(io.BytesIO(data), formats=_READABLE)
    with image:
        check_size(image.width, image.height, str(path))
        # The other frames of an MPO are previews, gain maps or second views of the same photo. The
        # pages of a TIFF were counted before.
        frames = 1 if image.format in ("MPO", "TIFF") else getattr(image, "n_frames", 1)
        if frames > 1:
            raise PictureError(
                f"{path}: is an animation of {frames} frames; split it and restore them one by one"
            )
        yield image


def encode_picture(picture: Picture, suffix: str, *, quality: int = JPEG_QUALITY) -> bytes:
    """Encode a picture as the bytes of a file in the format of ``suffix``.

    Args:
        picture: the picture.
        suffix: such as ``.png``.
        quality: of a JPEG, from 1 to 100.

    Raises:
        PictureError: the format is unknown or cannot hold the picture.
    """
    return encode(picture, suffix, "picture", quality=quality)


def write_picture(
    path: str | Path, picture: Picture, *, overwrite: bool = False, encoded: bytes | None = None
) -> None:
    """Write a picture atomically in the format of its suffix.

    Args:
        path: path of the file to write.
        picture: the picture to write.
        overwrite: replace an existing file.
        encoded: content of the file, if the picture has been encoded already.

    Raises:
        PictureError: the file exists and ``overwrite`` is not set, the format is unknown or
            cannot hold the picture, or the disk refuses to write.
    """
    path = Path(path)
    # A link stays a link, and its target is written.
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise PictureError(f"{path}: is a folder; name a file in it")
    if target.exists() and not overwrite:
        raise PictureFileError(f"{path}: exists already; use `overwrite` to replace it")
    if not target.parent.is_dir():
        raise PictureError(f"{path}: the folder {path.parent} does not exist; create it first")
    data = encode(picture, path.suffix, str(path)) if encoded is None else encoded
    try:
        write_atomically(target, lambda temporary: temporary.write_bytes(data))
    except OSError as error:
        raise PictureError(f"{path}: {_disk_reason(error)}") from None


def _disk_reason(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space or write elsewhere"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "no permission to write there; choose another folder"
    return f"cannot be written ({error.strerror or error}); choose another place"
