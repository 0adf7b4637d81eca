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

# Makes the helpers beside the tests importable.
sys.path.insert(0, str(Path(__file__).resolve().parent))

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
    from irae.ui.api import make_app
    from irae.ui.guard import Guard
    from irae.ui.intake import Intake
    from irae.ui.jobs import Jobs
    from irae.ui.pictures import PictureStore
    from irae.ui.routes.parts import Parts
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
        service = RestoreService(store, "cpu", "fp32")
        parts = Parts(
            store, Intake(store, most_bytes, most_pixels), service, Jobs(unwatched_seconds), opened
        )
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


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Any]:
    with chromium(300_000) as started:
        yield started


class Driver:
    """A page in a browser, and what one does with it.

    Attributes:
        page: Playwright's page.
        requests: the addresses that it has asked for.
        complaints: errors of its scripts, and what its policy forbade.
    """

    def __init__(self, context: Any, server: Server) -> None:
        self.page = context.new_page()
        self.server = server
        self.page.set_default_timeout(120_000)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._listen)

    def _listen(self, message: Any) -> None:
        # The browser itself reports every answer of 4xx.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def open(self) -> Driver:
        self.page.goto(self.server.address)
        self.page.wait_for_selector("#limits:not(:empty)", state="attached")
        return self

    def drop(self, *paths: Path, at: str = "body") -> None:
        """Drop files or folders from outside the browser on a place of the page."""
        box = self.page.locator(at).bounding_box()
        session = self.page.context.new_cdp_session(self.page)
        event = {
            "x": box["x"] + box["width"] / 2,
            "y": box["y"] + box["height"] / 2,
            "data": {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1},
        }
        for kind in ("dragEnter", "dragOver", "drop"):
            session.send("Input.dispatchDragEvent", {"type": kind, **event})
        session.detach()

    def choose(self, *paths: Path) -> None:
        self.page.set_input_files("#files", [str(path) for path in paths])

    def bring(self, path: Path) -> None:
        """Bring one picture, and wait until it is seen."""
        self.choose(path)
        self.page.wait_for_selector(f"#name:text-is({path.name!r})")
        self.wait_for_pixels()

    def task(self, name: str) -> None:
        """Choose a task, and wait until the picture lies between its bars."""
        self.page.check(f"input[name=task][value={name!r}]")
        self.wait_for_pixels()

    def restore(self) -> None:
        """Restore the picture in the view, and wait for the result."""
        self.page.click("#restore")
        self.page.wait_for_selector("#work", state="hidden")
        self.wait_for_pixels()

    def wait_for_pixels(self) -> None:
        """Wait until all that the page has asked for is drawn."""
        frames = "() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))"
        self.page.evaluate(frames)
        self.page.wait_for_selector("#view[aria-busy=false]", state="attached")
        self.page.evaluate(frames)

    def view(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the view."""
        box = self.page.locator("#view").bounding_box()
        return box["x"], box["y"], box["width"], box["height"]

    def pixels(self, canvas: str = "canvas") -> Any:
        """What a canvas shows once all is drawn, ``H W 4``."""
        import base64

        import numpy as np

        self.wait_for_pixels()
        width, height, data = self.page.evaluate(
            """id => {
                const canvas = document.getElementById(id);
                const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width,
                    canvas.height);
                let text = '';
                for (let i = 0; i < data.length; i += 32768)
                    text += String.fromCharCode(...data.subarray(i, i + 32768));
                return [canvas.width, canvas.height, btoa(text)];
            }""",
            canvas,
        )
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)

    def stroke(self, *points: tuple[float, float]) -> None:
        """Paint through points, given as shares of the view."""
        left, top, width, height = self.view()
        places = [(left + x * width, top + y * height) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place, steps=6)
        self.page.mouse.up()

    def download(self, button: str, folder: Path) -> Path:
        with self.page.expect_download() as started:
            self.page.click(button)
        path = folder / started.value.suggested_filename
        started.value.save_as(path)
        return path

    def messages(self) -> list[str]:
        found: list[str] = self.page.locator(".message span").all_inner_texts()
        return found


@pytest.fixture
def drivers(server: Server, browser: Any) -> Iterator[Callable[..., Driver]]:
    """Opens tabs; at the end none has asked anybody but the server, or complained."""
    contexts: list[Any] = []
    opened: list[Driver] = []

    def start(width: int = 1280, height: int = 720, **options: Any) -> Driver:
        size = {"width": width, "height": height}
        contexts.append(browser.new_context(viewport=size, **options))
        opened.append(Driver(contexts[-1], server))
        return opened[-1].open()

    yield start
    for driver in opened:
        asked = {urlsplit(url.removeprefix("blob:")).netloc for url in driver.requests}
        assert asked == {urlsplit(server.address).netloc}
        assert driver.complaints == []
    for context in contexts:
        context.close()


@pytest.fixture
def driver(drivers: Callable[..., Driver]) -> Driver:
    return drivers()


@pytest.fixture(scope="session")
def photograph(shared: Path) -> Any:
    """A part of a real photograph, with noise of sigma 25: 120 by 90 pixels."""
    import numpy as np
    from PIL import Image

    path = shared / "data/testsets/CBSD68/101085.png"
    if not path.is_file():
        pytest.skip(f"{path} is not there (see data/README.md)")
    with Image.open(path) as image:
        clean = np.asarray(image.convert("RGB").crop((150, 80, 270, 170)))
    noise = np.random.default_rng(0).normal(0, 25, clean.shape)
    return Image.fromarray((clean + noise).clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="session")
def start() -> Any:
    """Starts a server of one's own in a folder; see `start_server`."""
    return start_server


@pytest.fixture(scope="session")
def start_driver() -> Any:
    """Opens the page of a server in a context of the browser."""
    return lambda context, server: Driver(context, server).open()
