"""Finding picture files in folders and patterns, by their names."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

from irae.errors import PictureError
from irae.imaging.io.encode import PICTURE_SUFFIXES
from irae.imaging.io.kinds import HEAD, HEIF_SUFFIXES, can_read_heif, foreign_kind


def find_pictures(
    inputs: Sequence[str | Path],
    *,
    recursive: bool = False,
    on_error: Callable[[str | Path, PictureError], None] | None = None,
    on_broken_link: Callable[[Path], None] | None = None,
) -> list[Path]:
    """Find the picture files in files, folders and glob patterns, each once.

    A named file is taken whatever its suffix; folders and patterns yield the files whose suffix
    is in :data:`PICTURE_SUFFIXES`, sorted by path.

    Args:
        inputs: files, folders, glob patterns (``*``, ``?``, ``[...]``, ``**``).
        recursive: also search subfolders.
        on_error: called with each failed input and its error, after which the search continues;
            by default the first error is raised.
        on_broken_link: called with each link in a folder or pattern that leads nowhere.

    Raises:
        PictureError: an input is missing, or has no pictures.
    """
    found: dict[Path, None] = {}
    for entry in inputs:
        try:
            found.update(dict.fromkeys(_expand(entry, recursive, on_broken_link)))
        except PictureError as error:
            if on_error is None:
                raise
            on_error(entry, error)
    return list(found)


def _expand(
    entry: str | Path, recursive: bool, on_broken_link: Callable[[Path], None] | None
) -> list[Path]:
    path = Path(entry)
    try:
        if path.is_file():
            return [path]
        is_folder = path.is_dir()
        if is_folder:
            named = walk_pictures(path, recursive=recursive, follow_links=True)
        else:
            matches = glob.iglob(str(entry), recursive=True)
            named = filter(has_picture_suffix, map(Path, matches))
        listed = sorted(named)
        pictures = [each for each in listed if each.is_file()]
        searched = is_folder or glob.has_magic(str(entry))
        for each in listed if searched else ():
            if on_broken_link is not None and each.is_symlink() and not each.exists():
                on_broken_link(each)
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
    suffixes: frozenset[str] | None = None,
) -> Iterator[Path]:
    """Yield the files in a folder that have a picture suffix, in no particular order.

    Args:
        folder: the folder to search.
        recursive: also search subfolders; those that cannot be read are skipped.
        hidden: include files and folders that begin with a dot, except ``._NAME``.
        follow_links: also search linked folders, each once.
        suffixes: the suffixes of pictures, in lower case with their dot; None stands for all that
            can be read here.

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
        if suffixes is None:
            yield from filter(has_picture_suffix, paths)
        else:
            yield from (path for path in paths if path.suffix.lower() in suffixes)


def _raise(error: OSError) -> None:
    raise error


def has_picture_suffix(path: PurePath) -> bool:
    """Whether a name has the suffix of a picture that can be read here."""
    suffix = path.suffix.lower()
    return suffix in PICTURE_SUFFIXES or (suffix in HEIF_SUFFIXES and can_read_heif())


def describe_foreign(path: Path) -> str | None:
    """Say what a file that irae does not read is, with the remedy; None if it may be a picture."""
    try:
        with path.open("rb") as file:
            return foreign_kind(file.read(HEAD))
    except (OSError, ValueError):
        return None
