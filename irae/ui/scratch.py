"""The temporary files of the page: one private folder, deleted with its server."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

PREFIX = "irae-ui-"
"""What the names of all such folders begin with."""


class Scratch:
    """A folder that only this user may enter.

    Attributes:
        root: its path.
    """

    def __init__(self, root: Path, lock: int | None) -> None:
        self.root = root
        self._lock = lock

    @classmethod
    def create(cls) -> Scratch:
        """Make the folder; folders of servers that were killed are deleted."""
        parent = Path(tempfile.gettempdir()).resolve()
        _remove_abandoned(parent)
        root = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        return cls(root, _lock(root, os.O_CREAT))

    def fresh_folder(self) -> Path:
        """Make an empty folder under a name that nobody can guess."""
        folder = self.root / secrets.token_hex(8)
        folder.mkdir()
        return folder

    def fresh_file(self) -> Path:
        """Return the path of a file that does not exist yet."""
        return self.root / secrets.token_hex(8)

    def remove(self) -> None:
        """Delete everything."""
        for _ in range(10):
            shutil.rmtree(self.root, ignore_errors=True)
            if not self.root.exists():
                break  # Otherwise another thread wrote a file meanwhile, which it cannot do again.
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(root: Path, flags: int = 0) -> int | None:
    """Lock a server's folder; None if another process holds it. The lock ends with its process."""
    handle = os.open(root / "lock", os.O_WRONLY | flags, 0o600)
    if sys.platform == "win32":
        return handle
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _remove_abandoned(parent: Path) -> None:
    """Delete folders of this user whose server was killed."""
    if sys.platform == "win32":
        return  # Nothing tells there whether a server still runs.
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue
            handle = _lock(folder)
        except OSError:
            continue  # It is being made, or being deleted.
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)
