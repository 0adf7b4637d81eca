"""``irae benchmark``: trains and measures every cell of a matrix in the same way.

The folder of a benchmark holds ``results.jsonl`` (a line for each finished cell), ``cost.json``,
``samples/`` and ``cells/DATASET/DAMAGE/MODEL/``, the run of each trained cell. A benchmark can be
killed at any moment: the next start drops an incomplete line, resumes the training of the
interrupted cell from its last checkpoint, and computes only what is missing.

Cells are computed one after another. Under ``torchrun`` all processes train each cell together
(`irae.training.distributed`), on the same batches as one process, and the first measures it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from irae.errors import IraeError, UsageError
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.cost import Cost, cost_key, measure_costs
from irae.evaluation.benchmark.measure import load_given, measure
from irae.evaluation.benchmark.results_file import RESULTS_NAME, read_results
from irae.evaluation.benchmark.train_cell import train_cell
from irae.evaluation.speed.bench import machine
from irae.models.checkpoints.model_file import load_model
from irae.runtime import versions
from irae.training.checkpoint import LAST_MODEL, STATE_FILE
from irae.training.distributed import ALONE, PeerLostError, Ranks, StepMemoryError
from irae.training.time_budget import Stopped
from irae.writing import remove_leftovers, write_atomically

CELLS = "cells"
_CELL_FILE = "cell.json"


@dataclass
class Outcome:
    """The outcome of a benchmark.

    Attributes:
        finished: names of the cells that this call computed.
        kept: names of the cells that were finished already.
        failures: one line with the reason for each failed cell, by name.
        stopped: whether a signal or the time limit ended the call before all cells were tried.
    """

    finished: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    stopped: bool = False


def done_cells(folder: Path) -> set[str]:
    """Return the names of the finished cells."""
    path = folder / RESULTS_NAME
    return {row["cell"] for row in read_results(path)} if path.is_file() else set()


def cell_state(cell: Cell, folder: Path, done: set[str]) -> str:
    """Return ``done``, ``begun`` (there is a checkpoint) or ``missing``."""
    if cell.name in done:
        return "done"
    return "begun" if (_run_folder(cell, folder) / STATE_FILE).is_file() else "missing"


def run_benchmark(
    cells: list[Cell],
    folder: Path,
    device: torch.device,
    *,
    ranks: Ranks = ALONE,
    minutes: float | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] | None = None,
) -> Outcome:
    """Compute the missing cells. Every process of ``ranks`` calls this.

    An error in one cell does not stop the others.

    Args:
        cells: cells of one benchmark, from `irae.evaluation.benchmark.cells.plan`.
        folder: folder of the benchmark; made if absent.
        device: the device for training and restoring.
        ranks: the processes that train together.
        minutes: number of minutes after which to stop; all results are kept.
        overwrite: compute cells again that were computed with another config.
        say: called with lines about the progress; they go to stderr if None.

    Raises:
        UsageError: a cell was computed with another config.
        DataError: the results cannot be read.
        OSError: the disk reports an error.
    """
    deadline = math.inf if minutes is None else time.monotonic() + 60 * minutes
    talk = say or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    talk = talk if ranks.main else lambda line: None
    outcome = Outcome()

    def prepare() -> tuple[set[str], dict[str, str]]:
        folder.mkdir(parents=True, exist_ok=True)
        _mend(folder / RESULTS_NAME)
        hashes, failures = _hashes(cells)
        _settle_changes([cell for cell in cells if cell.name in hashes], hashes, folder, overwrite)
        return done_cells(folder), failures

    done, outcome.failures = ranks.on_main(prepare)
    outcome.kept = [cell.name for cell in cells if cell.name in done]
    left = [c for c in cells if c.name not in done and c.name not in outcome.failures]
    for name, reason in outcome.failures.items():
        talk(f"{name}: failed: {reason}")
    talk(f"{len(left)} of {len(cells)} cells to compute in {folder}")
    sound = [cell for cell in cells if cell.name not in outcome.failures]

    def measured() -> dict[str, Cost]:
        costs = measure_costs(sound, folder)
        _settle_costs(sound, costs, folder)
        return costs

    costs = ranks.on_main(measured)
    for number, cell in enumerate(left, start=1):
        if ranks.any(time.monotonic() >= deadline):
            outcome.stopped = True
            break
        talk(f"[{number}/{len(left)}] {cell.name}")
        try:
            failure = _attempt(cell, folder, device, ranks, deadline, costs.get(cost_key(cell), {}))
        except Stopped:
            outcome.stopped = True
            break
        if failure is None:
            outcome.finished.append(cell.name)
        else:
            outcome.failures[cell.name] = failure
            talk(f"{cell.name}: failed: {failure}")
    return outcome


def _attempt(
    cell: Cell, folder: Path, device: torch.device, ranks: Ranks, deadline: float, cost: Any
) -> str | None:
    """Compute one cell; return the reason if it failed."""
    failure = None
    try:
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
    return next((each for each in ranks.gather(failure) if each is not None), None)


def _compute(
    cell: Cell, folder: Path, device: torch.device, ranks: Ranks, deadline: float, cost: Any
) -> None:
    trained = None
    run = _run_folder(cell, folder)
    if cell.checkpoint is None:
        ranks.on_main(lambda: _note(cell, folder))
        trained = train_cell(cell, run, device, ranks, deadline)

    def finish() -> None:
        # The averaged weights at the end of the budget; no checkpoint is chosen by its score.
        model = load_model(run / LAST_MODEL) if trained else load_given(cell)
        model.name = cell.model
        found = measure(cell, model.to(device), folder)
        row = {
            "cell": cell.name,
            "hash": cell.hash(),
            "dataset": cell.dataset,
            "task": cell.task,
            "level": cell.level,
            "model": cell.model,
            "protocol": cell.config.protocol,
            "trained": trained,
            **found,
            "cost": cost,
            "machine": machine(device),
            "versions": versions(),
        }
        _append(folder / RESULTS_NAME, row)

    ranks.on_main(finish)


def _run_folder(cell: Cell, folder: Path) -> Path:
    return folder / CELLS / cell.dataset / cell.damage / cell.model


def _note(cell: Cell, folder: Path) -> None:
    """Record a cell's config before it is begun, so that a later change is noticed."""
    text = json.dumps({"hash": cell.hash(), "resolved": cell.resolved()}, indent=1) + "\n"
    path = _run_folder(cell, folder) / _CELL_FILE
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _write_results(path: Path, rows: list[dict[str, Any]]) -> None:
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _append(path: Path, row: dict[str, Any]) -> None:
    line = json.dumps(row, allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _mend(path: Path) -> None:
    """Drop an incomplete last line, left by a kill, before another line is appended."""
    remove_leftovers(path.parent)
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_atomically(path, lambda temporary: temporary.write_bytes(whole))


def _hashes(cells: list[Cell]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the hash of each cell, and the reason for those whose config is invalid."""
    hashes, failures = {}, {}
    for cell in cells:
        try:
            hashes[cell.name] = cell.hash()
        except IraeError as error:
            failures[cell.name] = str(error)
    return hashes, failures


def _settle_changes(
    cells: list[Cell], hashes: dict[str, str], folder: Path, overwrite: bool
) -> None:
    """Refuse cells computed with another config, or remove them if ``overwrite``."""
    results = folder / RESULTS_NAME
    rows = read_results(results) if results.is_file() else []
    known = {row["cell"]: row.get("hash") for row in rows}
    changed = set()
    for cell in cells:
        noted = _noted(cell, folder)
        before = known.get(cell.name, noted.get("hash"))
        if before is None or before == hashes[cell.name]:
            continue
        if not overwrite:
            what = _difference(noted.get("resolved", {}), cell.resolved())
            raise UsageError(
                f"{folder}: cell {cell.name} was computed with another config{what}; "
                "use --overwrite to compute it anew, or another -o"
            )
        changed.add(cell.name)
        shutil.rmtree(_run_folder(cell, folder), ignore_errors=True)
    if changed & set(known):
        _write_results(results, [row for row in rows if row["cell"] not in changed])


def _settle_costs(cells: list[Cell], costs: dict[str, Cost], folder: Path) -> None:
    """Update the costs of finished cells, so that all costs are from the latest measurement."""
    path = folder / RESULTS_NAME
    rows = read_results(path) if path.is_file() else []
    now = {cell.name: costs.get(cost_key(cell)) for cell in cells}
    settled = [row | {"cost": now.get(row["cell"]) or row["cost"]} for row in rows]
    if settled != rows:
        _write_results(path, settled)


def _noted(cell: Cell, folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((_run_folder(cell, folder) / _CELL_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _difference(before: Any, now: Any, key: str = "") -> str:
    """Name the first key in which two resolved configs differ, as `` (KEY was A, is B)``."""
    if isinstance(before, dict) and isinstance(now, dict):
        if not before:
            return ""
        for name in [*now, *before]:
            if before.get(name) != now.get(name):
                return _difference(before.get(name), now.get(name), f"{key}.{name}".strip("."))
        return ""
    return f" ({key} was {before}, is {now})"
