"""Locks of files between processes. The system releases those of a process that ends or is killed.

On network file systems they hold between machines too, where the system supports that.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import warnings
import weakref
from pathlib import Path
from types import TracebackType

from irae.errors import BusyError

LOCK_NAME = ".irae.lock"
"""Name of the lock file in a folder that one process works in; it stays there."""

_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
_BUSY = {errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK}

# Windows locks a range of bytes, also against reading: one far behind the holder's name.
_WINDOWS_OFFSET = 2**30


class Lock:
    """A lock that is held until `release`, or until no reference to it is left."""

    def __init__(self, handle: int) -> None:
        self._close = weakref.finalize(self, os.close, handle)
        self._process = os.getpid()

    @property
    def own(self) -> bool:
        """Whether this process has taken the lock, and not one that it was forked from."""
        return self._close.alive and self._process == os.getpid()

    def release(self) -> None:
        """Release the lock."""
        self._close()

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


_held: weakref.WeakValueDictionary[str, Lock] = weakref.WeakValueDictionary()


def lock_folder(folder: Path, *, shared: bool = False) -> Lock:
    """Lock an existing folder for this process, which may lock it again.

    Args:
        folder: the folder.
        shared: allow other processes to hold it shared, too.

    Raises:
        BusyError: another process holds it.
        OSError: the lock file cannot be made.
    """
    path = folder / LOCK_NAME
    key = f"{os.path.realpath(path)}{' shared' if shared else ''}"
    known = _held.get(key)
    if known is not None and known.own:
        return known
    _held[key] = lock = lock_file(path, shared=shared)
    return lock


def lock_file(path: Path, *, shared: bool = False, wait: bool = False) -> Lock:
    """Lock a file, which is made if absent; a process must not lock it twice.

    Args:
        path: path of the lock file, in an existing folder.
        shared: allow other processes to hold it shared, too; not on Windows.
        wait: wait for other processes instead of raising an error.

    Raises:
        BusyError: another process holds it.
        OSError: the file cannot be made.
    """
    # A link in a folder from elsewhere must not lead to another file.
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags, 0o666)
    try:
        _take(handle, shared, wait)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            warnings.warn(
                f"{path.parent}: its file system has no locks; let one process work there",
                stacklevel=2,
            )
            return Lock(handle)
        holder = os.read(handle, 200).decode("utf-8", "replace").strip()
        os.close(handle)
        if error.errno in _BUSY:
            raise BusyError(
                f"{path.parent}: {holder or 'another process'} is at work there; wait for it to "
                "end, or choose another folder"
            ) from None
        raise
    if not shared:
        os.ftruncate(handle, 0)
        os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    return Lock(handle)


def _take(handle: int, shared: bool, wait: bool) -> None:
    if sys.platform == "win32":
        import msvcrt

        if not shared:
            os.lseek(handle, _WINDOWS_OFFSET, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            os.lseek(handle, 0, os.SEEK_SET)
        return
    import fcntl

    fcntl.flock(
        handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    )
