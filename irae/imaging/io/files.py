"""Reading and writing pictures whole: depth, alpha, palette, profile, EXIF and all."""

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

from irae.errors import PictureError, first_line
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
"""What stands before the suffix of a result that is written beside its source."""

MASK_MARK = ".mask"
"""What stands before the suffix of a mask that ``irae degrade`` writes beside its picture."""

# What it logs of a damaged file would otherwise be printed beside the error.
logging.getLogger("PIL").addHandler(logging.NullHandler())

_READABLE = ["PNG", "JPEG", "TIFF", "WEBP", "BMP", "DIB", "PPM", "GIF", "JPEG2000", "AVIF"]


def read_picture(path: str | Path) -> Picture:
    """Read a picture with everything its file says about it.

    Pixels stay as stored: the EXIF orientation is in ``layout.orientation`` and not applied.

    Raises:
        PictureError: the file is missing, a folder, unreadable, empty, truncated, animated,
            larger than `max_pixels`, or not a picture.
    """
    path = Path(path)
    data = _read_bytes(path)
    try:
        # Pillow's remarks on odd metadata are no use to somebody restoring a folder.
        with warnings.catch_warnings(action="ignore"):
            try:
                with _open(data, path) as image:
                    return decode(image, data, str(path))
            except UnidentifiedImageError:
                picture = decode_unknown_tiff(data, str(path))
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
    """Width and height as a file's header claims them, without decoding it; 0, 0 if it does not.

    Never an error: `read_picture` says what is wrong with a file.
    """
    try:
        with unlimited_pixels(), Image.open(path, formats=_READABLE) as image:
            return image.size
    except DECODER_FAULTS:
        return 0, 0


def _read_bytes(path: Path) -> bytes:
    try:
        # Before it is opened: a pipe would wait for its writer, a device has no end.
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) and not stat.S_ISDIR(about.st_mode):
            raise PictureError(f"{path}: is no regular file; name a picture file")
        check_bytes(about.st_size, str(path))
        data = path.read_bytes()
    except FileNotFoundError:
        raise PictureError(f"{path}: no such file; check the name") from None
    except IsADirectoryError:
        raise PictureError(f"{path}: is a folder, not a picture; name a file in it") from None
    except PermissionError:
        raise PictureError(f"{path}: no permission to read it; change its mode") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PictureError(f"{path}: cannot be read ({reason}); check the name") from None
    if not data:
        raise PictureError(f"{path}: is empty (0 bytes); fetch the file again")
    return data


@contextlib.contextmanager
def _open(data: bytes, path: Path) -> Iterator[Image.Image]:
    """Open, with our limit on the size in place of Pillow's, which is too low for photographs."""
    with unlimited_pixels():
        image = Image.open(io.BytesIO(data), formats=_READABLE)
    with image:
        check_size(image.width, image.height, str(path))
        frames = getattr(image, "n_frames", 1)
        # The further frames of an MPO are a camera's previews and depth maps beside one photo.
        if frames > 1 and image.format != "MPO":
            raise PictureError(f"{path}: has {frames} frames; split it and restore them one by one")
        yield image


def encode_picture(picture: Picture, suffix: str) -> bytes:
    """The picture as the bytes of a file of the format ``suffix`` names.

    Raises:
        PictureError: the format is unknown or cannot hold the picture.
    """
    return encode(picture, suffix, "picture")


def write_picture(
    path: str | Path, picture: Picture, *, overwrite: bool = False, encoded: bytes | None = None
) -> None:
    """Write a picture whole, in the format its suffix names, or not at all.

    Args:
        path: where to.
        picture: what.
        overwrite: replace a file that exists.
        encoded: the picture as a file, if it is there already; else it is encoded.

    Raises:
        PictureError: the file exists and ``overwrite`` is not set, the format is unknown or
            cannot hold the picture, or the disk refuses.
    """
    path = Path(path)
    # A link stays a link: what it points to is written.
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise PictureError(f"{path}: is a folder; name a file in it")
    if target.exists() and not overwrite:
        raise PictureError(f"{path}: exists already; use `overwrite` to replace it")
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
    """Turn a mask painted on the upright picture to the way the picture is stored.

    Args:
        mask: ``... H W`` as seen in a viewer.
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
    """Read a mask: white (over 50 %) is a hole.

    Colours count by their mean; transparent parts are no hole. The mask's own EXIF orientation
    is applied. A mask of the stored picture's size that would not fit once turned is taken for
    one made on the stored pixels.

    Args:
        path: any picture file.
        height: rows of the picture it is for, as stored.
        width: columns of the picture it is for, as stored.
        resize: scale a mask of another size (nearest) instead of refusing it.
        orientation: the EXIF orientation of the picture it is for.
        grow: pixels by which holes become larger in every direction, for masks whose soft edges
            leave a rim of what was to go.

    Returns:
        bool ``1 H W``, True in the holes, in the picture's stored orientation.

    Raises:
        PictureError: not a picture, or of another size and ``resize`` is not set.
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
    """Whether a twentieth of what a mask marks is neither white nor black.

    Raises:
        PictureError: not a picture.
    """
    level, _ = _mask_levels(path)
    between = (level > 0.1) & (level < 0.9)
    return 20 * int(between.sum()) > int((level >= 0.1).sum())


def _mask_levels(path: str | Path) -> tuple[Tensor, int]:
    """How white a mask is as stored, ``1 H W`` from 0 to 1, and its EXIF orientation."""
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
    """The picture files that files, folders and glob patterns name, each once.

    A named file is taken whatever its suffix; folders and patterns give the files whose suffix
    is in :data:`PICTURE_SUFFIXES`, sorted by path.

    Args:
        inputs: files, folders, glob patterns (``*``, ``?``, ``[...]``, ``**``).
        recursive: look into folders of folders too.
        on_error: called with each input at fault and its error, and the search goes on; by
            default the first error is raised.

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
    folder: Path, *, recursive: bool = False, hidden: bool = True, follow_links: bool = False
) -> Iterator[Path]:
    """What lies in a folder, is no folder itself and is named as a picture; in no set order.

    Args:
        folder: where to look.
        recursive: look into its folders too; those that cannot be read are passed over.
        hidden: also what begins with a dot, files and folders, but for ``._NAME``.
        follow_links: look into linked folders too, once into each.

    Raises:
        OSError: ``folder`` cannot be read; not if ``recursive``.
    """

    def shown(name: str) -> bool:
        # ``._photo.jpg`` is what macOS leaves beside a picture; it is no picture.
        return not name.startswith("._" if hidden else ".")

    seen: set[str] = set()
    on_error = None if recursive else _raise
    for where, folders, files in os.walk(folder, onerror=on_error, followlinks=follow_links):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # In order, so that which of two links to one folder is followed does not vary.
        folders[:] = sorted(filter(shown, folders)) if recursive else []
        paths = (Path(where, name) for name in files if shown(name))
        yield from filter(has_picture_suffix, paths)


def _raise(error: OSError) -> None:
    raise error


def has_picture_suffix(path: PurePath) -> bool:
    """Whether a name ends as that of a picture does; see `PICTURE_SUFFIXES`."""
    return path.suffix.lower() in PICTURE_SUFFIXES
