"""A lock keeps other processes out, and does not outlive its own."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from irae import locks
from irae.errors import BusyError
from irae.locks import LOCK_NAME, lock_file, lock_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="waits for POSIX signals")

HOLD = """
import sys, pathlib
from irae.locks import lock_folder
lock = lock_folder(pathlib.Path(sys.argv[1]), shared=sys.argv[2] == "shared")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def another(folder: Path, kind: str = "alone") -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a folder."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.process
def test_the_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    with another(tmp_path) as process:
        with pytest.raises(BusyError) as caught:
            lock_folder(tmp_path)
        said = str(caught.value)
        assert said.startswith(f"{tmp_path}: process {process.pid} on ")
        assert "choose another folder" in said
        with pytest.raises(BusyError):
            lock_folder(tmp_path, shared=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert lock_folder(tmp_path).own


@pytest.mark.process
def test_shared_locks_keep_out_only_those_that_want_it_alone(tmp_path: Path) -> None:
    with another(tmp_path, "shared"):
        lock = lock_folder(tmp_path, shared=True)
        with pytest.raises(BusyError):
            lock_file(tmp_path / LOCK_NAME)
        lock.release()


def test_one_process_may_take_a_folder_again_and_gives_it_back_in_the_end(tmp_path: Path) -> None:
    first = lock_folder(tmp_path)
    second = lock_folder(tmp_path / ".." / tmp_path.name)
    assert first is second
    with pytest.raises(BusyError):
        lock_file(tmp_path / LOCK_NAME)
    del first
    gc.collect()
    with pytest.raises(BusyError):
        lock_file(tmp_path / LOCK_NAME)
    del second
    gc.collect()
    lock_file(tmp_path / LOCK_NAME).release()


def test_released_it_can_be_taken_anew(tmp_path: Path) -> None:
    for _ in range(2):
        with lock_file(tmp_path / "lock", wait=True) as lock:
            assert lock.own
        assert not lock.own


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        lock_folder(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(handle: int, shared: bool, wait: bool) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(locks, "_take", absent)
    with pytest.warns(UserWarning, match="has no locks; let one process work there"):
        assert lock_folder(tmp_path).own
