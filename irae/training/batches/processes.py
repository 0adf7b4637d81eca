"""Batches made in processes of their own.

Most damage takes many small steps of Python. On a GPU these would hold up the training step, whose
own Python has to launch the work in time; and threads do not help, because only one of them runs
Python at a time.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from irae.errors import DataError, TrainingError
from irae.runtime import host_threads, use_device
from irae.tasks.base import Batch

AHEAD = 3
"""Number of batches that each process makes in advance."""

_SPARE = 2  # Cores that are left to the training step and to the copying of batches.
_LEAST = 2  # Fewer processes are no faster than a thread.

_LEFT_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
]

Make = Callable[[int], Batch]
Message = tuple[dict[str, Tensor] | DataError, dict[Path, str]]
"""The tensors of a batch, or why there is none; and the pictures that could not be read so far."""


def count_processes(wanted: int | Literal["auto"], device: torch.device, *, on_device: bool) -> int:
    """Return how many processes make the batches of a run; with 0 a thread makes them.

    Args:
        wanted: ``data.workers`` of the config.
        device: the training device.
        on_device: whether a GPU makes these batches faster than processes do.
    """
    if wanted != "auto":
        return wanted
    if device.type != "cuda" or on_device or not _can_fork():
        return 0
    spare = host_threads() - _SPARE
    return spare if spare >= _LEAST else 0


def batches_from_processes(
    open_maker: Callable[[], tuple[Make, dict[Path, str]]],
    first: int,
    processes: int,
    device: torch.device,
    left_out: dict[Path, str],
) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors of batches from step ``first`` on, in page-locked memory for a GPU.

    Args:
        open_maker: called once in each process; returns what makes the batch of a step on the CPU,
            and its growing record of pictures that could not be read.
        first: the first step.
        processes: number of processes.
        device: the training device.
        left_out: receives the pictures that could not be read.

    Raises:
        DataError: no batch can be made, for want of pictures.
        TrainingError: a process is gone.
    """
    loader: DataLoader[Any] = DataLoader(
        _Steps(open_maker),
        batch_size=None,
        sampler=count(first),
        num_workers=processes,
        prefetch_factor=AHEAD,
        collate_fn=_as_it_is,  # type: ignore[arg-type]
        pin_memory=device.type == "cuda",
        worker_init_fn=_leave_signals,
        multiprocessing_context="fork",
    )
    use_device(device)
    with _signals_held_back():
        messages = iter(loader)
    while True:
        try:
            found, unreadable = next(messages)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            reason = str(error).splitlines()[0]
            raise TrainingError(
                f"data.workers: a process that makes batches is gone ({reason}); lower it, or set "
                "it to 0"
            ) from error
        left_out.update(unreadable)
        if isinstance(found, DataError):
            raise found
        yield found


class _Steps(Dataset[Message]):
    """Maps a step to its batch; used in the processes alone."""

    def __init__(self, open_maker: Callable[[], tuple[Make, dict[Path, str]]]) -> None:
        self._open = open_maker
        self._opened: tuple[Make, dict[Path, str]] | None = None

    def __getitem__(self, step: int) -> Message:
        try:
            if self._opened is None:
                self._opened = self._open()
            make, left_out = self._opened
            batch = make(step)
        except DataError as error:
            # As a value, because the loader puts its own lines around what is raised.
            return error, dict(self._opened[1]) if self._opened else {}
        return batch.tensors(), dict(left_out)


def _as_it_is(message: Message) -> Message:
    return message


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Let processes that are started here receive no signal before they ignore it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _LEFT_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals(number: int) -> None:
    """Let the training process decide what a signal to the whole group means.

    It ends its processes itself; if it is killed, they notice within seconds.
    """
    for left in _LEFT_SIGNALS:
        signal.signal(left, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _LEFT_SIGNALS)


def _can_fork() -> bool:
    return "fork" in multiprocessing.get_all_start_methods()
