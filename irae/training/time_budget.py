"""Training for a given time: the schedule is fitted to the budget, over any restarts."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch

from irae.config import RunConfig
from irae.errors import UsageError
from irae.training.checkpoint import STATE_FILE
from irae.training.distributed import ALONE, Ranks
from irae.training.loop import train, validate
from irae.training.run import Run, begin, resume

SAVE_EVERY = 120.0
"""Largest number of seconds between two checkpoints, whatever the speed."""

# A schedule needs a number of steps, but the budget is in minutes. At these shares of the budget
# the number is estimated again from the speed so far, so that the learning rate ends with the
# budget on any machine and after any pause.
_RECKONINGS = (0.05, 0.2, 0.5, 0.8, 1.0)

# A warm-up takes no more than this share of the steps; a config's may be longer than the budget.
_WARMUP_SHARE = 0.1

# A schedule may end a little before the budget; a run at this share of it counts as finished.
_USED_UP = 0.95


class Stopped(Exception):  # noqa: N818
    """A signal or the deadline stopped the training; its checkpoint is kept.

    Attributes:
        run: the run.
        by_signal: whether a signal stopped it.
    """

    def __init__(self, run: Run, *, by_signal: bool) -> None:
        super().__init__(f"{run.folder}: stopped")
        self.run, self.by_signal = run, by_signal


def begin_or_resume(config: RunConfig, folder: Path, device: torch.device, ranks: Ranks) -> Run:
    """Resume the run in ``folder`` under this config, or begin it there."""
    if ranks.on_main(lambda: (folder / STATE_FILE).exists()):
        return resume(folder, device, config, ranks)
    return begin(config, folder, device, ranks)


def train_steps(run: Run, deadline: float = math.inf) -> None:
    """Train to the end of the run's schedule.

    Args:
        run: the run from `begin_or_resume`; every process of its ranks calls this.
        deadline: time at which to stop, by `time.monotonic`.

    Raises:
        Stopped: the deadline is reached, or a signal arrived.
        IraeError: the training failed.
    """
    _advance(run, math.inf, deadline)


def train_minutes(
    config: RunConfig,
    folder: Path,
    device: torch.device,
    minutes: float,
    *,
    ranks: Ranks = ALONE,
    deadline: float = math.inf,
) -> Run:
    """Train until a budget of time is used up, resuming the run in ``folder`` if there is one.

    The budget counts the time of training steps (with waiting for pictures) over all starts, but
    not validation and checkpoints. The number of steps of ``config`` is replaced by the number
    that fits the budget, so that the learning rate ends with it. A warm-up that is longer than a
    tenth of these steps is shortened to it.

    Args:
        config: config of the run.
        folder: folder of the run.
        device: the training device.
        minutes: the budget in minutes.
        ranks: the processes that train together; all of them call this.
        deadline: time at which to stop, by `time.monotonic`.

    Raises:
        Stopped: the deadline is reached, or a signal arrived.
        UsageError: the budget is 0.
        IraeError: the training failed.
    """
    if minutes <= 0:
        raise UsageError(f"a training of {minutes:g} minutes has no step; give it more")
    budget = 60 * minutes
    run = begin_or_resume(config, folder, device, ranks)
    if _seconds(run) >= _USED_UP * budget:
        return run
    for share in _RECKONINGS:
        seconds, until = _seconds(run), share * budget
        if seconds >= until:
            continue
        if run.step and seconds >= _RECKONINGS[0] * budget:
            left = max(1, round((budget - seconds) * run.step / seconds))
            changed = config.model_copy(deep=True)
            changed.training.steps = steps = run.step + left
            changed.training.warmup = min(config.training.warmup, round(_WARMUP_SHARE * steps))
            told = run.left_out
            run = resume(folder, device, changed, ranks)
            run.left_out |= told
        # The last step is validated only once the schedule's end has been estimated.
        _advance(run, until, deadline)
    if run.step < run.config.training.steps:
        # Time ran out before the schedule's last step, whose validation is made up for here.
        validate(run)
    return run


def _seconds(run: Run) -> float:
    """Return the main process's seconds of training, so that all processes decide alike."""
    return float(run.ranks.gather(run.seconds)[0])


def _advance(run: Run, until: float, deadline: float) -> None:
    """Train until the last step or ``until`` seconds of training."""
    if _ended(run, until):
        return
    minutes = None if deadline == math.inf else max(0.0, deadline - time.monotonic()) / 60
    by_signal = train(
        run, max_minutes=minutes, max_seconds=until, save_every=SAVE_EVERY, estimate=False
    )
    if not _ended(run, until):
        raise Stopped(run, by_signal=by_signal)


def _ended(run: Run, until: float) -> bool:
    return run.step >= run.config.training.steps or run.ranks.any(run.seconds >= until)
