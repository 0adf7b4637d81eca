"""Requests to stop, by signals: a training saves and ends after its current step.

What has nothing to save ends at once (`stopping_at_once`).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

INTERRUPTED = 130
"""Exit code of a process that a second Ctrl-C ends, as of one that SIGINT ends."""

# A launcher may pass on the Ctrl-C that the terminal has already sent: one, and not two.
SAME_PRESS = 0.5

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")


class StopRequested(BaseException):
    """A signal asked to stop what has nothing to save; see `stopping_at_once`."""


@contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT, SIGTERM, SIGHUP and SIGUSR1, so that none ends a step in its middle.

    SIGHUP comes from a closed terminal, SIGUSR1 from batch systems before a job's time is up. A
    SIGHUP that was ignored before stays ignored, which is what ``nohup`` means. A second Ctrl-C
    ends the process at once, even if its step waits for a device or a disk that never answers.

    Outside of the main thread, which alone gets signals, nothing is collected.

    Yields:
        The numbers of the signals so far.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    with _handled_by(received.append), _leaving_at_the_second_interrupt():
        yield received


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Raise `StopRequested` at the first of the signals that `stop_requests` collects.

    It is for work that is simply done again after a restart, such as measuring. Outside of the
    main thread nothing is changed.
    """

    def stop(number: int) -> None:
        raise StopRequested(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _handled_by(stop):
        yield


@contextmanager
def _handled_by(handle: Callable[[int], None]) -> Iterator[None]:
    """Call ``handle`` with the number of each such signal; a SIGHUP stays ignored if it was."""
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    hangup = getattr(signal, "SIGHUP", None)
    old = {
        number: signal.signal(number, lambda n, _: handle(n))
        for number in numbers
        if number != hangup or signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _leaving_at_the_second_interrupt() -> Iterator[None]:
    # Handlers in Python run only once a call into a library returns, so a thread has to watch.
    receiving, sending = socket.socketpair()
    sending.setblocking(False)
    before = signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(receiving,), name="signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sending.close()
        watcher.join()
        receiving.close()


def _watch(receiving: socket.socket) -> None:
    first: float | None = None
    while numbers := receiving.recv(64):
        if signal.SIGINT not in numbers:
            continue
        now = time.monotonic()
        if first is None:
            first = now
        elif now - first >= SAME_PRESS:
            sys.stderr.write("\nirae: left at once; --resume continues from the last checkpoint\n")
            sys.stderr.flush()
            os._exit(INTERRUPTED)
