"""The page's temporary files: one private folder, in it a folder for every open page."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PREFIX = "irae-ui-"
"""What the names of all such folders begin with."""

KEPT_SECONDS = 3600
"""How long pictures are kept after a page was last used."""


@dataclass
class Session:
    """What one open page has on this machine.

    Attributes:
        folder: all its files.
        picture: the picture that was dropped, whole, under its own name.
        preview: the same for the browser.
        stop: set when its batch is to end early.
    """

    folder: Path
    picture: Path | None = None
    preview: Path | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    _fresh: dict[str, Path] = field(default_factory=dict)
    _uploads: set[Path] = field(default_factory=set)
    _used: float = field(default_factory=time.monotonic)
    _at_work: int = 0
    _ended: bool = False

    def fresh(self, purpose: str) -> Path:
        """An empty folder, in place of the last one of this purpose.

        Never the same name twice: the browser would show what it remembers.
        """
        last = self._fresh.get(purpose)
        if last is not None:
            shutil.rmtree(last, ignore_errors=True)
        self._fresh[purpose] = self.folder / f"{purpose}-{secrets.token_hex(8)}"
        self._fresh[purpose].mkdir()
        return self._fresh[purpose]

    def take(self, upload: Path, folder: Path, name: str = "") -> Path:
        """Copy an uploaded file into a folder of the session, under ``name`` or its own."""
        self.adopt([upload])
        return Path(shutil.copyfile(upload, folder / (name or upload.name)))

    def adopt(self, uploads: Iterable[Path]) -> None:
        """Have uploaded files deleted together with the session's own."""
        self._uploads.update(uploads)


class Scratch:
    """The folder of a server, with the sessions in it; safe to use from several threads.

    Gradio keeps uploads there too, outside the sessions' folders.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._sessions: dict[str, Session] = {}
        self._guard = threading.Lock()
        self._lock: int | None = None

    @classmethod
    def create(cls) -> Scratch:
        """Make a folder that only this user may enter; those of killed servers are deleted."""
        parent = Path(tempfile.gettempdir()).resolve()
        _remove_abandoned(parent)
        scratch = cls(Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)))
        scratch._lock = _lock(scratch.root, os.O_CREAT)
        return scratch

    @contextmanager
    def using(self, key: str | None) -> Iterator[Session]:
        """The session of a page, which stays whole meanwhile; made when there is none."""
        with self._guard:
            session = self._sessions.get(key or "")
            if session is None:
                session = Session(self.root / "sessions" / secrets.token_hex(8))
                session.folder.mkdir(parents=True)
                self._sessions[key or ""] = session
            session._at_work += 1
        try:
            yield session
        finally:
            with self._guard:
                session._at_work -= 1
                session._used = time.monotonic()
                if session._ended and not session._at_work:
                    self._delete(session)

    def stop(self, key: str | None) -> None:
        """End the batch of a page early."""
        with self._guard:
            if key in self._sessions:
                self._sessions[key].stop.set()

    def end(self, key: str | None) -> None:
        """Delete a page's files, as soon as nothing works with them."""
        with self._guard:
            session = self._sessions.pop(key or "", None)
            if session is not None:
                session.stop.set()
                session._ended = True
                if not session._at_work:
                    self._delete(session)

    def sweep(self, age: float = KEPT_SECONDS) -> None:
        """Delete what no page has used for ``age`` seconds."""
        now = time.monotonic()
        with self._guard:
            idle = [
                key
                for key, session in self._sessions.items()
                if not session._at_work and now - session._used >= age
            ]
        for key in idle:
            self.end(key)
        oldest = time.time() - age
        for path in self.root.iterdir():
            if path.name not in ("lock", "sessions"):
                _sweep_old(path, oldest)

    def remove(self) -> None:
        """Delete everything."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @staticmethod
    def _delete(session: Session) -> None:
        shutil.rmtree(session.folder, ignore_errors=True)
        for upload in session._uploads:
            upload.unlink(missing_ok=True)


def _sweep_old(path: Path, oldest: float) -> None:
    """Delete a file of Gradio's that is old, or such files in a folder and then the folder."""
    try:
        if path.is_dir():
            for inside in path.iterdir():
                _sweep_old(inside, oldest)
            path.rmdir()
        elif path.stat().st_mtime <= oldest:
            path.unlink()
    except OSError:
        return  # There are newer files in it, or a page that was closed took it away.


def _lock(root: Path, flags: int = 0) -> int | None:
    """Lock a server's folder; none when another holds it. The lock ends with its process."""
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
            continue  # Being made, or being deleted.
        if handle is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)
