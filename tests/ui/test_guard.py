"""Who is answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from irae.ui.guard import Guard

HERE = {"host": "127.0.0.1:7860"}
TOKEN = {**HERE, "authorization": "Bearer secret"}


async def _page(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


def _ask(
    guard: Guard, headers: dict[str, str], *, path: str = "/api/about", query: str = "",
    kind: str = "http",
) -> tuple[int, dict[str, str]]:  # fmt: skip
    """Ask for what the guarded page would answer with ``ok``."""
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {
        "type": kind,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(guard(scope, receive, send))
    if kind == "websocket":
        return sent[0]["code"], {}
    start, body = sent
    assert (body["body"] == b"ok") == (start["status"] == 200)
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}


@pytest.fixture
def guard() -> Guard:
    return Guard(_page, "secret")


def _cookie(guard: Guard) -> str:
    status, sent = _ask(guard, HERE, path="/", query="token=secret")
    assert status == 200
    cookie, *attributes = sent["set-cookie"].split("; ")
    assert set(attributes) == {"Path=/", "HttpOnly", "SameSite=Strict"}
    return cookie


@pytest.mark.parametrize("host", ["127.0.0.1:7860", "localhost:7860", "localhost:9999", "[::1]:1"])
def test_a_browser_with_the_cookie_is_answered_under_any_port(guard: Guard, host: str) -> None:
    headers = {"host": host, "cookie": f"other=1; {_cookie(guard)}"}
    for more in ({}, {"origin": f"http://{host}", "sec-fetch-site": "same-origin"}):
        status, sent = _ask(guard, {**headers, **more})
        assert status == 200
        assert sent["content-security-policy"] == (
            "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'"
        )
        assert sent["cache-control"] == "no-store"


def test_a_program_with_the_token_is_answered(guard: Guard) -> None:
    assert _ask(guard, TOKEN)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        HERE,
        {"authorization": "Bearer secret"},
        {**HERE, "authorization": "Bearer wrong"},
        {**HERE, "authorization": "Bearer "},
        {**HERE, "authorization": "Basic secret"},
        {**TOKEN, "host": "evil.example:7860"},
        {**TOKEN, "host": "evil.example"},
        {**TOKEN, "origin": "http://evil.example"},
        {**TOKEN, "origin": "https://127.0.0.1:7860"},
        {**TOKEN, "origin": "http://127.0.0.1:7861"},
        {**TOKEN, "origin": "null"},
        {**HERE, "cookie": "irae=secret"},
        {**HERE, "cookie": "irae-0=secret; ; =; $"},
    ],
)
def test_nobody_else_is(guard: Guard, headers: dict[str, str]) -> None:
    assert _ask(guard, headers)[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_others_may_not_use_the_cookie(guard: Guard, site: str) -> None:
    headers = {**HERE, "cookie": _cookie(guard), "sec-fetch-site": site}
    assert _ask(guard, headers)[0] == 403


def test_the_token_in_the_address_counts_for_the_page_alone(guard: Guard) -> None:
    assert _ask(guard, HERE, path="/", query="token=wrong")[0] == 403
    assert _ask(guard, HERE, path="/")[0] == 403
    assert _ask(guard, HERE, path="/api/about", query="token=secret")[0] == 403
    assert _ask(guard, {"host": "evil.example"}, path="/", query="token=secret")[0] == 403


def test_the_cookie_of_another_server_does_not_count(guard: Guard) -> None:
    other = Guard(_page, "secret")
    assert _ask(guard, {**HERE, "cookie": _cookie(other)})[0] == 403


def test_no_websocket_is(guard: Guard) -> None:
    assert _ask(guard, TOKEN, kind="websocket")[0] == 1008
