"""The report of a benchmark as text: CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from irae.evaluation.report.statistics import METHOD
from irae.evaluation.report.summary import (
    JUDGED,
    Cell,
    Level,
    Ranking,
    Section,
    input_score,
    standings,
)
from irae.evaluation.report.tables import (
    READING,
    TIED,
    Table,
    cost_table,
    protocol_text,
    score_table,
    training_text,
    verdict_table,
)
from irae.evaluation.results import heading, markdown_table


def csv_report(found: Sequence[Section]) -> str:
    """Write CSV with one row per data set, damage, model and measure."""
    rows = [
        _csv_row(section, level, measure, cell, standing)
        for section in found
        for level in section.levels
        for measure in section.measures
        for standing in [standings(level, measure)]
        for cell in level.cells
        if cell["model"] in standing
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else ["dataset"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


def _csv_row(
    section: Section, level: Level, measure: str, cell: Cell, standing: dict[str, Ranking]
) -> dict[str, Any]:
    mine = standing[cell["model"]]
    before = input_score(level, measure)
    trained = cell.get("trained") or {}
    against = mine.against_best
    return {
        "dataset": section.dataset,
        "task": section.task,
        "protocol": section.protocol,
        "measured_on": section.measured_on,
        "level": level.name,
        "pictures": len(level.pictures),
        "model": cell["model"],
        "network": cell["network"],
        "measure": measure,
        "input": None if before is None else before.mean,
        "mean": mine.score.mean,
        "low": mine.score.low,
        "high": mine.score.high,
        "best": int(mine.best),
        "tied": int(mine.tied),
        "p_against_best": None if against is None else against.p,
        "training": training_text(cell),
        "steps": trained.get("steps"),
        "seconds": trained.get("seconds"),
        "parameters": cell["cost"].get("parameters"),
        "macs_per_pixel": cell["cost"].get("macs_per_pixel"),
        "seconds_per_megapixel": cell["cost"].get("seconds_per_megapixel"),
        "peak_memory": cell["cost"].get("peak_memory"),
    }


def markdown_report(found: Sequence[Section], settings: Sequence[str]) -> str:
    """Write all tables in Markdown.

    Args:
        found: sections of the benchmark.
        settings: lines about machine and versions.
    """
    lines = ["# Benchmark", "", *(f"- {_markdown(line)}" for line in settings), "", METHOD, ""]
    lines += [READING, ""]
    for measure in JUDGED:
        if (table := verdict_table(found, measure)).rows:
            title = f"## Entries of irae against the best baseline, {table.caption}"
            lines += [title, "", _markdown_texts(table), ""]
    for section in found:
        lines += [f"## {_markdown(section.title)}", "", protocol_text(section), ""]
        for measure in section.measures:
            header = [heading(measure), *(_markdown(x.title) for x in section.levels)]
            lines += [markdown_table(header, markdown_scores(section, measure)), ""]
        lines += [_markdown_texts(cost_table(section)), ""]
    return "\n".join(lines)


def markdown_scores(section: Section, measure: str) -> list[list[str]]:
    """Return the rows of a score table: the name, then at each level the mean and its interval."""
    return _body(section, measure, _MARKDOWN)


def _markdown_texts(table: Table) -> str:
    return markdown_table(table.header, [[_markdown(text) for text in row] for row in table.rows])


def latex_report(found: Sequence[Section]) -> str:
    """Write one LaTeX table per section and measure; they need the package booktabs."""
    lines = [
        "% Needs \\usepackage{booktabs}.",
        *(f"% {part}" for part in METHOD.replace(". ", ".\n").split("\n")),
    ]
    for section in found:
        for measure in section.measures:
            columns = [f"{_latex(x.name)} ($n={len(x.pictures)}$)" for x in section.levels]
            body = _body(section, measure, _LATEX)
            caption = (
                f"{heading(measure)}, {section.title}. Mean over $n$ pictures with its 95"
                " % bootstrap interval; bold: best; ≈: tied with the best (Wilcoxon"
                " signed-rank, Holm-corrected)."
            )
            lines += [
                "",
                "\\begin{table}",
                "  \\centering",
                f"  \\caption{{{_latex(caption, keep='$')}}}",
                f"  \\begin{{tabular}}{{l{'r' * len(columns)}}}",
                "    \\toprule",
                f"    {' & '.join(['model', *columns])} \\\\",
                "    \\midrule",
                *(f"    {' & '.join(row)} \\\\" for row in body),
                "    \\bottomrule",
                "  \\end{tabular}",
                "\\end{table}",
            ]
    return "\n".join(lines) + "\n"


# The markup of a format: escaping of text, bold, mark of a tie, interval.
_MARKDOWN = (lambda text: _markdown(text), "**{}**", f" {TIED}", " ({})")
_LATEX = (lambda text: _latex(text), "\\textbf{{{}}}", " $\\approx$", " {{\\small({})}}")


def _body(section: Section, measure: str, style: Any) -> list[list[str]]:
    """Return the rows of a score table with markup."""
    escape, bold, tie, around = style
    rows = []
    for name, *cells in score_table(section, measure).rows:
        row = [escape(name)]
        for cell in cells:
            text = bold.format(cell.mean) if cell.best else cell.mean + tie * cell.tied
            row.append(text + (around.format(cell.interval) if cell.interval else ""))
        rows.append(row)
    return rows


def _markdown(text: str) -> str:
    flat = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", flat)


_LATEX_SPECIAL = {
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "≈": "$\\approx$",
    **{each: f"\\{each}" for each in "&%$#_{}"},
}


def _latex(text: str, keep: str = "") -> str:
    return "".join(x if x in keep else _LATEX_SPECIAL.get(x, x) for x in " ".join(text.split()))
