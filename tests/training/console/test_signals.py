"""Signals ask a training to stop; a second Ctrl-C does not ask."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from irae.training.console.signals import INTERRUPTED, SAME_PRESS, stop_requests

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="of POSIX signals")

ALL = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]

# A mutex that is locked twice waits for ever, in C, where no handler in Python runs.
STUCK = """
import ctypes, sys
from irae.training.console.signals import stop_requests
mutex = ctypes.create_string_buffer(128)
lock = ctypes.CDLL(None).pthread_mutex_lock
with stop_requests():
    print("ready", flush=True)
    lock(mutex), lock(mutex)
"""
WAITING = """
import time
from irae.training.console.signals import stop_requests
with stop_requests() as received:
    print("ready", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end and not received:
        time.sleep(0.01)
    print("saved", flush=True)
"""


@contextmanager
def program(code: str, *before: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*before, sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that starts jobs in the background lets them ignore SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", ALL)
def test_signals_are_collected_and_handlers_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_requests() as received:
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number) if number != signal.SIGINT else None
        deadline = time.monotonic() + 10
        while not received and time.monotonic() < deadline:
            time.sleep(0.001)
    assert set(received) == {number}
    assert signal.getsignal(number) == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_hangup_that_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_requests() as received:
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.05)
        assert not received
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_other_threads_collect_nothing_and_do_not_fail() -> None:
    found: list[list[int]] = []

    def work() -> None:
        with stop_requests() as received:
            found.append(received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[]]


@pytest.mark.process
def test_the_second_ctrl_c_ends_even_a_step_that_is_stuck() -> None:
    with program(STUCK) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(SAME_PRESS + 0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "--resume continues from the last checkpoint" in said
    assert "Traceback" not in said


@pytest.mark.process
def test_one_press_that_arrives_twice_is_one() -> None:
    with program(STUCK) as process:
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        time.sleep(SAME_PRESS)
        assert process.poll() is None


@pytest.mark.process
def test_under_nohup_it_goes_on_when_the_terminal_is_closed() -> None:
    with program(WAITING, "nohup") as process:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=60)
    assert told == "saved\n"
    assert process.returncode == 0
