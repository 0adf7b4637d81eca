"""Temporary files: private, in one place, and gone when they should be."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from irae.ui.scratch import PREFIX, Scratch


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def scratch(parent: Path) -> Iterator[Scratch]:
    made = Scratch.create()
    yield made
    made.remove()


def _upload(scratch: Scratch, name: str = "x.png") -> Path:
    """A file where Gradio puts uploads."""
    folder = scratch.root / "0123"
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"picture")
    return folder / name


def test_only_this_user_may_look(scratch: Scratch, parent: Path) -> None:
    assert scratch.root.parent == parent
    assert scratch.root.stat().st_mode & 0o777 == 0o700


def test_everything_goes_at_the_end(scratch: Scratch, parent: Path) -> None:
    _upload(scratch)
    with scratch.using("a") as session:
        session.take(_upload(scratch), session.fresh("picture"))
    scratch.remove()
    assert list(parent.iterdir()) == []


def test_a_page_takes_its_files_and_uploads_along(scratch: Scratch) -> None:
    upload, other = _upload(scratch), _upload(scratch, "other.png")
    with scratch.using("a") as session:
        copied = session.take(upload, session.fresh("picture"))
    with scratch.using("b") as kept:
        pass
    assert copied.read_bytes() == b"picture"
    scratch.end("a")
    assert not session.folder.exists()
    assert not upload.exists()
    assert other.exists()
    assert kept.folder.exists()


def test_a_page_that_is_closed_at_work_is_deleted_afterwards(scratch: Scratch) -> None:
    with scratch.using("a") as session:
        scratch.end("a")
        assert session.stop.is_set()
        assert session.folder.exists()
        with scratch.using("a") as again:
            assert again is not session
    assert not session.folder.exists()
    assert again.folder.exists()


def test_fresh_folders_replace_each_other_under_new_names(scratch: Scratch) -> None:
    with scratch.using("a") as session:
        first, other = session.fresh("result"), session.fresh("mask")
        second = session.fresh("result")
    assert not first.exists()
    assert second.exists()
    assert other.exists()
    assert first != second


def test_what_is_old_is_swept_and_what_is_in_use_is_not(scratch: Scratch) -> None:
    old, new = _upload(scratch, "old.png"), _upload(scratch, "new.png")
    stray = scratch.root / "tmp1"
    stray.write_bytes(b"")
    for path in (old, stray):
        os.utime(path, (time.time() - 7200,) * 2)
    with scratch.using("idle") as idle:
        pass
    with scratch.using("busy") as busy:
        scratch.sweep(3600)
        assert not old.exists()
        assert not stray.exists()
        assert new.exists()
        assert idle.folder.exists()
        scratch.sweep(0)
        assert not idle.folder.exists()
        assert not new.parent.exists()
        assert busy.folder.exists()
    assert (scratch.root / "lock").exists()


@pytest.mark.kill
@pytest.mark.skipif(sys.platform == "win32", reason="folders of killed servers stay there")
def test_what_a_killed_server_left_is_deleted_by_the_next(scratch: Scratch, parent: Path) -> None:
    code = (
        "import os, signal\n"
        "from irae.ui.scratch import Scratch\n"
        "print(Scratch.create().root, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"TMPDIR": str(parent)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment
    )
    left = Path(done.stdout.strip())
    assert left.is_dir()
    assert left.name.startswith(PREFIX)
    second = Scratch.create()
    assert not left.exists()
    assert scratch.root.exists()
    second.remove()
