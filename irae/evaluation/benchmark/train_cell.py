"""Training a cell of a benchmark for its budget with the ordinary training, over any restarts."""

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
    """Train until the budget is used up, resuming the run in ``folder`` if there is one.

    Every process of ``ranks`` calls this.

    Args:
        cell: a cell whose model is trained here.
        folder: folder of its run.
        device: the training device.
        ranks: the processes that train together.
        deadline: time at which to stop, by `time.monotonic`.

    Returns:
        Budget, steps, patches, seconds, seed and number of processes, for the results.

    Raises:
        Stopped: the deadline is reached, or a signal arrived.
        IraeError: the training failed.
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
        "patches": run.step * run.config.training.batch_size,
        "seconds": round(run.seconds, 1),
        "seed": run.config.seed,
        "processes": ranks.count,
    }
