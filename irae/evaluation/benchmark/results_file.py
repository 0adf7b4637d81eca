"""The results of a benchmark: one JSON object per line and finished cell.

Several processes may write to one folder; they take `results_lock` for each change.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from irae.errors import DataError
from irae.locks import Lock, lock_file
from irae.writing import remove_leftovers, write_atomically

RESULTS_NAME = "results.jsonl"

LOCKS = ".locks"
"""The folder of the locks of results and cells in a benchmark's folder."""

_REQUIRED = ("cell", "dataset", "task", "level", "level_name", "model", "network", "protocol")


def results_lock(folder: Path) -> Lock:
    """Wait until no other process changes the results in a benchmark's folder; not re-entrant."""
    (folder / LOCKS).mkdir(exist_ok=True)
    return lock_file(folder / LOCKS / "results.lock", wait=True)


def write_results(path: Path, rows: list[dict[str, Any]]) -> None:
    """Replace all results."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def append_result(path: Path, row: dict[str, Any]) -> None:
    """Add the result of a finished cell, which is on the disk when this returns."""
    line = json.dumps(row, allow_nan=False) + "\n"
    with path.open("a", encoding="utf-8") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def mend_results(path: Path) -> None:
    """Drop an incomplete last line, left by a kill, before another line is appended."""
    remove_leftovers(path.parent)
    if not path.is_file():
        return
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_atomically(path, lambda temporary: temporary.write_bytes(whole))


def read_results(path: Path) -> list[dict[str, Any]]:
    """Read every finished cell, in the order of the file.

    An incomplete last line, left by a crash, is skipped. Of a cell with several lines the last
    is used.

    Returns:
        One dictionary per cell; empty for an empty file.

    Raises:
        DataError: the file cannot be read; a line other than an incomplete last one is not a JSON
            object; a cell lacks a key or does not have one score per picture.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); give the folder of a benchmark"
        ) from None
    *whole, last = content.split(b"\n")
    cells: dict[str, dict[str, Any]] = {}
    for number, line in enumerate([*whole, last], start=1):
        if not line.strip():
            continue
        try:
            cell = json.loads(line)
        except ValueError:
            # Every line is written with its line feed, so only a line without one is incomplete.
            if number == len(whole) + 1:
                continue
            raise DataError(
                f"{path}, line {number} is not JSON; remove the line and run the benchmark again"
            ) from None
        _check(cell, f"{path}, line {number}")
        cells.pop(cell["cell"], None)
        cells[cell["cell"]] = cell
    return list(cells.values())


def _check(cell: Any, where: str) -> None:
    remedy = "remove the line and run the benchmark again"
    if not isinstance(cell, dict):
        raise DataError(f"{where} is not a JSON object; {remedy}")
    lists = ("pictures", "metrics", "input", "cost")
    if missing := [key for key in (*_REQUIRED, *lists) if key not in cell]:
        raise DataError(f"{where} lacks {missing[0]!r}; {remedy}")
    count = len(cell["pictures"])
    for side in ("metrics", "input"):
        for measure, scores in cell[side].items():
            if len(scores) != count:
                raise DataError(
                    f"{where}: {side} has {len(scores)} numbers for {measure!r} and"
                    f" {count} pictures; {remedy}"
                )
