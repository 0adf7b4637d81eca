"""Writing the report of a benchmark: CSV, Markdown, LaTeX and one HTML page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from irae.errors import DataError
from irae.evaluation.benchmark.results_file import RESULTS_NAME, read_results
from irae.evaluation.information.results import JSON_NAME
from irae.evaluation.report.html_page import html_report
from irae.evaluation.report.pictures import strips
from irae.evaluation.report.summary import Cell, sections
from irae.evaluation.report.text_files import csv_report, latex_report, markdown_report
from irae.writing import write_atomically


def write_reports(folder: Path) -> list[Path]:
    """Write ``results.csv``, ``results.md``, ``results.tex`` and ``report.html``.

    They are made from ``results.jsonl`` and replace those of an earlier call. The page has sample
    pictures if the cells do, plots if matplotlib is installed, and a section on information if
    ``information.json`` is in the folder. Only the page needs Jinja2.

    Args:
        folder: folder of the benchmark.

    Returns:
        The paths of the files, in that order.

    Raises:
        DataError: the results or the information cannot be read, or no cell is finished.
        UsageError: Jinja2 is not installed; the tables are written, the page is not.
        OSError: a file cannot be written.
    """
    cells = read_results(folder / RESULTS_NAME)
    if not cells:
        raise DataError(f"{folder / RESULTS_NAME} has no finished cell; run the benchmark first")
    information = _read_information(folder / JSON_NAME)
    found = sections(cells)
    settings = [*_settings(cells, "machine"), *_settings(cells, "versions")]
    shown, left_out = strips(folder, found)
    # Each is written before the next is made, since the page fails if Jinja2 is not installed.
    reports: dict[str, Callable[[], str]] = {
        "results.csv": lambda: csv_report(found),
        "results.md": lambda: markdown_report(found, settings),
        "results.tex": lambda: latex_report(found),
        "report.html": lambda: html_report(found, settings, shown, left_out, information),
    }
    for name, report in reports.items():
        save = partial(Path.write_text, data=report(), encoding="utf-8", newline="\n")
        write_atomically(folder / name, save)
    return [folder / name for name in reports]


def _read_information(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        information = json.loads(path.read_bytes())
    except (OSError, ValueError):
        raise DataError(
            f"{path} is not JSON; remove it, or measure the information again"
        ) from None
    if not isinstance(information, dict):
        raise DataError(f"{path} is not a JSON object; remove it, or measure the information again")
    return information


def _settings(cells: Sequence[Cell], key: str) -> list[str]:
    """Return one line for each machine (or set of versions) on which cells were measured."""
    users: dict[str, list[str]] = {}
    for cell in cells:
        said = ", ".join(f"{name} {value}" for name, value in (cell.get(key) or {}).items())
        users.setdefault(said or "not known", []).append(str(cell["cell"]))
    if len(users) == 1:
        return [f"{key}: {said}" for said in users]
    apart = "; times of different machines are not comparable" if key == "machine" else ""
    return [
        f"{key} of {len(names)} cells ({names[0]} and on): {said}{apart}"
        for said, names in users.items()
    ]
