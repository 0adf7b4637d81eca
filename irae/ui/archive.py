"""Many results as one zip, under the names and in the subfolders in which they came."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath


def distinct_names(names: Sequence[str]) -> list[str]:
    """Return the names, with a number in those that others have too, whatever their case."""
    taken: set[str] = set()
    result = []
    for name in names:
        path = PurePosixPath(name)
        number, candidate = 1, path
        while str(candidate).casefold() in taken:
            number += 1
            candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
        taken.add(str(candidate).casefold())
        result.append(str(candidate))
    return result


def name_in_archive(name: str, file: Path) -> str:
    """Return the name of a result: the picture's own with its subfolders, the file's suffix.

    Names come from a browser: nothing in them leads out of the folder that is unpacked.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part.strip(". ")]
    safe = ["".join(c for c in part if c.isprintable() and c != ":") or "_" for part in parts]
    path = PurePosixPath(*(safe or ["picture"]))
    return str(path.with_name(f"{path.stem}{file.suffix}"))


def write_zip(path: Path, results: Sequence[tuple[str, Path]]) -> None:
    """Write a zip of results; not compressed, because pictures are already.

    Args:
        path: the zip.
        results: the name of each picture, and the file of its result.
    """
    names = distinct_names([name_in_archive(name, file) for name, file in results])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, (_, file) in zip(names, results, strict=True):
            archive.write(file, name)
