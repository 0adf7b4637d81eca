"""Helpers for official layouts: list files, and checks for missing pictures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from irae.errors import DataError


def need_folder(folder: Path, remedy: str) -> None:
    """Raise `DataError` unless ``folder`` is a folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}/ is missing; {remedy}")


def need_file(path: Path, remedy: str) -> None:
    """Raise `DataError` unless ``path`` is a file."""
    if not path.is_file():
        raise DataError(f"{path} is missing; {remedy}")


def read_pairs(path: Path, remedy: str) -> list[tuple[str, str]]:
    """Read a list file of two words per line, such as ``000001.jpg 0``; empty lines are skipped.

    Raises:
        DataError: the file is missing or unreadable, or a line does not have two words.
    """
    need_file(path, remedy)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); {remedy}") from None
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
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
