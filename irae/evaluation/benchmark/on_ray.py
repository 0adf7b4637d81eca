"""A benchmark on a Ray cluster: one task for each cell, on one GPU or all cores of a machine."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from irae.errors import IraeError, UsageError
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.runner import Outcome, run_benchmark
from irae.runtime import select_device, use_device


def run_on_ray(
    ray: Any,
    cells: list[Cell],
    folder: Path,
    device: str,
    *,
    minutes: float | None = None,
    overwrite: bool = False,
    say: Callable[[str], None],
) -> Outcome:
    """Compute the missing cells on a cluster whose machines share the working folder and the data.

    Each task is a part of `run_benchmark` with one cell, so a cell whose machine is lost is begun
    again by Ray and goes on from its last checkpoint.

    Args:
        ray: the module `ray`, connected.
        cells: cells of one benchmark.
        folder: folder of the benchmark.
        device: name of the device, as for `select_device`; ``cpu`` to leave GPUs alone.
        minutes: number of minutes after which to stop; all results are kept.
        overwrite: compute cells again that were computed with another config.
        say: called with lines about the progress.

    Raises:
        UsageError: the cluster has no cores, or a cell was computed with another config.
    """
    deadline = None if minutes is None else time.time() + 60 * minutes
    resources, chosen = _resources(ray, device)
    task = ray.remote(max_retries=3, **resources)(_compute)
    waiting = {
        task.remote(
            cells, (number, len(cells)), str(Path.cwd()), folder, chosen, deadline, overwrite
        ): cells[number - 1]
        for number in range(1, len(cells) + 1)
    }
    total = Outcome()
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        cell = waiting.pop(done)
        try:
            found, lines, error = ray.get(done)
        except ray.exceptions.RayError as lost:
            if isinstance(lost, ray.exceptions.RayTaskError):
                raise  # A bug; its traceback is the worker's.
            total.failures[cell.name] = [f"Ray lost its workers ({str(lost).splitlines()[0]})"]
            continue
        if error is not None:
            raise UsageError(error)
        for line in lines:
            say(line)
        _add(total, found)
    return total


def _resources(ray: Any, device: str) -> tuple[dict[str, int], str]:
    """Return what a task takes of the cluster, and the device that it computes on."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if device != "cpu" and any(node.get("GPU", 0) >= 1 for node in nodes):
        return {"num_gpus": 1}, "cuda"
    cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
    if not cores:
        raise UsageError("the Ray cluster has no free CPU core; give it some (--num-cpus)")
    return {"num_cpus": min(cores)}, "cpu"


def _compute(
    cells: list[Cell],
    part: tuple[int, int],
    current: str,
    folder: Path,
    device: str,
    deadline: float | None,
    overwrite: bool,
) -> tuple[Outcome | None, list[str], str | None]:
    """Compute one cell in a worker: the outcome, the lines about it, and the error of a user."""
    os.chdir(current)  # The names in a config may be relative.
    lines: list[str] = []
    left = None if deadline is None else max(0.0, (deadline - time.time()) / 60)
    try:
        chosen = select_device(device)
        use_device(chosen)
        outcome = run_benchmark(
            cells, folder, chosen, shard=part, minutes=left, overwrite=overwrite, say=lines.append
        )
    except IraeError as error:
        return None, lines, str(error)
    return outcome, [line for line in lines if " cells to compute in " not in line], None


def _add(total: Outcome, found: Outcome) -> None:
    total.finished += found.finished
    total.kept += found.kept
    total.busy += found.busy
    total.failures |= found.failures
    total.stopped |= found.stopped
    total.by_signal |= found.by_signal
