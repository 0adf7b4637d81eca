"""Cells whose config has changed since they were computed, and what of them can be kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from irae.errors import IraeError, UsageError
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.results_file import RESULTS_NAME, read_results, write_results
from irae.writing import write_atomically

CELLS = "cells"
_CELL_FILE = "cell.json"

# The keys of `Cell.resolved` that concern the measuring alone. The damage of a training is the
# test's too, but has keys of its own.
_OF_THE_TEST = {
    "test", "pictures", "level", "subsampling", "masks", "luma", "clipped", "checkpoint", "content"
}  # fmt: skip


def run_folder(cell: Cell, folder: Path) -> Path:
    """Return the folder of a cell's training."""
    return folder / CELLS / cell.dataset / cell.damage / cell.model


def note(cell: Cell, folder: Path) -> None:
    """Record a cell's config before it is begun, so that a later change is noticed."""
    text = json.dumps({"hash": cell.hash(), "resolved": cell.resolved()}, indent=1) + "\n"
    path = run_folder(cell, folder) / _CELL_FILE
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def hashes_of(cells: list[Cell]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the hash of each cell, and the reason for those whose config is invalid."""
    hashes: dict[str, str] = {}
    failures: dict[str, list[str]] = {}
    for cell in cells:
        try:
            hashes[cell.name] = cell.hash()
        except IraeError as error:
            failures[cell.name] = [str(error)]
    return hashes, failures


def settle_changes(
    cells: list[Cell], hashes: dict[str, str], folder: Path, overwrite: bool
) -> None:
    """Refuse cells computed with another config, or remove them if ``overwrite``.

    The trained weights of a cell of which only the test has changed are kept.

    Raises:
        UsageError: a cell was computed with another config, and ``overwrite`` is not set.
    """
    results = folder / RESULTS_NAME
    rows = read_results(results) if results.is_file() else []
    known = {row["cell"]: row.get("hash") for row in rows}
    changed = set()
    for cell in cells:
        noted = _noted(cell, folder)
        before = known.get(cell.name, noted.get("hash"))
        if before is None or before == hashes[cell.name]:
            continue
        trained_alike = _training(noted.get("resolved")) == _training(cell.resolved())
        kept = cell.checkpoint is None and trained_alike
        if not overwrite:
            what = _difference(noted.get("resolved", {}), cell.resolved())
            how = "measure it anew with the weights that it has" if kept else "compute it anew"
            raise UsageError(
                f"{folder}: cell {cell.name} was computed with another config{what}; "
                f"use --overwrite to {how}, or another -o"
            )
        changed.add(cell.name)
        if not kept:
            shutil.rmtree(run_folder(cell, folder), ignore_errors=True)
    if changed & set(known):
        write_results(results, [row for row in rows if row["cell"] not in changed])


def _training(resolved: Any) -> dict[str, Any] | None:
    """Return the part of a resolved config on which trained weights depend."""
    if not isinstance(resolved, dict):
        return None
    return {key: value for key, value in resolved.items() if key not in _OF_THE_TEST}


def _noted(cell: Cell, folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((run_folder(cell, folder) / _CELL_FILE).read_text(encoding="utf-8"))
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
