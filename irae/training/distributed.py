"""Data-parallel training in several processes that ``torchrun`` starts.

Every process computes its slice of the batch and the gradients are summed: the networks here are
a few megabytes, so one all-reduce after the backward pass costs less than the hooks of
``DistributedDataParallel``, and it also works with compiled networks and reversible flows.

Control messages (stop, errors, results) use gloo in host memory and never wait for a GPU.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from irae.errors import IraeError, TrainingError, UsageError, first_line
from irae.training.heartbeat import Heartbeat, lost_after

T = TypeVar("T")

JOIN_VARIABLE, JOIN_SECONDS = "IRAE_JOIN_SECONDS", 300
"""Environment variable, and its default: how long the processes of a run wait for each other."""


COLLECTIVE_TIMEOUT = timedelta(minutes=30)
"""Longest time that the processes' steps may be apart."""

CONTROL_TIMEOUT = timedelta(days=7)
"""Longest time that one process may work alone while the others wait: validation on large pictures,
the measurements of a benchmark. A process that ends is noticed at once all the same, and one whose
machine is gone by its heartbeat."""


class PeerLostError(TrainingError):
    """Another process ended in the middle of a step; it has printed its own error."""


class StepMemoryError(TrainingError):
    """A step did not fit the memory; the other processes may be in the middle of it."""


