"""Who is answered: the browser that was given the token, and nobody else."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

HOST = "127.0.0.1"

POLICY = "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'"
"""What the page may load: everything from this server, and nothing that is written inline."""

_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    # Or the browser would leave pictures on disk.
    (b"cache-control", b"no-store"),
]

_NAMES_OF_HERE = {HOST, "localhost", "[::1]"}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """Lets requests through that know the token; every other one is answered with 403.

    The token is in the address that is opened first, then in a cookie of the browser. Programs send
    it as ``Authorization: Bearer TOKEN``. Other users of the machine do not know it. Pages of
    strangers in the same browser neither know it nor may use the cookie: they send requests with
    another ``Origin``, with another ``Sec-Fetch-Site``, or to another ``Host``. The port does not
    matter, so that the page can be reached through ``ssh -L``.

    Args:
        app: what is guarded.
        token: the secret.
    """

    def __init__(self, app: App, token: str) -> None:
        self._app, self._token = app, token
        # Cookies are shared among the ports of a host: two servers must not overwrite each other's.
        self._cookie = f"irae-{secrets.token_hex(4)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in
                   scope["headers"]}  # fmt: skip
        in_address = self._is_first(scope)
        if scope["type"] != "http" or not self._may(headers, in_address):
            await _refuse(scope, send)
            return
        extra = list(_HEADERS)
        if in_address:
            cookie = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            extra.append((b"set-cookie", cookie.encode()))

        async def send_with_headers(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _is_first(self, scope: Scope) -> bool:
        """Whether the page is opened by the address with the token."""
        if scope["type"] != "http" or scope["path"] != "/":
            return False
        query = parse_qs(scope["query_string"].decode("latin-1"))
        return self._is_token(query.get("token", [""])[0])

    def _may(self, headers: dict[str, str], in_address: bool) -> bool:
        host = headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        origin = headers.get("origin")
        if name not in _NAMES_OF_HERE or origin not in (None, f"http://{host}"):
            return False
        if in_address or self._is_token(headers.get("authorization", "").removeprefix("Bearer ")):
            return True
        site = headers.get("sec-fetch-site", "none")
        return site in ("none", "same-origin") and self._has_cookie(headers.get("cookie", ""))

    def _has_cookie(self, text: str) -> bool:
        try:
            cookie = SimpleCookie(text).get(self._cookie)
        except CookieError:
            return False
        return cookie is not None and self._is_token(cookie.value)

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self._token.encode())


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    reason = "this needs the token of irae ui; open the address that it printed when it started"
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"error": reason}).encode()})
