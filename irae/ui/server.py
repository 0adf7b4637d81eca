"""The server of the page: for browsers on this machine, and nothing but them."""

from __future__ import annotations

import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from irae.errors import UsageError
from irae.imaging.io.limits import LIMIT_VARIABLE, max_pixels
from irae.runtime import resolve_precision, select_device
from irae.ui.previews import PREVIEW_SIDE
from irae.ui.scratch import Scratch
from irae.ui.work import RestoreService

HOST = "127.0.0.1"

SWEEP_SECONDS = 60

BRUSH_BYTES = 4 * PREVIEW_SIDE**2 + 1_000_000
"""What the brush may send: it uploads all that it shows, which no limit on pictures is about."""

# Whatever Gradio has in its scripts, the browser asks nobody but this server. Gradio needs inline
# styles and scripts, and the brush compiles its shaders' bindings.
_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "worker-src 'self' blob:",
        "media-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class Options:
    """How the page is served.

    Attributes:
        port: 0 for one that is free.
        open_browser: show the page at once.
        most_bytes: in one file.
        most_pixels: in one picture.
        device: as `irae.Restorer` takes it, and so is ``precision``.
    """

    port: int = 7860
    open_browser: bool = True
    most_bytes: int = 64_000_000
    most_pixels: int = 100_000_000
    device: str = "auto"
    precision: str = "auto"


def serve(options: Options, ready: Callable[[str], None]) -> None:
    """Serve the page until the process is told to end, by Ctrl-C or a signal.

    The process is the server's: its environment is changed, and it ends here.

    Args:
        options: how.
        ready: called with the page's address once it can be opened.

    Raises:
        UsageError: the port is taken, the device is not there, or Gradio is not installed.
    """
    resolve_precision(options.precision, select_device(options.device))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        _bind(listener, options.port)
        address = f"http://{HOST}:{listener.getsockname()[1]}"
        scratch = Scratch.create()
        try:
            _set_environment(scratch, options.most_pixels)
            service = RestoreService(
                options.device, options.precision, options.most_bytes, options.most_pixels
            )
            app = OnlyFromHere(_make_app(service, scratch, options.most_bytes), address)
            _run(app, listener, scratch, lambda: _announce(address, options, ready))
        finally:
            scratch.remove()


def _bind(listener: socket.socket, port: int) -> None:
    if os.name == "posix":
        # Or the port of a server that ended a moment ago counts as taken.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        raise UsageError(
            f"port {port} cannot be used ({error.strerror}); use --port with another one, or"
            " --port 0 for any that is free"
        ) from None


def _set_environment(scratch: Scratch, most_pixels: int) -> None:
    """Before Gradio is imported: it reads where its files go when it is."""
    for name in list(os.environ):
        if name.startswith("GRADIO_"):
            del os.environ[name]  # Some would open the page to other machines.
    os.environ["GRADIO_TEMP_DIR"] = str(scratch.root)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    # Where a header tells no size, the decoder finds out, and has this limit.
    os.environ[LIMIT_VARIABLE] = str(min(most_pixels, max_pixels()))


def _make_app(service: RestoreService, scratch: Scratch, most_bytes: int) -> App:
    try:
        import fastapi
        import gradio
    except ImportError:
        raise UsageError("irae ui needs Gradio; pip install 'irae[ui]'") from None
    from irae.ui.page import STYLE, build_page, system_theme

    parent = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app: App = gradio.mount_gradio_app(
        parent,
        build_page(service, scratch, most_bytes),
        path="/",
        server_name=HOST,
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=True,
        max_file_size=max(most_bytes, BRUSH_BYTES),
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=system_theme(),
        css=STYLE,
    )
    return app


class OnlyFromHere:
    """Answers requests of the page itself, and adds headers that keep the browser here.

    A page of a stranger can make the user's browser send requests to this machine, under this
    machine's name (``Origin`` tells) or under a name of its own (``Host`` tells).
    """

    def __init__(self, app: App, address: str) -> None:
        self._app = app
        port = address.rpartition(":")[2]
        self._hosts = {f"{name}:{port}".encode() for name in (HOST, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        origin = headers.get(b"origin")
        ours = headers.get(b"host") in self._hosts
        if scope["type"] != "http" or not ours or not (origin is None or self._is_ours(origin)):
            await _refuse(scope, send)
            return

        async def send_with_headers(message: Scope) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_HEADERS]}
            await send(message)

        await self._app(scope, receive, send_with_headers)

    def _is_ours(self, origin: bytes) -> bool:
        return origin.removeprefix(b"http://") in self._hosts


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": b"only for the page of irae ui itself\n"})


def _announce(address: str, options: Options, ready: Callable[[str], None]) -> None:
    ready(address)
    if options.open_browser:
        webbrowser.open(address)


def _run(app: App, listener: socket.socket, scratch: Scratch, started: Callable[[], None]) -> None:
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, ws="none")
    server = uvicorn.Server(config)

    def end(_signal: int, _frame: object) -> None:
        # At once, also in the middle of a large picture, whose thread would hold up the end.
        scratch.remove()
        os._exit(0)

    # Uvicorn makes it the handler of Ctrl-C and of being terminated.
    server.handle_exit = end
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, end)

    def keep_watch() -> None:
        waiting = threading.Event()
        while not server.started:
            waiting.wait(0.05)
        started()
        while not waiting.wait(SWEEP_SECONDS):
            scratch.sweep()

    threading.Thread(target=keep_watch, daemon=True, name="sweep").start()
    server.run(sockets=[listener])