class Ranks:
    """This process's rank among the processes of a run, and their communication.

    Attributes:
        rank: number of this process, from 0; process 0 writes files and messages.
        count: number of processes.

    Args:
        control: the group for control messages, with a timeout of its own; the default group if
            None.
    """

    def __init__(self, rank: int = 0, count: int = 1, control: Any = None) -> None:
        self.rank, self.count, self._control = rank, count, control

    @property
    def main(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def rows(self, batch: int) -> slice:
        """Return this process's slice of a batch of ``batch`` samples.

        Raises:
            UsageError: the batch cannot be divided evenly.
        """
        if batch % self.count:
            raise UsageError(
                f"training.batch is {batch}, for all processes together; "
                f"{self.count} processes need a multiple of {self.count}"
            )
        share = batch // self.count
        return slice(self.rank * share, (self.rank + 1) * share)

    def sum(self, tensors: list[Tensor]) -> None:
        """Replace the tensors, all float32 on one device, by their sums over the processes."""
        if self.count == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _lost_peers():
            dist.all_reduce(flat)
        _unflatten(flat, tensors)

    def from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors, all on one device, by those of the main process."""
        if self.count == 1:
            return
        with _lost_peers():
            for tensor in tensors:
                # Channels-last weights are copied: gloo sends contiguous tensors only.
                sent = tensor.detach().contiguous()
                dist.broadcast(sent, 0)
                tensor.detach().copy_(sent)

    def any(self, wanted: bool) -> bool:
        """Whether ``wanted`` is true in any process; all get the same answer."""
        if self.count == 1:
            return wanted
        return self._lowest(0 if wanted else 1) == 0

    def together(self, action: Callable[[], T]) -> T:
        """Run ``action`` in every process; if it fails in any, all processes stop.

        The first process that failed raises its own error, and the others exit silently.
        ``action`` must not itself wait for other processes.

        Raises:
            SystemExit: ``action`` failed in another process.
        """
        if self.count == 1:
            return action()
        error: Exception | None = None
        result: list[T] = []
        try:
            result.append(action())
        except Exception as caught:
            error = caught
        first = self._lowest(self.count if error is None else self.rank)
        if first == self.rank and error is not None:
            raise error
        if first < self.count:
            raise SystemExit(1)
        return result[0]

    def on_main(self, action: Callable[[], T]) -> T:
        """Run ``action`` in the main process only, and return its result in all.

        Raises:
            SystemExit: ``action`` failed in the main process.
        """
        result = self.together(lambda: action() if self.main else None)
        found: T = self.gather(result)[0]
        return found

    def gather(self, value: Any) -> list[Any]:
        """Gather a picklable value from every process, in the order of their ranks."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        with _lost_peers():
            dist.all_gather_object(values, value, group=self._control)
        return values

    def _lowest(self, number: int) -> int:
        lowest = torch.tensor(number)
        with _lost_peers():
            dist.all_reduce(lowest, dist.ReduceOp.MIN, group=self._control)
        return int(lowest)


ALONE = Ranks()


@contextmanager
def _lost_peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # Other causes were ruled out before, so a failed collective means a lost process.
        raise PeerLostError(
            "another process of this run is gone, see its own message; --resume continues from the "
            f"last checkpoint ({str(error).splitlines()[0][:80]})"
        ) from None


def _unflatten(flat: Tensor, tensors: list[Tensor]) -> None:
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    torch._foreach_copy_(tensors, [p.view(t.shape) for p, t in zip(parts, tensors, strict=True)])


def local_device(name: str) -> str:
    """Return the device name for this process: under ``torchrun``, CUDA device ``LOCAL_RANK``.

    Raises:
        UsageError: several processes would share one numbered device, or the machine has fewer
            GPUs than processes.
    """
    if _count() == 1:
        return name
    if name.startswith("cuda:"):
        raise UsageError(f"device {name!r} is one device for {_count()} processes; use cuda")
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        here, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if count and here >= count:
            raise UsageError(
                f"this machine has {count} GPUs, and process {here + 1} on it has none; start "
                f"{count} processes on it (--nproc-per-node {count})"
            )
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return name


def _count() -> int:
    return _variable("WORLD_SIZE") if "RANK" in os.environ and "WORLD_SIZE" in os.environ else 1


def _variable(name: str) -> int:
    value = os.environ.get(name, "")
    if not (value.isascii() and value.isdigit()):
        raise UsageError(
            f"{name} is {value!r}; start the processes with torchrun, or set RANK, WORLD_SIZE, "
            "MASTER_ADDR and MASTER_PORT as it does"
        )
    return int(value)


def _meet() -> tuple[Any, int, int]:
    """Wait until all processes have found each other; return their store, a rank and the count.

    Raises:
        UsageError: the environment is not that of `torchrun`.
        TrainingError: the others cannot be reached, or are too few.
    """
    rank, count, port = (_variable(name) for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"))
    address = os.environ.get("MASTER_ADDR", "")
    if rank >= count:
        raise UsageError(f"RANK is {rank}, of {count} processes; ranks are 0 to {count - 1}")
    try:
        seconds = float(os.environ.get(JOIN_VARIABLE, JOIN_SECONDS))
    except ValueError:
        raise UsageError(f"{JOIN_VARIABLE} is no number of seconds; correct or unset it") from None
    deadline = time.monotonic() + seconds
    # PyTorch would print pages about a connection that fails, so it is tried first.
    while rank:
        try:
            socket.create_connection((address, port), timeout=5).close()
            break
        except OSError as error:
            if time.monotonic() >= deadline:
                raise _unreachable(rank, count, first_line(error)) from None
            time.sleep(0.2)
    try:
        store, rank, count = next(
            rendezvous("env://", timeout=timedelta(seconds=max(1.0, seconds)))
        )
    except (RuntimeError, ValueError) as error:
        raise _unreachable(rank, count, first_line(error)) from None
    store.set_timeout(dist.default_pg_timeout)
    return store, rank, count


def _heartbeat(rank: int, count: int, seconds: float) -> Heartbeat:
    """Begin to give and to watch for signs of life, over a further connection to the store."""
    shared: Any = dist  # Its stores are not declared.
    server = shared.TCPStore(
        os.environ["MASTER_ADDR"], _variable("MASTER_PORT"), is_master=False, wait_for_workers=False
    )
    # After a restart by torchrun the signs of the processes before are still there.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    store = shared.PrefixStore(f"irae/heartbeat/{attempt}", server)

    def lost(others: list[int]) -> None:
        # The first of those that are left says it.
        if all(other in others for other in range(rank)):
            names = " and ".join(str(other) for other in others)
            sys.stderr.write(
                f"irae: error: no sign of life of rank {names} of {count} for {seconds:g} seconds; "
                "--resume continues from the last checkpoint\n"
            )
            sys.stderr.flush()
        # The main thread waits for the lost process, and cannot be interrupted.
        os._exit(TrainingError.exit_code)

    return Heartbeat(store, rank, count, seconds, lost)


def _unreachable(rank: int, count: int, reason: str) -> TrainingError:
    return TrainingError(
        f"rank {rank} of {count} cannot reach the others at {os.environ.get('MASTER_ADDR')}:"
        f"{os.environ.get('MASTER_PORT')} ({reason.strip()[:100]}); is each of them started, with "
        "the same address, and is the port open between the machines?"
    )


@contextmanager
def processes() -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started while the context lasts.

    Without ``torchrun`` this process is alone and nothing is set up. CUDA tensors are sent by
    NCCL, all others by gloo.

    Raises:
        UsageError: the environment is not that of ``torchrun``.
        TrainingError: the other processes cannot be reached.
    """
    if _count() == 1:
        yield ALONE
        return
    seconds = lost_after()
    nccl = torch.cuda.is_available() and dist.is_nccl_available()
    backend = "cpu:gloo,cuda:nccl" if nccl else "gloo"
    store, rank, count = _meet()
    try:
        dist.init_process_group(
            backend, timeout=COLLECTIVE_TIMEOUT, store=store, rank=rank, world_size=count
        )
        control = dist.new_group(backend="gloo", timeout=CONTROL_TIMEOUT)
    except RuntimeError as error:
        raise _unreachable(rank, count, first_line(error)) from None
    ranks, heartbeat = Ranks(rank, count, control), _heartbeat(rank, count, seconds)
    try:
        yield ranks
        heartbeat.leave()
        dist.destroy_process_group()
    except (PeerLostError, StepMemoryError) as error:
        if ranks.main or isinstance(error, StepMemoryError):
            sys.stderr.write(f"irae: error: {error}\n")
        sys.stderr.flush()
        # NCCL kernels that wait for another process would block an orderly exit for ever.
        os._exit(error.exit_code)
    except (IraeError, SystemExit):
        # All processes reach this point together. After any other error some may still wait for
        # this process, and notice only when it exits.
        heartbeat.leave()
        dist.destroy_process_group()
        raise
