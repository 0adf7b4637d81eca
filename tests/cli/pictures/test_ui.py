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

needs_gradio = pytest.mark.skipif(
    importlib.util.find_spec("gradio") is None, reason="the page needs irae[ui]"
)


@pytest.mark.server
@needs_gradio
def test_it_is_there_for_this_machine_until_ended(tmp_path: Path) -> None:
    # What Gradio would take as a wish to be open to the world.
    wishes = {"GRADIO_SERVER_NAME": "0.0.0.0", "GRADIO_SHARE": "True", "GRADIO_MCP_SERVER": "True"}
    with subprocess.Popen(
        [sys.executable, "-m", "irae", "ui", "--no-browser", "--port", "0", "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path), **wishes},
    ) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        parts = urlsplit(address)
        assert parts.hostname == "127.0.0.1"
        assert parts.port is not None
        with urlopen(address) as answer:
            text = answer.read().decode()
        assert "<title>irae</title>" in text or '"title":"irae"' in text
        assert "fonts.googleapis" not in text
        stranger = Request(f"{address}/config", headers={"Origin": "http://evil.example"})
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


def test_without_gradio_the_remedy_is_told(
    irae: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    # Set so that they are put back: the command changes the environment it owns.
    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "IRAE_MAX_PIXELS"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = irae("ui", "--no-browser", "--port", "0", "--device", "cpu", "--precision", "fp32")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "irae: error: irae ui needs Gradio; pip install 'irae[ui]'\n"
    assert list(tmp_path.iterdir()) == []


def test_options_out_of_range_are_refused(irae: Run) -> None:
    for option, value in (("--port", "70000"), ("--max-pixels", "0"), ("--max-upload-mb", "0")):
        assert irae("ui", option, value).returncode == 2
