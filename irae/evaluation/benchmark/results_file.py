"""Read the results of a benchmark: one JSON object per line and finished cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from irae.errors import DataError

RESULTS_NAME = "results.jsonl"

_REQUIRED = ("cell", "dataset", "task", "level", "level_name", "model", "network", "protocol")


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
