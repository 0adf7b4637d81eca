"""``irae benchmark``: trains and measures every cell of a matrix in the same way.

The folder of a benchmark holds ``results.jsonl`` (a line for each finished cell), ``cost.json``,
``samples/`` and ``cells/DATASET/DAMAGE/MODEL/``, the run of each trained cell. A benchmark can be
killed at any moment: the next start drops an incomplete line, resumes the training of the
interrupted cell from its last checkpoint, and computes only what is missing.

Cells are computed one after another. Under ``torchrun`` all processes train each cell together
(`irae.training.distributed`), on the same batches as one process, and the first measures it.

One process at a time works in a folder, or several of which each computes a part of the cells, on
machines that share the folder. Each cell is locked while it is computed.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from irae.errors import BusyError, IraeError
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.changes import hashes_of, note, run_folder, settle_changes
from irae.evaluation.benchmark.cost import Cost, cost_key, measure_costs
from irae.evaluation.benchmark.density_cells import PROTOCOL, DensityCell
from irae.evaluation.benchmark.measure import load_given, load_trained, measure
from irae.evaluation.benchmark.preflight import find_missing, summarise
from irae.evaluation.benchmark.results_file import (
    LOCKS,
    RESULTS_NAME,
    append_result,
    mend_results,
    read_results,
    results_lock,
    write_results,
)
from irae.evaluation.benchmark.train_cell import train_cell
from irae.evaluation.speed.bench import machine
from irae.locks import Lock, lock_file, lock_folder
from irae.runtime import versions
from irae.training.checkpoint import LAST_MODEL, STATE_FILE
from irae.training.console.signals import StopRequested, stopping_at_once
from irae.training.distributed import ALONE, PeerLostError, Ranks, StepMemoryError
from irae.training.time_budget import Stopped


@dataclass
class Outcome:
    """The outcome of a benchmark.

    Attributes:
        finished: names of the cells that this call computed.
        kept: names of the cells that were finished already.
        busy: names of the cells that other processes compute.
        failures: one line for each reason of each failed cell, by name.
        stopped: whether a signal or the time limit ended the call before all cells were tried.
        by_signal: whether it was a signal.
    """

    finished: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    failures: dict[str, list[str]] = field(default_factory=dict)
    stopped: bool = False
    by_signal: bool = False


def done_cells(folder: Path) -> set[str]:
    """Return the names of the finished cells."""
    path = folder / RESULTS_NAME
    return {row["cell"] for row in read_results(path)} if path.is_file() else set()


def cell_state(cell: Cell, folder: Path, done: set[str]) -> str:
    """Return ``done``, ``begun`` (there is a checkpoint) or ``missing``."""
    if cell.name in done:
        return "done"
    return "begun" if (run_folder(cell, folder) / STATE_FILE).is_file() else "missing"


def run_benchmark(
    cells: list[Cell],
    folder: Path,
    device: torch.device,
    *,
    ranks: Ranks = ALONE,
    shard: tuple[int, int] | None = None,
    minutes: float | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Compute the missing cells. Every process of ``ranks`` calls this.

    An error in one cell does not stop the others. What cells lack is found and printed before the
    first training.

    Args:
        cells: cells of one benchmark, from `irae.evaluation.benchmark.cells.plan`.
        folder: folder of the benchmark; made if absent.
        device: the device for training and restoring.
        ranks: the processes that train together.
        shard: ``(i, n)`` to compute the i-th of n parts only (from 1), beside the processes that
            compute the others; see `part`. None for all cells, beside no other process.
        minutes: number of minutes after which to stop; all results are kept.
        overwrite: compute cells again that were computed with another config.
        say: called with lines about the progress; they go to stderr if None.

    Raises:
        UsageError: a cell was computed with another config.
        BusyError: another process works in the folder.
        DataError: the results cannot be read.
        OSError: the disk reports an error.
    """
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    talk = say or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    talk = talk if ranks.main else lambda line: None
    own = part(cells, shard)
    held: list[Lock] = []

    def lock() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        held.append(lock_folder(folder, shared=shard is not None))

    ranks.on_main(lock)
    try:
        with _stoppable(ranks):
            outcome, left, costs = ranks.on_main(lambda: _prepare(cells, own, folder, overwrite))
    except StopRequested:
        return Outcome(stopped=True, by_signal=True)
    for line in summarise(outcome.failures):
        talk(f"failed: {line}")
    talk(f"{len(left)} of {len(own)} cells to compute in {folder}")
    for number, cell in enumerate(left, start=1):
        if ranks.any(time.monotonic() >= deadline):
            outcome.stopped = True
            break
        talk(f"[{number}/{len(left)}] {cell.name}")
        try:
            failure = _attempt(cell, folder, device, ranks, deadline, costs.get(cost_key(cell), {}))
        except Stopped as stop:
            outcome.stopped, outcome.by_signal = True, stop.by_signal
            break
        except StopRequested:
            outcome.stopped = outcome.by_signal = True
            break
        except BusyError:
            outcome.busy.append(cell.name)
            talk(f"{cell.name}: another process computes it")
            continue
        if failure is None:
            outcome.finished.append(cell.name)
        else:
            outcome.failures[cell.name] = [failure]
            talk(f"{cell.name}: failed: {failure}")
    return outcome


