"""Reading and writing pictures with their depth, alpha, palette, profile, EXIF and so on."""

from __future__ import annotations

import contextlib
import errno
import glob
import io
import logging
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from irae.errors import IraeError, PictureError, PictureFileError, first_line
from irae.imaging.io.decode import DECODER_FAULTS, decode, decode_unknown_tiff
from irae.imaging.io.encode import PICTURE_SUFFIXES, encode
from irae.imaging.io.limits import check_bytes, check_size
from irae.imaging.io.picture import (
    Picture,
    to_stored,
    to_upright,
)
from irae.imaging.io.sixteen_bit import unlimited_pixels
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
            larger than `max_pixels`, or not a picture.
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        # Pillow's warnings about odd metadata do not help somebody who restores a folder.
        with warnings.catch_warnings(action="ignore"):
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

    It never raises an error for a damaged file; `read_picture` does.
    """
    try:
        with unlimited_pixels(), Image.open(path, formats=_READABLE) as image:
            return image.size
    except DECODER_FAULTS:
        return 0, 0


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
        frames = getattr(image, "n_frames", 1)
        # The other frames of an MPO are the camera's previews and depth maps of the same photo.
        if frames > 1 and image.format != "MPO":
            raise PictureError(f"{path}: has {frames} frames; split it and restore them one by one")
        yield image


def encode_picture(picture: Picture, suffix: str) -> bytes:
    """Encode a picture as the bytes of a file in the format of ``suffix``.

    Raises:
        PictureError: the format is unknown or cannot hold the picture.
    """
    return encode(picture, suffix, "picture")


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


def orient_mask(mask: Tensor, orientation: int) -> Tensor:
    """Rotate a mask that was painted on the upright picture to the picture's stored orientation.

    Args:
        mask: upright mask ``... H W``, as seen in a viewer.
        orientation: the picture's EXIF orientation, ``picture.orientation``.
    """
    return to_stored(mask, orientation)


def read_mask(
    path: str | Path,
    *,
    height: int | None = None,
    width: int | None = None,
    resize: bool = False,
    orientation: int = 1,
    grow: int = 0,
) -> Tensor:
    """Read a mask, in which white (above 50 %) marks the masked region.

    Colours count by their mean; transparent pixels are not masked. The mask's own EXIF orientation
    is applied. A mask of the stored picture's size that would not fit once rotated is assumed to
    be made for the stored pixels.

    Args:
        path: path of any picture file.
        height: number of rows of the picture, as stored.
        width: number of columns of the picture, as stored.
        resize: scale a mask of another size (nearest) instead of refusing it.
        orientation: EXIF orientation of the picture.
        grow: number of pixels by which the masked region grows in every direction, for masks
            with soft edges.

    Returns:
        bool ``1 H W``, True in the masked region, in the picture's stored orientation.

    Raises:
        PictureError: the file is not a picture, or has another size and ``resize`` is not set.
    """
    level, stored = _mask_levels(path)
    seen = to_upright(level > 0.5, stored)
    mask = orient_mask(seen, orientation)
    mask = _fitted(mask, seen, (height or mask.shape[1], width or mask.shape[2]), resize, path)
    if not grow:
        return mask
    pool, side = torch.nn.functional.max_pool2d, 2 * grow + 1
    rows = pool(mask.float(), (1, side), 1, (0, grow))
    return pool(rows, (side, 1), 1, (grow, 0)) > 0.5


def has_soft_edges(path: str | Path) -> bool:
    """Whether over a twentieth of a mask's marked pixels are neither white nor black.

    Raises:
        PictureError: the file is not a picture.
    """
    level, _ = _mask_levels(path)
    between = (level > 0.1) & (level < 0.9)
    return 20 * int(between.sum()) > int((level >= 0.1).sum())


def _mask_levels(path: str | Path) -> tuple[Tensor, int]:
    """Read a mask's level of white as stored, ``1 H W`` in [0, 1], and its EXIF orientation."""
    picture = read_picture(path)
    level = picture.pixels.mean(dim=0, keepdim=True)
    return level if picture.alpha is None else level * picture.alpha, picture.orientation


