"""The summary of a benchmark's cells for its tables: means, the best models, and ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from irae.evaluation.report.statistics import (
    Comparison,
    Interval,
    bootstrap_interval,
    compare,
    holm,
)
from irae.evaluation.results import measures, sign
from irae.tasks.protocols import PROTOCOLS

Cell = dict[str, Any]

# The measures by which irae's entries are compared with the best baseline.
JUDGED = ("psnr", "ssim", "bits_per_dim")

OURS = ("irae", "density")
"""Networks of this project, for restoring and as a density."""


@dataclass(frozen=True)
class Ranking:
    """The rank of one model in one column of a table.

    Attributes:
        score: mean over the pictures, with its interval.
        best: whether its mean is the best of two or more models.
        tied: whether its difference from the best does not count.
        against_best: the best minus this model, corrected within the column; None for the best.
    """

    score: Interval
    best: bool = False
    tied: bool = False
    against_best: Comparison | None = None


@dataclass(frozen=True)
class Level:
    """Cells that may be compared: they have the same set, damage, protocol and pictures."""

    level: Any
    name: str
    pictures: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def title(self) -> str:
        """The heading of its column."""
        return f"{self.name}, {len(self.pictures)} pictures"


@dataclass(frozen=True)
class Section:
    """One data set and task under one protocol.

    Attributes:
        measured_on: ``RGB``, or ``Y`` for scores of the luma; the two are never compared.
    """

    dataset: str
    task: str
    protocol: str
    measured_on: str
    levels: tuple[Level, ...]

    @property
    def title(self) -> str:
        """The title, such as ``celeba, denoise, protocol standard``."""
        on_luma = ", luma only" if self.measured_on == "Y" else ""
        rules = f"protocol {self.protocol}" if self.protocol in PROTOCOLS else self.protocol
        return f"{self.dataset}, {self.task}{on_luma}, {rules}"

    @property
    def models(self) -> list[str]:
        """Names of the models, in the order of the results."""
        return list(dict.fromkeys(c["model"] for level in self.levels for c in level.cells))

    @property
    def measures(self) -> list[str]:
        """Measures that any cell has, in the order of `irae.evaluation.results.measures`."""
        cells = [cell for level in self.levels for cell in level.cells]
        return [m for m in measures() if any(scores(cell, m) is not None for cell in cells)]


@dataclass(frozen=True)
class BaselineComparison:
    """The comparison of an entry of irae with the best baseline.

    Attributes:
        comparison: the entry minus the baseline, corrected over all verdicts on the same measure.
    """

    section: Section
    level: Level
    measure: str
    model: str
    baseline: str
    ours: float
    theirs: float
    comparison: Comparison

    @property
    def word(self) -> str:
        """``win``, ``loss`` or ``tie``; a tie is a difference that does not count."""
        if not self.comparison.significant:
            return "tie"
        better = sign(self.measure) * self.comparison.difference.mean > 0
        return "win" if better else "loss"


def scores(cell: Cell, measure: str, side: str = "metrics") -> list[float] | None:
    """Return the scores of a cell, one per picture; None if any picture lacks the measure."""
    values = cell[side].get(measure)
    if not values or any(value is None for value in values):
        return None
    # JSON has no infinity, so the PSNR of equal pictures is the text "inf".
    return [float(value) for value in values]


def sections(cells: Sequence[Cell]) -> list[Section]:
    """Group cells by data set, task, protocol and channel, in the order of the results."""
    grouped: dict[tuple[str, str, str, str], list[Cell]] = {}
    for cell in cells:
        dataset, task, protocol = (str(cell[key]) for key in ("dataset", "task", "protocol"))
        key = (dataset, task, protocol, str(cell.get("measured_on", "RGB")))
        grouped.setdefault(key, []).append(cell)
    return [Section(*key, levels=_levels(rows)) for key, rows in grouped.items()]


def _levels(cells: Sequence[Cell]) -> tuple[Level, ...]:
    grouped: dict[tuple[Any, str, tuple[str, ...]], list[Cell]] = {}
    for cell in cells:
        key = (cell["level"], str(cell["level_name"]), tuple(map(str, cell["pictures"])))
        grouped.setdefault(key, []).append(cell)
    levels = [Level(*key, cells=tuple(rows)) for key, rows in grouped.items()]
    if all(isinstance(level.level, int | float) for level in levels):
        levels.sort(key=lambda level: float(level.level))
    return tuple(levels)


def standings(level: Level, measure: str) -> dict[str, Ranking]:
    """Rank every model that has the measure, by name."""
    found = {c["model"]: s for c in level.cells if (s := scores(c, measure)) is not None}
    if not found:
        return {}
    standing = {model: Ranking(bootstrap_interval(values)) for model, values in found.items()}
    best = max(standing, key=lambda model: sign(measure) * standing[model].score.mean)
    others = [model for model in found if model != best]
    comparisons = _corrected([compare(found[best], found[model]) for model in others])
    # A single model is not marked as best.
    standing[best] = replace(standing[best], best=bool(others))
    for model, comparison in zip(others, comparisons, strict=True):
        standing[model] = replace(
            standing[model], tied=not comparison.significant, against_best=comparison
        )
    return standing


def input_score(level: Level, measure: str) -> Interval | None:
    """Return the mean score of the damaged pictures."""
    values = scores(level.cells[0], measure, "input")
    return None if values is None else bootstrap_interval(values)


def verdicts(found: Sequence[Section], measure: str) -> list[BaselineComparison]:
    """Compare every entry of the networks `OURS` with the best baseline, if there is one."""
    drafts = []
    for section in found:
        for level in section.levels:
            known = [(c, s) for c in level.cells if (s := scores(c, measure)) is not None]
            baselines = [(c, s) for c, s in known if c["network"] not in OURS]
            if not baselines:
                continue
            rival, theirs = max(baselines, key=lambda pair: sign(measure) * sum(pair[1]))
            for cell, ours in known:
                if cell["network"] in OURS:
                    means = (sum(ours) / len(ours), sum(theirs) / len(theirs))
                    names = (measure, cell["model"], rival["model"])
                    drafts.append(
                        BaselineComparison(section, level, *names, *means, compare(ours, theirs))
                    )
    corrected = _corrected([draft.comparison for draft in drafts])
    return [replace(d, comparison=c) for d, c in zip(drafts, corrected, strict=True)]


def _corrected(comparisons: Sequence[Comparison]) -> list[Comparison]:
    p_values = holm([comparison.p for comparison in comparisons])
    return [replace(c, p=p) for c, p in zip(comparisons, p_values, strict=True)]
