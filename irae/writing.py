"""Files: written whole or not at all, and told apart by their checksums."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

PREFIX, SUFFIX = ".irae-", ".tmp"


def write_atomically(path: Path, save: Callable[[Path], object]) -> None:
    """Call ``save`` with the path of a temporary file beside ``path``, then rename it into place.

    Missing parent folders are made. Whatever happens, ``path`` is afterwards as it was or whole,
    and the temporary file is gone.

    Raises:
        OSError: as the disk reports it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
    try:
        # 0o666 less the umask, as any program's new file; tempfile would make it private.
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        save(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            # What the user asked to write, not the temporary file, belongs in the message.
            error.filename = str(path)
        raise


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed process left in ``folder``."""
    for leftover in folder.glob(f"{PREFIX}*{SUFFIX}"):
        leftover.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal; the file is read in pieces.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