def _fitted(
    mask: Tensor, seen: Tensor, wanted: tuple[int, int], resize: bool, path: str | Path
) -> Tensor:
    if mask.shape[1:] == wanted:
        return mask
    if seen.shape[1:] == wanted:
        return seen
    if not resize:
        raise PictureError(
            f"{path}: the mask is {mask.shape[2]}x{mask.shape[1]}, the picture "
            f"{wanted[1]}x{wanted[0]}; use a mask of the picture's size or `resize_mask`"
        )
    scaled = torch.nn.functional.interpolate(mask[None].float(), size=wanted, mode="nearest-exact")
    return scaled[0] > 0.5


def find_pictures(
    inputs: Sequence[str | Path],
    *,
    recursive: bool = False,
    on_error: Callable[[str | Path, PictureError], None] | None = None,
) -> list[Path]:
    """Find the picture files in files, folders and glob patterns, each once.

    A named file is taken whatever its suffix; folders and patterns yield the files whose suffix
    is in :data:`PICTURE_SUFFIXES`, sorted by path.

    Args:
        inputs: files, folders, glob patterns (``*``, ``?``, ``[...]``, ``**``).
        recursive: also search subfolders.
        on_error: called with each failed input and its error, after which the search continues;
            by default the first error is raised.

    Raises:
        PictureError: an input is missing, or has no pictures.
    """
    found: dict[Path, None] = {}
    for entry in inputs:
        try:
            found.update(dict.fromkeys(_expand(entry, recursive)))
        except PictureError as error:
            if on_error is None:
                raise
            on_error(entry, error)
    return list(found)


def _expand(entry: str | Path, recursive: bool) -> list[Path]:
    path = Path(entry)
    try:
        if path.is_file():
            return [path]
        is_folder = path.is_dir()
        if is_folder:
            named = walk_pictures(path, recursive=recursive)
        else:
            matches = glob.iglob(str(entry), recursive=True)
            named = filter(has_picture_suffix, map(Path, matches))
        pictures = sorted(each for each in named if each.is_file())
    except (OSError, ValueError) as error:
        raise PictureError(f"{entry}: cannot be searched ({error}); check the name") from None
    if pictures:
        return pictures
    if not is_folder and not glob.has_magic(str(entry)):
        raise PictureError(f"{entry}: no such file or folder; check the name")
    hint = "; check the pattern"
    if is_folder:
        hint = "" if recursive else "; use `recursive` to look into its folders"
    raise PictureError(f"{entry}: no pictures found there{hint}")


def walk_pictures(
    folder: Path,
    *,
    recursive: bool = False,
    hidden: bool = True,
    follow_links: bool = False,
    suffixes: frozenset[str] = PICTURE_SUFFIXES,
) -> Iterator[Path]:
    """Yield the files in a folder that have a picture suffix, in no particular order.

    Args:
        folder: the folder to search.
        recursive: also search subfolders; those that cannot be read are skipped.
        hidden: include files and folders that begin with a dot, except ``._NAME``.
        follow_links: also search linked folders, each once.
        suffixes: the suffixes of pictures, in lower case with their dot.

    Raises:
        OSError: ``folder`` cannot be read, and ``recursive`` is not set.
    """

    def shown(name: str) -> bool:
        # macOS writes a file ``._photo.jpg`` beside a picture, which is not a picture.
        return not name.startswith("._" if hidden else ".")

    seen: set[str] = set()
    on_error = None if recursive else _raise
    for where, folders, files in os.walk(folder, onerror=on_error, followlinks=follow_links):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # Sorted, so that always the same one of two links to a folder is followed.
        folders[:] = sorted(filter(shown, folders)) if recursive else []
        paths = (Path(where, name) for name in files if shown(name))
        yield from (path for path in paths if path.suffix.lower() in suffixes)


def _raise(error: OSError) -> None:
    raise error


def has_picture_suffix(path: PurePath) -> bool:
    """Whether a name has the suffix of a picture; see `PICTURE_SUFFIXES`."""
    return path.suffix.lower() in PICTURE_SUFFIXES
