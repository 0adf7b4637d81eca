"""The server of the page: for the browser on this machine that knows its token."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from irae.errors import UsageError
from irae.imaging.io.limits import LIMIT_VARIABLE, max_pixels
from irae.runtime import resolve_precision, select_device
from irae.ui.guard import HOST, App, Guard
from irae.ui.intake import Intake
from irae.ui.jobs import Jobs
from irae.ui.pictures import KEPT_SECONDS, PictureStore
from irae.ui.scratch import Scratch
from irae.ui.service import RestoreService

SWEEP_SECONDS = 5


@dataclass(frozen=True)
class Options:
    """How the page is served.

    Attributes:
        port: 0 for one that is free.
        open_browser: show the page at once.
        most_bytes: limit of one file.
        most_pixels: limit of one picture.
        device: as `irae.Restorer` takes it, and so is ``precision``.
        opened: pictures to open the page with.
    """

    port: int = 7860
    open_browser: bool = True
    most_bytes: int = 256_000_000
    most_pixels: int = 100_000_000
    device: str = "auto"
    precision: str = "auto"
    opened: tuple[Path, ...] = ()


def serve(options: Options, ready: Callable[[str], None]) -> None:
    """Serve the page until the process is told to end, by Ctrl-C or a signal.

    The process is the server's: its environment is changed, and it ends here.

    Args:
        options: how.
        ready: called with the page's address once it can be opened.

    Raises:
        UsageError: the port is taken, the device is not there, or FastAPI is not installed.
    """
    resolve_precision(options.precision, select_device(options.device))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        _bind(listener, options.port)
        token = secrets.token_urlsafe(24)
        address = f"http://{HOST}:{listener.getsockname()[1]}/?token={token}"
        scratch = Scratch.create()
        try:
            # Where a header tells no size, the decoder finds out, and has this limit.
            os.environ[LIMIT_VARIABLE] = str(min(options.most_pixels, max_pixels()))
            app, sweep = _make_app(options, scratch, token)
            _run(app, listener, scratch, sweep, lambda: _announce(address, options, ready))
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


def _make_app(options: Options, scratch: Scratch, token: str) -> tuple[App, Callable[[], None]]:
    """Return the guarded application, and what is to be called every few seconds."""
    try:
        from irae.ui.api import make_app
        from irae.ui.routes.parts import Parts
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("fastapi", "starlette"):
            raise
        raise UsageError("irae ui needs FastAPI; pip install 'irae[ui]'") from None
    store = PictureStore(scratch)
    intake = Intake(store, options.most_bytes, options.most_pixels)
    service = RestoreService(store, options.device, options.precision)
    jobs = Jobs()

    def sweep() -> None:
        jobs.stop_unwatched()
        for key in store.idle():
            jobs.drop(key)
            store.delete(key)
        for archive in scratch.root.glob("*.zip"):
            if time.time() - archive.stat().st_mtime >= KEPT_SECONDS:
                archive.unlink(missing_ok=True)

    return Guard(make_app(Parts(store, intake, service, jobs, options.opened)), token), sweep


def _announce(address: str, options: Options, ready: Callable[[str], None]) -> None:
    ready(address)
    if options.open_browser:
        webbrowser.open(address)


def _run(
    app: App,
    listener: socket.socket,
    scratch: Scratch,
    sweep: Callable[[], None],
    started: Callable[[], None],
) -> None:
    try:
        import uvicorn
    except ImportError:
        raise UsageError("irae ui needs uvicorn; pip install 'irae[ui]'") from None

    def end(_signal: int, _frame: FrameType | None) -> None:
        # At once, also in the middle of a large picture, whose thread would hold up the end.
        scratch.remove()
        os._exit(0)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            end(sig, frame)

    server = Server(uvicorn.Config(app, log_level="warning", access_log=False, ws="none"))
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, end)

    def keep_watch() -> None:
        waiting = threading.Event()
        while not server.started:
            waiting.wait(0.05)
        started()
        while not waiting.wait(SWEEP_SECONDS):
            sweep()

    threading.Thread(target=keep_watch, daemon=True, name="sweep").start()
    server.run(sockets=[listener])
