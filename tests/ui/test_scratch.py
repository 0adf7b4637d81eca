"""Temporary files: private, in one place, and gone when they should be."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
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


def test_only_this_user_may_look(scratch: Scratch, parent: Path) -> None:
    assert scratch.root.parent == parent
    assert scratch.root.stat().st_mode & 0o777 == 0o700


def test_everything_goes_at_the_end(scratch: Scratch, parent: Path) -> None:
    (scratch.fresh_folder() / "x.png").write_bytes(b"picture")
    scratch.fresh_file().write_bytes(b"picture")
    scratch.remove()
    assert list(parent.iterdir()) == []


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
