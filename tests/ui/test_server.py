"""Who is answered."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from irae.errors import UsageError
from irae.ui.server import OnlyFromHere, Options, serve

ADDRESS = "http://127.0.0.1:7860"


def _ask(headers: dict[str, str], kind: str = "http") -> tuple[int, dict[str, str], bytes]:
    """The answer to a request that the page itself would answer with ``ok``."""

    async def page(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {
        "type": kind,
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(OnlyFromHere(page, ADDRESS)(scope, receive, send))
    if kind == "websocket":
        return sent[0]["code"], {}, b""
    start, body = sent
    return (
        start["status"],
        {name.decode(): value.decode() for name, value in start["headers"]},
        body["body"],
    )


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860"])
def test_the_page_is_answered(host: str) -> None:
    for headers in ({"host": host}, {"host": host, "origin": f"http://{host}"}):
        status, sent, body = _ask(headers)
        assert (status, body) == (200, b"ok")
        assert "default-src 'self'" in sent["content-security-policy"]
        assert "http" not in sent["content-security-policy"]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:7860"},
        {"host": "evil.example:7860", "origin": "http://evil.example:7860"},
        {"host": "127.0.0.1:7861"},
        {"host": "127.0.0.1:7860", "origin": "http://evil.example"},
        {"host": "127.0.0.1:7860", "origin": "https://127.0.0.1:7860"},
        {"host": "127.0.0.1:7860", "origin": "null"},
        {},
    ],
)
def test_nobody_else_is(headers: dict[str, str]) -> None:
    status, _, body = _ask(headers)
    assert status == 403
    assert b"ok" not in body


def test_no_websocket_is() -> None:
    assert _ask({"host": "127.0.0.1:7860"}, "websocket")[0] == 1008


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
