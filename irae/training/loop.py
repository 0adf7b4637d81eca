"""The training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack

import torch

from irae.errors import DataError
from irae.tasks.base import Batch
from irae.training.console.log import Log
from irae.training.console.signals import stop_requests
from irae.training.run import Run

# On a GPU, number of steps between two checks for non-finite numbers: each waits for the device.
CHECK_EVERY = 10


def train(
    run: Run,
    *,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    max_seconds: float = math.inf,
    save_every: float = math.inf,
    estimate: bool = True,
) -> bool:
    """Train until the schedule ends, a limit is reached, or a signal, and save a checkpoint.

    All processes of the run call this. A limit or a signal that reaches one of them stops all of
    them at the same step.

    Args:
        run: the run from `begin` or `resume`.
        max_steps: total number of steps of the run at which to stop.
        max_minutes: number of minutes of this call after which to stop.
        max_seconds: total number of seconds in the run's steps, `Run.seconds`, at which to stop;
            validation and checkpoints do not count.
        save_every: number of seconds after which a checkpoint is saved, besides those of the
            config.
        estimate: print the remaining time of the schedule after the first minute.

    Returns:
        Whether a signal stopped the run before its limit; see `stop_requests`.

    Raises:
        TrainingError: a loss or gradient is not finite, or another process is gone.
        DataError: many pictures in succession cannot be read; the state has been saved.
    """
    section, ranks = run.config.training, run.ranks
    last = section.steps if max_steps is None else min(section.steps, max_steps)
    if section.threads is not None:
        torch.set_num_threads(section.threads)
    deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    check_every = CHECK_EVERY if run.device.type == "cuda" else 1
    saved = time.monotonic()

    with stop_requests() as signals, ExitStack() as stack:
        log = ranks.together(lambda: Log(run, stack, estimate))
        log.notices()
        batches = run.batches.prefetched(run.step)
        while run.step < last and not ranks.any(
            bool(signals) or time.monotonic() >= deadline or run.seconds >= max_seconds
        ):
            start = time.perf_counter()
            batch = _next(run, batches)
            waited = time.perf_counter() - start
            log.unreadable()
            loss, error = run.train_step.step(batch, run.step + 1)
            run.advance()
            if run.step % check_every == 0 or run.step % section.log_every == 0:
                run.check()
            spent = time.perf_counter() - start
            run.seconds += spent
            log.step(waited, spent)
            if run.step % section.log_every == 0:
                log.training(loss, error)
            if run.step % section.validate_every == 0 or run.step == section.steps:
                log.validation(run.validate())
            late = save_every < math.inf and ranks.any(time.monotonic() >= saved + save_every)
            if late or run.step % section.checkpoint_every == 0:
                run.save()
                saved = time.monotonic()
        batches.close()  # type: ignore[attr-defined]
        run.save()
        run.left_out.update(*ranks.gather(list(run.batches.left_out)))
        return run.step < last and ranks.any(bool(signals))


def _next(run: Run, batches: Iterator[Batch]) -> Batch:
    try:
        return run.ranks.together(lambda: next(batches))
    except (DataError, SystemExit):
        # SystemExit: another process has no batch. The steps since the last checkpoint are good.
        run.save()
        raise


def validate(run: Run) -> None:
    """Validate a run at its current step, outside its schedule, and record the score.

    Raises:
        TrainingError: as for `Run.validate`.
    """
    with ExitStack() as stack:
        log = run.ranks.together(lambda: Log(run, stack))
        log.validation(run.validate())
        run.save()
