"""Atomic writing of files, and checksums."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX, SUFFIX = ".irae-", ".tmp"


def write_atomically(path: Path, save: Callable[[Path], object]) -> None:
    """Call ``save`` with the path of a temporary file beside ``path``, then rename it into place.

    Missing parent folders are made. Afterwards ``path`` is either unchanged or complete, and the
    temporary file is gone, whatever happens.

    Raises:
        OSError: the disk reports an error.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
    try:
        # 0o666 minus the umask, as for any new file; tempfile would make it private.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        save(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # The message must name the user's file, not the temporary one.
            error.filename = str(path)
        raise


def missing_folders(folder: Path) -> list[Path]:
    """List the folder and its parents that do not exist, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the innermost first, up to the first one that is not empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


@contextmanager
def folder_for(path: Path) -> Iterator[None]:
    """Make the folder of a file that is written in the block; it goes again if nothing is."""
    missing = missing_folders(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        remove_empty(missing)
        raise


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed process left in ``folder``."""
    for leftover in folder.glob(f"{PREFIX}*{SUFFIX}"):
        leftover.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, which is read in pieces.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