def part(cells: list[Cell], shard: tuple[int, int] | None) -> list[Cell]:
    """Return every n-th cell from the i-th on, for ``shard`` (i, n) with i from 1; all if None."""
    return cells if shard is None else cells[shard[0] - 1 :: shard[1]]


def _prepare(
    cells: list[Cell], own: list[Cell], folder: Path, overwrite: bool
) -> tuple[Outcome, list[Cell], dict[str, Cost]]:
    """Settle what has changed, open all that is needed, and measure the costs of all cells.

    Returns:
        The outcome so far, the cells to compute, and the costs.
    """
    outcome = Outcome()
    with results_lock(folder):
        mend_results(folder / RESULTS_NAME)
        hashes, invalid = hashes_of(cells)
        settle_changes([cell for cell in own if cell.name in hashes], hashes, folder, overwrite)
        done = done_cells(folder)
        outcome.kept = [cell.name for cell in own if cell.name in done]
        left = [cell for cell in own if cell.name not in done]
        missing = find_missing([cell for cell in left if cell.name in hashes])
        reasons = {**invalid, **missing}
        outcome.failures = {c.name: reasons[c.name] for c in left if c.name in reasons}
        # The costs of one benchmark are from one run, so one process measures them for all.
        costs = measure_costs([cell for cell in cells if cell.name in hashes], folder)
        _settle_costs([cell for cell in cells if cell.name in hashes], costs, folder)
    return outcome, [cell for cell in left if cell.name not in outcome.failures], costs


def _attempt(
    cell: Cell, folder: Path, device: torch.device, ranks: Ranks, deadline: float, cost: Any
) -> str | None:
    """Compute one cell; return the reason if it failed.

    Raises:
        BusyError: another process computes it.
    """
    failure = None
    lock: list[Lock] = []

    def claim() -> str:
        try:
            lock.append(_lock_cell(cell, folder))
        except BusyError as error:
            return str(error)
        return ""

    if busy := ranks.on_main(claim):
        raise BusyError(busy)
    try:
        if ranks.on_main(lambda: cell.name in done_cells(folder)):
            return None  # Another process has just finished it.
        _compute(cell, folder, device, ranks, deadline, cost)
    except PeerLostError:
        raise
    except StepMemoryError as error:
        if ranks.count > 1:
            raise  # The other processes are still in the middle of the step.
        failure = str(error)
    except IraeError as error:
        failure = str(error)
    except SystemExit:
        # It failed in another process, which reports the reason.
        pass
    finally:
        for each in lock:
            each.release()
    return next((each for each in ranks.gather(failure) if each is not None), None)


def _compute(
    cell: Cell, folder: Path, device: torch.device, ranks: Ranks, deadline: float, cost: Any
) -> None:
    trained = None
    run = run_folder(cell, folder)
    if cell.checkpoint is None:
        ranks.on_main(lambda: note(cell, folder))
        trained = train_cell(cell, run, device, ranks, deadline)

    def finish() -> None:
        # The averaged weights at the end of the budget; no checkpoint is chosen by its score.
        model = load_trained(cell, run / LAST_MODEL) if trained else load_given(cell)
        model.name = cell.model
        with _stoppable(ranks):
            found = measure(cell, model.to(device), folder)
        row = {
            "cell": cell.name,
            "hash": cell.hash(),
            "dataset": cell.dataset,
            "task": cell.task,
            "level": cell.level,
            "model": cell.model,
            "protocol": PROTOCOL if isinstance(cell, DensityCell) else cell.config.protocol,
            "trained": trained,
            **found,
            "cost": cost,
            "machine": machine(device),
            "versions": versions(),
        }
        with results_lock(folder):
            append_result(folder / RESULTS_NAME, row)

    ranks.on_main(finish)


def _stoppable(ranks: Ranks) -> AbstractContextManager[None]:
    """Let a signal stop work that has nothing to save; several processes are ended by it anyway."""
    return stopping_at_once() if ranks.count == 1 else nullcontext()


def _lock_cell(cell: Cell, folder: Path) -> Lock:
    locks = folder / LOCKS
    locks.mkdir(exist_ok=True)
    return lock_file(locks / f"{cell.dataset}--{cell.damage}--{cell.model}.lock")


def _settle_costs(cells: list[Cell], costs: dict[str, Cost], folder: Path) -> None:
    """Update the costs of finished cells, so that all costs are from the latest measurement."""
    path = folder / RESULTS_NAME
    rows = read_results(path) if path.is_file() else []
    now = {cell.name: costs.get(cost_key(cell)) for cell in cells}
    settled = [row | {"cost": now.get(row["cell"]) or row["cost"]} for row in rows]
    if settled != rows:
        write_results(path, settled)
