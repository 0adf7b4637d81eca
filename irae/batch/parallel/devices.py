"""Restoring on several devices at once, or in two streams of one GPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import local
from typing import Any, TypeVar

import torch

from irae.batch.model_pool import ModelPool
from irae.runtime import select_device, use_device

STREAMS = 2
"""Number of threads that restore on a GPU, each in a stream of its own: pictures of one are copied
to and from the GPU while those of the other are restored."""

ResultT = TypeVar("ResultT")


class Devices:
    """Threads that restore, each on a device that it keeps; a CPU alone needs none.

    Work goes to whichever thread is free, so that a slow device gets less of it. On devices of one
    kind the results are those of one device.

    Args:
        pool: the models; its options name the devices.

    Attributes:
        count: number of pieces of work at a time.
    """

    def __init__(self, pool: ModelPool) -> None:
        self.kinds = [select_device(name) for name in pool.devices]
        threads = [d for d in self.kinds for _ in range(STREAMS if d.type == "cuda" else 1)]
        self.count = len(threads)
        self._own = local()
        self._own.pool = pool
        self._threads: ThreadPoolExecutor | None = None
        if len(threads) > 1:
            self._free: SimpleQueue[tuple[ModelPool, torch.device]] = SimpleQueue()
            for device in threads:
                self._free.put((pool.on(str(device)), device))
            self._threads = ThreadPoolExecutor(self.count, "restore", self._begin)

    def _begin(self) -> None:
        """Take a device for the current thread."""
        self._own.pool, device = self._free.get()
        if device.type == "cuda":
            use_device(device)
            stream: Any = torch.cuda.Stream
            torch.cuda.set_stream(stream(device))

    def submit(self, work: Callable[[ModelPool], ResultT]) -> Future[ResultT]:
        """Have some work done with the models of a device; without threads, at once."""
        if self._threads is not None:
            return self._threads.submit(lambda: work(self._own.pool))
        done: Future[ResultT] = Future()
        done.set_result(work(self._own.pool))
        return done

    def close(self) -> None:
        """Wait for the work that has begun, and forget the rest."""
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
