"""The server as a process of its own."""

from __future__ import annotations

import io
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from PIL import Image

from irae.errors import UsageError
from irae.ui.server import Options, serve

pytest.importorskip("fastapi", reason="the page needs irae[ui]")


def _ask(server: Any, path: str, **options: Any) -> Any:
    headers = {"Authorization": f"Bearer {server.token}"}
    return urlopen(Request(server.origin + path, headers=headers, **options), timeout=60)


def _noisy(size: tuple[int, int]) -> bytes:
    values = np.random.default_rng(0).normal(128, 25, (size[1], size[0], 3)).clip(0, 255)
    stream = io.BytesIO()
    Image.fromarray(values.astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"port {port} cannot be used .*--port 0"):
            serve(Options(port=port, device="cpu", precision="fp32"), lambda _: None)


def test_a_device_that_is_not_there_is_told_first() -> None:
    with pytest.raises(UsageError, match="device 'cuda:99' is not there"):
        serve(Options(port=0, device="cuda:99"), lambda _: None)


def test_a_scan_of_a_page_at_600_dpi_is_within_the_limits() -> None:
    """DIN A4, not compressed, in colours of 16 bits."""
    width, height = 4961, 7016
    assert Options().most_pixels >= width * height
    assert Options().most_bytes >= 6 * width * height


def test_without_the_token_nobody_is_answered(server: Any) -> None:
    for path in ("/", "/api/about", "/static/app.js", "/api/openapi.json"):
        with pytest.raises(HTTPError, match="403"):
            urlopen(server.origin + path, timeout=60)
        assert _ask(server, path).status == 200 or path == "/"
    # Another address of this machine: nobody listens there.
    port = int(server.origin.rpartition(":")[2])
    with socket.socket() as other, pytest.raises(ConnectionRefusedError):
        other.connect(("127.0.0.2", port))


def test_the_example_with_curl_works(server: Any, tmp_path: Path) -> None:
    """The example of the docs, as it stands there, in a shell."""
    page = Path(__file__).parents[2] / "docs" / "page.md"
    if not page.is_file():
        pytest.skip("the docs are not there")
    blocks = page.read_text(encoding="utf-8").split("```")
    (script,) = (block[3:] for block in blocks if block.startswith("sh\n") and "curl" in block)
    script = script.replace("http://127.0.0.1:7860", server.origin)
    script = script.replace("TOKEN=…", f"TOKEN={server.token}")
    (tmp_path / "scan.png").write_bytes(_noisy((64, 48)))
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "scan.restored.png") as image:
        assert image.size == (64, 48)
        assert np.asarray(image).std() < 15


def test_a_job_ends_when_its_stream_is_closed_and_nothing_is_left(server: Any) -> None:
    """The page was closed: it says so, and the job of a large picture stops."""
    body = _noisy((3000, 2000))
    about = _json(_ask(server, "/api/pictures?name=x.png", data=body, method="POST"))
    job = _start(server, about["id"], b'{"task": "denoise"}')
    with _ask(server, f"/api/jobs/{job}/events") as events:
        while b'"share": 0.0' in (line := events.readline()) or b"data" not in line:
            pass
    leave = ('{"pictures": ["' + about["id"] + '"]}').encode()
    assert _post(server, "/api/leave", leave).status == 204
    end = time.monotonic() + 60
    while [path for path in server.folder.glob("irae-ui-*/*") if path.name != "lock"]:
        assert time.monotonic() < end
        time.sleep(0.1)


def _post(server: Any, path: str, body: bytes) -> Any:
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    return urlopen(Request(server.origin + path, data=body, headers=headers), timeout=60)


def _start(server: Any, key: str, options: bytes) -> str:
    job: str = _json(_post(server, f"/api/pictures/{key}/restore", options))["job"]
    return job


def _json(answer: Any) -> Any:
    import json

    return json.load(answer)
