"""The page's API in this process, and a server of the page as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

OPTIONS = ["--no-browser", "--port", "0", "--device", "cpu", "--precision", "fp32"]


@dataclass
class Server:
    """A running ``irae ui``; its temporary files are in ``folder`` and nothing else is.

    Attributes:
        address: what it printed, with the token.
    """

    address: str
    folder: Path
    process: subprocess.Popen[str]

    @property
    def origin(self) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def token(self) -> str:
        return urlsplit(self.address).query.removeprefix("token=")

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(120) == 0
        assert list(self.folder.iterdir()) == []


@contextmanager
def start_server(folder: Path, *options: str) -> Iterator[Server]:
    command = [sys.executable, "-m", "irae", "ui", *OPTIONS, *options]
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            yield Server(process.stdout.readline().strip(), folder, process)
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("fastapi", reason="the page needs irae[ui]")
    folder = tmp_path_factory.mktemp("server")
    with start_server(folder, "--max-pixels", "30e6", "--max-upload-mb", "80") as server:
        yield server
        server.end()


@dataclass
class Api:
    """The API in this process.

    Attributes:
        client: asks it, with the token.
        parts: what it works with.
        root: its temporary files.
    """

    client: Any
    parts: Any
    root: Path

    def bring(self, path: Path, name: str | None = None) -> dict[str, Any]:
        answer = self.client.post(
            "/api/pictures", params={"name": name or path.name}, content=path.read_bytes()
        )
        assert answer.status_code == 201, answer.text
        told: dict[str, Any] = answer.json()
        return told

    def wait(self, job: str) -> dict[str, Any]:
        """Wait for the end of a job."""
        while True:
            told: dict[str, Any] = self.client.get(f"/api/jobs/{job}").json()
            if told["state"] not in ("waiting", "running"):
                return told
            time.sleep(0.02)

    def restore(self, key: str, **options: Any) -> dict[str, Any]:
        answer = self.client.post(f"/api/pictures/{key}/restore", json=options)
        assert answer.status_code == 202, answer.text
        return self.wait(answer.json()["job"])

    def files(self) -> list[Path]:
        return sorted(path for path in self.root.rglob("*") if path.name != "lock")


@pytest.fixture
def make_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Api]]:
    """Makes the API with limits of 10^6 bytes and 10^5 pixels, unless others are given."""
    pytest.importorskip("fastapi", reason="the page needs irae[ui]")
    testclient = pytest.importorskip("fastapi.testclient", reason="its client needs httpx")
    from irae.ui.api import Parts, make_app
    from irae.ui.guard import Guard
    from irae.ui.jobs import Jobs
    from irae.ui.pictures import PictureStore
    from irae.ui.scratch import Scratch
    from irae.ui.service import RestoreService

    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    made: list[Scratch] = []

    def make(
        most_bytes: int = 10**6,
        most_pixels: int = 10**5,
        opened: tuple[Path, ...] = (),
        unwatched_seconds: float = 30,
    ) -> Api:
        scratch = Scratch.create()
        made.append(scratch)
        store = PictureStore(scratch)
        service = RestoreService(store, "cpu", "fp32", most_bytes, most_pixels)
        parts = Parts(store, service, Jobs(service.work, unwatched_seconds), opened)
        client = testclient.TestClient(
            Guard(make_app(parts), "secret"),
            base_url="http://127.0.0.1:7860",
            headers={"authorization": "Bearer secret"},
        )
        return Api(client, parts, scratch.root)

    yield make
    for scratch in made:
        scratch.remove()
    assert list(folder.iterdir()) == []


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    return make_api()
