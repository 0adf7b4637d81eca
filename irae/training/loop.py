"""The training loop."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from irae.training.checkpoint import METRICS_FILE
from irae.training.objectives.base import ValidationScore
from irae.training.run import Run
from irae.training.step import learning_rate

DEAD_SHARE = 0.05
"""Share of dead hidden units above which a warning names the layer."""

ESTIMATE_AFTER = 60.0
"""Seconds of training after which the remaining time is printed."""

# On a GPU, number of steps between two checks for non-finite numbers: each waits for the device.
CHECK_EVERY = 10


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM, so that they do not end the process in the middle of a step."""
    received: list[int] = []
    old = {
        number: signal.signal(number, lambda n, _: received.append(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def duration(seconds: float) -> str:
    """Format a time such as ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class _Log:
    """Logs a run in its main process: to a progress bar, ``metrics.jsonl`` and TensorBoard."""

    def __init__(self, run: Run, stack: ExitStack, estimate: bool = False) -> None:
        self._run, self._estimate = run, estimate
        steps, step = run.config.training.steps, run.step
        silent = not run.ranks.main
        self._bar = stack.enter_context(
            tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True, disable=silent)
        )
        self._writer, self._log = None, None
        if run.ranks.main:
            writer = SummaryWriter(str(run.folder), purge_step=step + 1)
            self._writer = stack.enter_context(writer)
            log = (run.folder / METRICS_FILE).open("a", encoding="utf-8")
            self._log = stack.enter_context(log)
        self._since = step
        self._waited = self._worked = 0.0

    def step(self, waited: float, spent: float) -> None:
        """Count one step: the seconds that it waited for its batch, and its total seconds."""
        self._waited, self._worked = self._waited + waited, self._worked + spent
        self._bar.update()
        run = self._run
        if self._estimate and run.seconds - spent < ESTIMATE_AFTER <= run.seconds:
            left = (run.config.training.steps - run.step) * run.seconds / run.step
            self._say(f"about {duration(left)} to go, at this speed")

    def begun(self) -> None:
        """Print which pictures were found."""
        self._say(self._run.collection.describe())

    def training(self, loss: Tensor, error: Tensor) -> None:
        """Record the loss and the mean squared error of the step just taken."""
        section, step = self._run.config.training, self._run.step
        start = time.perf_counter()
        values = torch.stack([loss, error]).tolist()  # Waits for the device, so this is...
        worked = max(self._worked + time.perf_counter() - start, 1e-9)  # ...time of the steps.
        phrase, figures = self._run.objective.progress(*values)
        speed = section.batch * (step - self._since) / worked
        waiting = self._waited / worked
        self._since, self._waited, self._worked = step, 0.0, 0.0
        self._bar.set_postfix_str(f"{phrase}, {speed:.0f} patches/s, waiting {waiting:.1%}")
        self._record(
            {
                **figures,
                "learning_rate": learning_rate(step - 1, section),
                "patches_per_second": speed,
                "waiting_share": waiting,
            }
        )

    def validation(self, score: ValidationScore) -> None:
        """Record a validation and print it."""
        self._record(score.record())
        self._say(
            f"step {self._run.step}: {score.describe()}; "
            f"{score.dead:.1%} of hidden units never fire"
        )
        for layer, share in score.mostly_dead(DEAD_SHARE).items():
            self._say(f"warning: {share:.0%} of the hidden units of {layer} never fire")

    def _say(self, line: str) -> None:
        if self._run.ranks.main:
            self._bar.write(line, file=sys.stderr)

    def _record(self, values: dict[str, Any]) -> None:
        if self._log is None or self._writer is None:
            return
        self._log.write(json.dumps({"step": self._run.step, **values}) + "\n")
        self._log.flush()
        for key, value in values.items():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(key, value, self._run.step)


def train(
    run: Run,
    *,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    estimate: bool = True,
) -> None:
    """Train until the schedule ends, a limit is reached, or Ctrl-C, and save a checkpoint.

    All processes of the run call this. A limit or a signal that reaches one of them stops all of
    them at the same step.

    Args:
        run: the run from `begin` or `resume`.
        max_steps: total number of steps of the run at which to stop.
        max_minutes: number of minutes of this call after which to stop.
        estimate: print the remaining time of the schedule after the first minute.

    Raises:
        TrainingError: a loss or gradient is not finite, or another process is gone.
        DataError: a picture cannot be read.
    """
    section, ranks = run.config.training, run.ranks
    last = section.steps if max_steps is None else min(section.steps, max_steps)
    if section.threads is not None:
        torch.set_num_threads(section.threads)
    deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    check_every = CHECK_EVERY if run.device.type == "cuda" else 1

    with _stop_requests() as stop, ExitStack() as stack:
        diary = ranks.together(lambda: _Log(run, stack, estimate))
        if run.step == 0 and run.seconds == 0:
            diary.begun()
        batches = run.batches.prefetched(run.step)
        while run.step < last and not ranks.any(bool(stop) or time.monotonic() >= deadline):
            start = time.perf_counter()
            batch = ranks.together(lambda: next(batches))
            waited = time.perf_counter() - start
            loss, error = run.train_step.step(batch, run.step + 1)
            run.advance()
            if run.step % check_every == 0 or run.step % section.log_every == 0:
                run.check()
            spent = time.perf_counter() - start
            run.seconds += spent
            diary.step(waited, spent)
            if run.step % section.log_every == 0:
                diary.training(loss, error)
            if run.step % section.validate_every == 0 or run.step == section.steps:
                diary.validation(run.validate())
            if run.step % section.checkpoint_every == 0:
                run.save()
        batches.close()  # type: ignore[attr-defined]
        run.save()


def validate(run: Run) -> None:
    """Validate a run at its current step, outside its schedule, and record the score.

    Raises:
        TrainingError: as for `Run.validate`.
    """
    with ExitStack() as stack:
        diary = run.ranks.together(lambda: _Log(run, stack))
        diary.validation(run.validate())
        run.save()
