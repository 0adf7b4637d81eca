"""The tables of a benchmark as CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from typing import Any

from irae.evaluation.report.statistics import METHOD, Interval
from irae.evaluation.report.summary import (
    JUDGED,
    BaselineComparison,
    Cell,
    Level,
    Ranking,
    Section,
    input_score,
    standings,
    verdicts,
)
from irae.evaluation.results import decimals, format_score, heading, markdown_table
from irae.tasks.protocols import PROTOCOLS

TIED = "≈"
READING = (
    "In bold the best mean of a column; ≈ marks what is statistically tied with it (the difference"
    " does not count, corrected over the column). Behind a mean, its interval. The interval of a"
    " mean is mostly that pictures differ; models are compared by their differences."
)
COST_HEADER = ("model", "network", "parameters", "MACs per pixel", "s per MP", "peak memory")
VERDICT_HEADER = (
    "where",
    "entry",
    "best baseline",
    "its mean",
    "entry's mean",
    "difference",
    "p",
    "verdict",
)


def interval_text(measure: str, interval: Interval) -> str:
    """``29.90 to 31.02``, or empty where there is none."""
    if math.isnan(interval.low):
        return ""
    return f"{format_score(measure, interval.low)} to {format_score(measure, interval.high)}"


def difference_text(measure: str, interval: Interval) -> str:
    """``+0.31 (+0.20 to +0.42)``."""
    places = decimals(measure)
    if math.isnan(interval.low):
        return f"{interval.mean:+.{places}f}"
    ends = f"{interval.low:+.{places}f} to {interval.high:+.{places}f}"
    return f"{interval.mean:+.{places}f} ({ends})"


def p_text(p: float) -> str:
    """Three decimals, or ``<0.001``."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def si_text(value: float | None, unit: str = "") -> str:
    """Three digits with a metric prefix, such as ``1.30 M``; ``-`` for None."""
    if value is None:
        return "-"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".strip()


def cost_cells(section: Section) -> list[Cell]:
    """One cell per model: that of the first level it was measured at."""
    first: dict[str, Cell] = {}
    for level in section.levels:
        for cell in level.cells:
            first.setdefault(cell["model"], cell)
    return list(first.values())


def cost_row(cell: Cell) -> list[str]:
    """The columns of `COST_HEADER`; the time is of the first level of its table."""
    cost = cell["cost"]
    return [
        str(cell["model"]),
        str(cell["network"]),
        f"{cost['parameters']:,}" if cost.get("parameters") else "none",
        si_text(cost.get("macs_per_pixel")),
        si_text(cost.get("seconds_per_megapixel")),
        si_text(cost.get("peak_memory"), "B"),
    ]


def training_text(cell: Cell) -> str:
    """How the model came to its weights."""
    trained = cell.get("trained")
    if not trained:
        return "given weights" if cell["cost"].get("parameters") else "nothing to train"
    budget = ", ".join(f"{value} {unit}" for unit, value in trained["budget"].items())
    return (
        f"budget {budget}: {trained['steps']:,} steps, {trained['patches']:,} patches,"
        f" {trained['seconds']:.0f} s, seed {trained['seed']}"
    )


def protocol_text(section: Section) -> str:
    """What was done, in one line."""
    known = PROTOCOLS.get(section.protocol)
    return f"Protocol {section.protocol}: {known.summary}." if known else ""


def verdict_row(verdict: BaselineComparison) -> list[str]:
    """The columns of `VERDICT_HEADER`."""
    where = f"{verdict.section.dataset}, {verdict.section.task}, {verdict.level.title}"
    if verdict.section.measured_on == "Y":
        where += ", luma"
    return [
        where,
        verdict.model,
        verdict.baseline,
        format_score(verdict.measure, verdict.theirs),
        format_score(verdict.measure, verdict.ours),
        difference_text(verdict.measure, verdict.comparison.difference),
        p_text(verdict.comparison.p),
        verdict.word,
    ]


def csv_report(found: Sequence[Section]) -> str:
    """One row per data set, damage, model and measure."""
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
    """All tables.

    Args:
        found: what was measured.
        settings: lines about machine and versions.
    """
    lines = ["# Benchmark", "", *(f"- {_markdown(line)}" for line in settings), "", METHOD, ""]
    lines += [READING, ""]
    for measure in JUDGED:
        if judged := verdicts(found, measure):
            title = f"## Entries of irae against the best baseline, {heading(measure)}"
            body = [[_markdown(text) for text in verdict_row(each)] for each in judged]
            lines += [title, "", markdown_table(VERDICT_HEADER, body), ""]
    for section in found:
        lines += [f"## {_markdown(section.title)}", "", protocol_text(section), ""]
        for measure in section.measures:
            header = [heading(measure), *(_markdown(x.title) for x in section.levels)]
            lines += [markdown_table(header, _body(section, measure, _MARKDOWN)), ""]
        body = [
            [_markdown(text) for text in (*cost_row(cell), training_text(cell))]
            for cell in cost_cells(section)
        ]
        lines += [markdown_table([*COST_HEADER, "training"], body), ""]
    return "\n".join(lines)


def latex_report(found: Sequence[Section]) -> str:
    """One table per section and measure; needs the package booktabs."""
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


# How a table is written: text, bold, mark of a tie, interval.
_MARKDOWN = (lambda text: _markdown(text), "**{}**", f" {TIED}", " ({})")
_LATEX = (lambda text: _latex(text), "\\textbf{{{}}}", " $\\approx$", " {{\\small({})}}")


def _body(section: Section, measure: str, style: Any) -> list[list[str]]:
    """Rows of one measure: the damaged pictures, then every model."""
    escape, bold, tie, around = style
    before = [input_score(level, measure) for level in section.levels]
    rows = [["damaged", *(format_score(measure, x.mean if x else None) for x in before)]]
    columns = [standings(level, measure) for level in section.levels]
    for model in section.models:
        row = [escape(model)]
        for column in columns:
            if (standing := column.get(model)) is None:
                row.append("-")
                continue
            text = format_score(measure, standing.score.mean)
            text = bold.format(text) if standing.best else text + tie * standing.tied
            interval = interval_text(measure, standing.score)
            row.append(text + (around.format(interval) if interval else ""))
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
