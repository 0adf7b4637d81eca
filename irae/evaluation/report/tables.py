"""The content of a benchmark's tables, as data without markup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from irae.evaluation.report.statistics import Interval
from irae.evaluation.report.summary import (
    BaselineComparison,
    Cell,
    Ranking,
    Section,
    input_score,
    standings,
    verdicts,
)
from irae.evaluation.results import decimals, format_score, heading, unit
from irae.tasks.protocols import PROTOCOLS

TIED = "≈"
READING = (
    "The best mean of a column is bold; ≈ marks means that are statistically tied with it (the"
    " difference does not count, corrected over the column). Each mean is followed by its interval,"
    " which mostly shows that pictures differ; models are compared by their differences."
)
_COSTS = (
    "model",
    "network",
    "parameters",
    "MACs per pixel",
    "s per MP",
    "peak memory",
    "training",
)
_DENSITY_COSTS = ("64 samples", "round trip")
DEQUANTISED = "uniform dequantisation"
DEQUANTISATION = (
    "Bits per dimension of the test pictures: numbers of so many bits, dequantised by uniform"
    " noise, one draw for each picture. They are an upper bound on the code length, so less is"
    " better (Theis et al. 2016). s per MP is the time to score a megapixel of pictures."
)
_VERDICTS = (
    "where",
    "entry",
    "best baseline",
    "its mean",
    "entry's mean",
    "difference",
    "p",
    "verdict",
)
# Keys and number formats of the tables on information.
_VALIDATION = {
    "dimension": "{}", "rho": "{:.2f}", "true": "{:.3f}", "ksg": "{:.3f}", "mine": "{:.3f}",
}  # fmt: skip
_STAGE = {
    "stage": "{}", "probe_psnr": "{:.2f}", "probe": "{}", "ksg": "{:.3f}", "mine": "{:.3f}",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table without markup.

    Attributes:
        caption: caption of the table.
        header: heading of each column.
        rows: each the name of the row, then its cells: texts, or `ScoreCell` in score tables.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class ScoreCell:
    """The score of one model in one column.

    Attributes:
        mean: mean over the pictures as text; ``-`` if unknown.
        interval: both ends of its interval as text, or empty.
        best, tied: see `Ranking`.
    """

    mean: str
    interval: str = ""
    best: bool = False
    tied: bool = False


def interval_text(measure: str, interval: Interval) -> str:
    """Format an interval as ``29.90 to 31.02``; empty if there is none."""
    if math.isnan(interval.low):
        return ""
    return f"{format_score(measure, interval.low)} to {format_score(measure, interval.high)}"


def difference_text(measure: str, interval: Interval) -> str:
    """Format a difference as ``+0.31 (+0.20 to +0.42)``."""
    places = decimals(measure)
    if math.isnan(interval.low):
        return f"{interval.mean:+.{places}f}"
    ends = f"{interval.low:+.{places}f} to {interval.high:+.{places}f}"
    return f"{interval.mean:+.{places}f} ({ends})"


def p_text(p: float) -> str:
    """Format a p-value with three decimals, or as ``<0.001``."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def si_text(value: float | None, unit: str = "") -> str:
    """Format three digits with a metric prefix, such as ``1.3 M``; ``-`` for None."""
    if value is None:
        return "-"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".strip()


def cost_cells(section: Section) -> list[Cell]:
    """Return one cell per model, at the first level at which it was measured."""
    first: dict[str, Cell] = {}
    for level in section.levels:
        for cell in level.cells:
            first.setdefault(cell["model"], cell)
    return list(first.values())


def training_text(cell: Cell) -> str:
    """Describe the training of a cell's model."""
    trained = cell.get("trained")
    if not trained:
        return "given weights" if cell["cost"].get("parameters") else "nothing to train"
    budget = ", ".join(f"{value} {unit}" for unit, value in trained["budget"].items())
    return (
        f"budget {budget}: {trained['steps']:,} steps, {trained['patches']:,} patches,"
        f" {trained['seconds']:.0f} s, seed {trained['seed']}"
    )


def protocol_text(section: Section) -> str:
    """Describe the protocol in one line."""
    if section.protocol == DEQUANTISED:
        return DEQUANTISATION
    known = PROTOCOLS.get(section.protocol)
    return f"Protocol {section.protocol}: {known.summary}." if known else ""


def verdict_table(found: Sequence[Section], measure: str) -> Table:
    """Compare every entry of irae with the best baseline; no rows if there is none."""
    rows = [_verdict_row(verdict) for verdict in verdicts(found, measure)]
    return Table(heading(measure), _VERDICTS, rows)


def _verdict_row(verdict: BaselineComparison) -> list[str]:
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


def score_table(section: Section, measure: str) -> Table:
    """Tabulate one measure at every level: the damaged pictures, then every model."""
    before = [input_score(level, measure) for level in section.levels]
    columns = [standings(level, measure) for level in section.levels]
    damaged = [ScoreCell(format_score(measure, x.mean if x else None)) for x in before]
    rows: list[list[Any]] = [["damaged", *damaged]] if any(before) else []
    for model in section.models:
        rows.append([model, *(_score_cell(measure, column.get(model)) for column in columns)])
    caption = f"{heading(measure)}{unit(measure)}, mean over the pictures and its interval"
    return Table(caption, ["model", *(level.title for level in section.levels)], rows)


def _score_cell(measure: str, standing: Ranking | None) -> ScoreCell:
    if standing is None:
        return ScoreCell("-")
    mean = format_score(measure, standing.score.mean)
    return ScoreCell(mean, interval_text(measure, standing.score), standing.best, standing.tied)


def cost_table(section: Section) -> Table:
    """Tabulate each model's cost at the first level measured, and its training."""
    caption = f"Cost and training, at {section.levels[0].name}"
    cells = cost_cells(section)
    if section.protocol != DEQUANTISED:
        return Table(caption, _COSTS, [_cost_row(cell) for cell in cells])
    rows = [[*_cost_row(cell), *_density_row(cell)] for cell in cells]
    return Table(caption, (*_COSTS, *_DENSITY_COSTS), rows)


def _cost_row(cell: Cell) -> list[str]:
    cost = cell["cost"]
    return [
        str(cell["model"]),
        str(cell["network"]),
        f"{cost['parameters']:,}" if cost.get("parameters") else "none",
        si_text(cost.get("macs_per_pixel")),
        si_text(cost.get("seconds_per_megapixel")),
        si_text(cost.get("peak_memory"), "B"),
        training_text(cell),
    ]


def _density_row(cell: Cell) -> list[str]:
    trip = cell.get("round_trip")
    seconds = cell["cost"].get("seconds_to_sample")
    return [si_text(seconds, "s"), "-" if trip is None else f"{trip:.4f}/255"]


def validation_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Tabulate ``validation`` of ``information.json``; ``-`` for unknown numbers."""
    header = ["dimension", "correlation", "true (nats)", "KSG", "MINE"]
    body = [_texts(row, _VALIDATION) for row in rows]
    return Table("Validation of the estimators on Gaussians", header, body)


def stage_table(model: dict[str, Any]) -> Table:
    """Tabulate one of ``models`` of ``information.json``; ``-`` for unknown values."""
    header = ["stage", "probe PSNR (dB)", "probe", "KSG (nats)", "MINE (nats)"]
    body = [_texts(stage, _STAGE) for stage in model["stages"]]
    return Table(f"Stages of {model['model']}", header, body)


def _texts(row: dict[str, Any], forms: dict[str, str]) -> list[str]:
    values = ((row.get(key), form) for key, form in forms.items())
    return ["-" if value is None else form.format(value) for value, form in values]
