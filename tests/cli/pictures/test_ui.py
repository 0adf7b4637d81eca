"""``irae ui``: where it listens, what it says, and that it ends clean. Its page: tests/ui."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest

Run = Callable[..., CompletedProcess[str]]

needs_fastapi = pytest.mark.skipif(
    importlib.util.find_spec("fastapi") is None, reason="the page needs irae[ui]"
)


@pytest.mark.server
@needs_fastapi
def test_it_is_there_for_this_machine_until_ended(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "irae", "ui", "--no-browser", "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        parts = urlsplit(address)
        assert parts.hostname == "127.0.0.1"
        assert parts.port is not None
        with urlopen(address) as answer:
            text = answer.read().decode()
        assert "<title>irae</title>" in text
        assert "http" not in text.replace("http-equiv", "")
        for stranger in (
            Request(f"http://{parts.netloc}/"),
            Request(address, headers={"Origin": "http://evil.example"}),
        ):
            with pytest.raises(OSError, match="403"):
                urlopen(stranger)
        # Another address of this machine: nobody listens there.
        with socket.socket() as other, pytest.raises(ConnectionRefusedError):
            other.connect(("127.0.0.2", parts.port))
        assert [path.name.startswith("irae-ui-") for path in tmp_path.iterdir()] == [True]
        process.terminate()
        said = process.communicate(timeout=120)
    assert process.returncode == 0
    assert said == ("", "irae: note: the page is for this machine alone; end it with Ctrl-C\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("package", "name"), [("fastapi", "FastAPI"), ("uvicorn", "uvicorn")])
@needs_fastapi
def test_without_its_extra_the_remedy_is_told(
    irae: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for module in ("irae.ui.api", "irae.ui.routes.bodies"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    # Set so that it is put back: the command changes the environment it owns.
    monkeypatch.setenv("IRAE_MAX_PIXELS", os.environ.get("IRAE_MAX_PIXELS", ""))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = irae("ui", "--no-browser", "--port", "0", "--device", "cpu", "--precision", "fp32")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == f"irae: error: irae ui needs {name}; pip install 'irae[ui]'\n"
    assert list(tmp_path.iterdir()) == []


def test_options_out_of_range_are_refused(irae: Run) -> None:
    for option, value in (("--port", "70000"), ("--max-pixels", "0"), ("--max-upload-mb", "0")):
        assert irae("ui", option, value).returncode == 2


def test_pictures_that_are_not_there_are_told_before_anything_starts(
    irae: Run, tmp_path: Path
) -> None:
    done = irae("ui", "--no-browser", "--port", "0", tmp_path / "none.png")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "none.png: no such file or folder" in done.stderr
