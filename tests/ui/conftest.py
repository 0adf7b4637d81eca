"""A server of the page, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

OPTIONS = ["--no-browser", "--port", "0", "--device", "cpu", "--precision", "fp32"]


@dataclass
class Server:
    """A running ``irae ui``; its temporary files are in ``folder`` and nothing else is."""

    address: str
    folder: Path
    process: subprocess.Popen[str]

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0
        assert list(self.folder.iterdir()) == []


@contextmanager
def start_server(folder: Path, *options: str) -> Iterator[Server]:
    environment = os.environ | {"TMPDIR": str(folder), "GRADIO_SERVER_NAME": "0.0.0.0"}
    command = [sys.executable, "-m", "irae", "ui", *OPTIONS, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield Server(process.stdout.readline().strip(), folder, process)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("gradio", reason="the page needs irae[ui]")
    folder = tmp_path_factory.mktemp("server")
    with start_server(folder, "--max-pixels", "1e5", "--max-upload-mb", "2") as server:
        yield server
        server.end()
