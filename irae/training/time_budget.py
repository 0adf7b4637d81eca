"""Training for a given time: a schedule whose end comes where the clock is, over any restarts."""

from __future__ import annotations

import math
import time
from pathlib import Path

import torch

from irae.config import RunConfig
from irae.errors import TrainingError
from irae.training.checkpoint import STATE_FILE
from irae.training.distributed import ALONE, Ranks
from irae.training.loop import train, validate
from irae.training.run import Run, begin, resume

STRETCH = 120.0
"""Seconds between two checkpoints at most, whatever the speed."""

# A schedule needs its number of steps, and a budget in minutes does not say it. At these shares of
# the budget it is reckoned anew from the speed so far: falling rates come where the clock is, on
# any machine and after any pause.
_RECKONINGS = (0.05, 0.2, 0.5, 0.8, 1.0)

# A schedule may end a little before the clock; a run that was trained so far is not begun again.
_USED_UP = 0.95


class Stopped(Exception):  # noqa: N818
    """The user or the clock wants to stop; what was computed is kept."""


def begin_or_resume(config: RunConfig, folder: Path, device: torch.device, ranks: Ranks) -> Run:
    """Go on with the run in ``folder`` under this config, or begin it there."""
    if ranks.on_main(lambda: (folder / STATE_FILE).exists()):
        return resume(folder, device, config, ranks)
    return begin(config, folder, device, ranks)


def train_steps(run: Run, deadline: float = math.inf) -> None:
    """Train to the end of the run's schedule.

    Args:
        run: from `begin_or_resume`; every process of its ranks calls this.
        deadline: of `time.monotonic`, at which to stop.

    Raises:
        Stopped: the deadline is reached, or a signal arrived.
        IraeError: as the training says.
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
    """Train until a budget of time is used up, going on from what ``folder`` holds.

    The budget counts training steps only (waiting for pictures included), over all starts
    together; not validation and checkpoints. The number of steps of ``config`` is replaced by the
    number that fits the budget, so that the learning rate ends where the time does.

    Args:
        config: of the run.
        folder: of the run.
        device: where to train.
        minutes: the budget.
        ranks: the processes that train together; all of them call this.
        deadline: of `time.monotonic`, at which to stop.

    Raises:
        Stopped: the deadline is reached, or a signal arrived.
        IraeError: as the training says; or not one step fits into the budget.
    """
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
            changed.training.steps = run.step + left
            run = resume(folder, device, changed, ranks)
        # A run whose end is not known yet has no last step to validate.
        _advance(run, until, deadline)
    if run.step == 0:
        raise TrainingError(f"not one step fits into a budget of {minutes:g} minutes; raise it")
    if run.step < run.config.training.steps:
        # The clock was faster than reckoned. What the last, gentlest steps gained counts, too.
        validate(run)
    return run


def _seconds(run: Run) -> float:
    """Those of the main process, so that all decide alike."""
    return float(run.ranks.gather(run.seconds)[0])


def _advance(run: Run, until: float, deadline: float) -> None:
    """Train until the last step or ``until`` seconds of training, in stretches."""
    while run.step < run.config.training.steps and (seconds := _seconds(run)) < until:
        start, step = time.monotonic(), run.step
        length = max(0.0, min(STRETCH, until - seconds, deadline - start))
        train(run, max_minutes=length / 60, estimate=False)
        now = time.monotonic()
        interrupted = run.step < run.config.training.steps and now < start + length
        # What is left may be too short for a step.
        idle = run.step == step and until - seconds < 1
        if run.ranks.any(interrupted or now >= deadline):
            if run.step < run.config.training.steps and _seconds(run) < until:
                raise Stopped
            return
        if run.ranks.any(idle):
            return
