"""Helpers for official layouts: list files, and checks for missing pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from irae.errors import DataError

ARCHIVES = (".zip", ".tgz", ".tar.gz", ".tar", ".7z", ".7z.001")


def set_folder(root: Path, name: str, lists: Sequence[str]) -> Path:
    """Return the folder of a set below the root, or one of the same name in it that has its list.

    Unpacking an archive in a folder named after it makes two such folders.
    """
    base = root / name
    for folder in (base, base / name):
        if any((folder / each).is_file() for each in lists):
            return folder
    return base


def picture_folder(base: Path, name: str, remedy: str, archive: str | None = None) -> Path:
    """Return the folder of a set's pictures; if it holds nothing but one of its own name, that.

    Args:
        base: folder of the set.
        name: name of the folder of its pictures.
        remedy: how to get the set.
        archive: name of the archive that holds the folder, if it has another name.

    Raises:
        DataError: there is no such folder; if it is still an archive, the message names it.
    """
    folder = base / name
    if archive is not None and not folder.is_dir() and (base / archive).is_file():
        raise _packed(base / archive, folder)
    need_folder(folder, remedy)
    inner = folder / name
    return inner if inner.is_dir() and all(path == inner for path in _shown(folder)) else folder


def _shown(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX")))


def need_folder(folder: Path, remedy: str) -> None:
    """Raise `DataError` unless ``folder`` is a folder; an archive of its name is named."""
    if folder.is_dir():
        return
    for archive in (folder.with_name(folder.name + suffix) for suffix in ARCHIVES):
        if archive.is_file():
            raise _packed(archive, folder)
    raise DataError(f"{folder}/ is missing; {remedy}")


def _packed(archive: Path, folder: Path) -> DataError:
    return DataError(f"{archive} is still packed; unpack it there, so that {folder}/ is made")


def need_file(path: Path, remedy: str) -> None:
    """Raise `DataError` unless ``path`` is a file."""
    if not path.is_file():
        raise DataError(f"{path} is missing; {remedy}")


def read_pairs(path: Path, remedy: str) -> list[tuple[str, str]]:
    """Read a list file of two words per line, such as ``000001.jpg 0``; empty lines are skipped.

    The words of a ``.csv`` are separated by commas, and its first line is a heading.

    Raises:
        DataError: the file is missing or unreadable, or a line does not have two words.
    """
    need_file(path, remedy)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); {remedy}") from None
    pairs: list[tuple[str, str]] = []
    comma = "," if path.suffix.lower() == ".csv" else None
    for number, line in enumerate(lines, start=1):
        words = [word.strip() for word in line.split(comma)] if line.strip() else []
        if comma and number == 1:
            continue
        if len(words) == 2:
            pairs.append((words[0], words[1]))
        elif words:
            raise DataError(
                f"{path}, line {number}: expected two words, found {len(words)}; {remedy}"
            )
    return pairs


def present_paths(folder: Path, names: Sequence[str], listed_in: Path, remedy: str) -> list[Path]:
    """Return the paths of the pictures ``names`` (relative to ``folder``), which must all exist.

    Raises:
        DataError: listed pictures are missing; the message counts them and names the first.
    """
    there = _files_below(folder, {os.path.dirname(name) for name in names})
    absent = [name for name in names if name not in there]
    if absent:
        raise DataError(
            f"{folder}: {len(absent):,} of the {len(names):,} pictures listed in "
            f"{listed_in.name} are missing, the first is {absent[0]}; {remedy}"
        )
    return [folder / name for name in names]


def _files_below(folder: Path, subfolders: Iterable[str]) -> set[str]:
    # Each folder is listed once: checking 202,599 files one by one is slow on a network disk.
    there: set[str] = set()
    for subfolder in subfolders:
        prefix = f"{subfolder}/" if subfolder else ""
        if (folder / subfolder).is_dir():
            there.update(prefix + name for name in os.listdir(folder / subfolder))
    return there
