"""Training a cell of a benchmark for its budget, by the ordinary training, over any restarts."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch

from irae.config import RunConfig
from irae.errors import TrainingError
from irae.evaluation.cells import Cell
from irae.training.checkpoint import STATE_FILE
from irae.training.distributed import Ranks
from irae.training.loop import train
from irae.training.run import Run, begin, resume

STRETCH = 120.0
"""Seconds between two checkpoints at most, whatever the speed."""

# A schedule needs its number of steps, and a budget in minutes does not say it. At these shares of
# the budget it is reckoned anew from the speed so far: falling rates come where the clock is, on
# any machine and after any pause.
_RECKONINGS = (0.05, 0.2, 0.5, 0.8, 1.0)

# A schedule may end a little before the clock; a cell that was trained so far is not begun again
# when only its measuring is missing.
_USED_UP = 0.95


class Stopped(Exception):  # noqa: N818
    """The user or the clock wants to stop; what was computed is kept."""


def train_cell(
    cell: Cell, folder: Path, device: torch.device, ranks: Ranks, deadline: float = math.inf
) -> dict[str, Any]:
    """Train until the budget is used up, going on from what ``folder`` holds.

    Every process of ``ranks`` calls this. Seconds of a budget count training steps only (waiting
    for pictures included), over all starts together; not validation and checkpoints.

    Args:
        cell: one whose model is trained here.
        folder: of its run.
        device: where to train.
        ranks: the processes that train together.
        deadline: of `time.monotonic`, at which to stop.

    Returns:
        Budget, steps, patches, seconds and seed, for the results.

    Raises:
        Stopped: the deadline is reached, or a signal arrived.
        IraeError: as the training says.
    """
    assert cell.config.budget is not None
    budget = cell.config.budget.model_dump(exclude_none=True)
    if cell.steps is not None:
        run = _start(cell.run_config, folder, device, ranks)
        _advance(run, math.inf, deadline)
    else:
        run = _by_the_clock(cell, folder, device, ranks, deadline)
    return {
        "budget": budget,
        "steps": run.step,
        "patches": run.step * run.config.training.batch,
        "seconds": round(run.seconds, 1),
        "seed": run.config.seed,
        "processes": ranks.count,
    }


def _start(config: RunConfig, folder: Path, device: torch.device, ranks: Ranks) -> Run:
    if ranks.on_main(lambda: (folder / STATE_FILE).exists()):
        return resume(folder, device, config, ranks)
    return begin(config, folder, device, ranks)


def _by_the_clock(
    cell: Cell, folder: Path, device: torch.device, ranks: Ranks, deadline: float
) -> Run:
    assert cell.config.budget is not None and cell.config.budget.minutes is not None
    budget = 60 * cell.config.budget.minutes
    config = cell.run_config
    run = _start(config, folder, device, ranks)
    if _seconds(run) >= _USED_UP * budget:
        return run
    for share in _RECKONINGS:
        seconds, until = _seconds(run), share * budget
        if seconds >= until:
            continue
        if run.step and seconds >= _RECKONINGS[0] * budget:
            left = max(1, round((budget - seconds) * run.step / seconds))
            config = cell.run_config.model_copy(deep=True)
            config.training.steps = run.step + left
            run = resume(folder, device, config, ranks)
        # The one validation is of the last step, and a run whose end is not known has none.
        _advance(run, until, deadline)
    if run.step == 0:
        raise TrainingError(
            f"{cell.name}: not one step fits into a budget of {budget / 60:g} minutes; raise it"
        )
    return run


def _seconds(run: Run) -> float:
    """Those of the main process, so that all decide alike."""
    return float(run.ranks.gather(run.seconds)[0])


def _advance(run: Run, until: float, deadline: float) -> None:
    """Train until the last step or ``until`` seconds of training, in stretches."""
    while run.step < run.config.training.steps and (seconds := _seconds(run)) < until:
        start, step = time.monotonic(), run.step
        length = max(0.0, min(STRETCH, until - seconds, deadline - start))
        train(run, max_minutes=length / 60)
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
