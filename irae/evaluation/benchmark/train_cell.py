"""Training a cell of a benchmark for its budget, by the ordinary training, over any restarts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch

from irae.evaluation.benchmark.cells import Cell
from irae.training.distributed import Ranks
from irae.training.time_budget import begin_or_resume, train_minutes, train_steps


def train_cell(
    cell: Cell, folder: Path, device: torch.device, ranks: Ranks, deadline: float = math.inf
) -> dict[str, Any]:
    """Train until the budget is used up, going on from what ``folder`` holds.

    Every process of ``ranks`` calls this.

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
    budget = cell.config.budget
    if cell.steps is not None:
        run = begin_or_resume(cell.run_config, folder, device, ranks)
        train_steps(run, deadline)
    else:
        assert budget.minutes is not None
        run = train_minutes(
            cell.run_config, folder, device, budget.minutes, ranks=ranks, deadline=deadline
        )
    return {
        "budget": budget.model_dump(exclude_none=True),
        "steps": run.step,
        "patches": run.step * run.config.training.batch,
        "seconds": round(run.seconds, 1),
        "seed": run.config.seed,
        "processes": ranks.count,
    }
