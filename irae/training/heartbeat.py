"""Signs of life of the processes of a run, so that none waits for days for one that is gone.

A process that ends closes its connections, which the others notice. A machine without power, or
without its network, closes nothing: whoever waits for it would wait until its timeout, which is
days, since one process may work alone for hours. So each process counts up in the common store
every few seconds, from a thread of its own, however long its work takes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

from irae.errors import UsageError

LOST_VARIABLE, LOST_SECONDS = "IRAE_LOST_SECONDS", 120.0
"""Environment variable, and its default: after how long without a sign of life a process of a run
is taken for lost."""

_LEFT = b"left"
_SIGNS = 8  # signs of life in that time


def lost_after() -> float:
    """Return the seconds after which a silent process is taken for lost.

    Raises:
        UsageError: the variable holds no positive number.
    """
    try:
        seconds = float(os.environ.get(LOST_VARIABLE, LOST_SECONDS))
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UsageError(f"{LOST_VARIABLE} is no number of seconds; correct or unset it")
    return seconds


class Heartbeat:
    """Gives signs of life, and watches for those of the others, in two threads.

    Args:
        store: a store of all processes with a connection of its own: a call may block for ever if
            the store's machine is gone.
        rank: number of this process.
        count: number of processes.
        lost_after: seconds without a sign after which a process is lost.
        on_loss: called once with the lost ranks, from another thread.
    """

    def __init__(
        self,
        store: Any,
        rank: int,
        count: int,
        lost_after: float,
        on_loss: Callable[[list[int]], None],
    ) -> None:
        self._store, self._rank, self._lost_after = store, rank, lost_after
        self._on_loss = on_loss
        self._over = threading.Event()
        # For each process still there its latest sign, and when it was seen, by this machine's
        # clock.
        self._seen: dict[int, tuple[bytes, float]] = {
            other: (b"", time.monotonic()) for other in range(count) if other != rank
        }
        for work in (self._exchange, self._watch):
            threading.Thread(target=work, name="heartbeat", daemon=True).start()

    def leave(self) -> None:
        """Tell the others that this process ends in good order, and watch no more."""
        self._over.set()
        try:
            self._store.set(str(self._rank), _LEFT)
        except RuntimeError:
            return  # The store's process has ended before, and nobody watches any more.

    def _exchange(self) -> None:
        number = 0
        while not self._over.wait(self._lost_after / _SIGNS if number else 0):
            number += 1
            try:
                self._store.set(str(self._rank), str(number))
                for other in list(self._seen):
                    if self._store.check([str(other)]):
                        self._note(other, self._store.get(str(other)))
            except RuntimeError:
                # The process or machine of the store has closed its connections, all of them: who
                # waits for it notices that, and who does not is about to end.
                self._over.set()

    def _note(self, other: int, sign: bytes) -> None:
        if sign == _LEFT:
            self._seen.pop(other, None)
        elif other in self._seen and sign != self._seen[other][0]:
            self._seen[other] = sign, time.monotonic()

    def _watch(self) -> None:
        while not self._over.wait(self._lost_after / _SIGNS):
            latest = time.monotonic() - self._lost_after
            lost = [other for other, (_, seen) in list(self._seen.items()) if seen < latest]
            if lost and not self._over.is_set():
                self._on_loss(lost)
                return
