"""Plots of a report as SVG, each in colours for light and for dark pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from irae.evaluation.information.figures import draw_stages, draw_validation, legend
from irae.evaluation.report.summary import OURS, Section, standings, verdicts
from irae.evaluation.results import format_score, heading, unit
from irae.tasks import get_task, task_names

# Okabe and Ito's colours, which colour-blind readers can distinguish; the first is for irae.
_OURS = "#e8590c"
_COLOURS = ("#0072b2", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#7a5fd0", "#808080")
_MARKERS = "osD^vPX<>h"
_PAGES = {"light": ("#1c2024", "#d0d5da"), "dark": ("#e3e6e9", "#454b52")}


@dataclass(frozen=True)
class Plot:
    """One figure.

    Attributes:
        title: caption.
        light, dark: data URIs of the same figure for light and dark pages.
        alternative: alternative text.
    """

    title: str
    light: str
    dark: str
    alternative: str


def section_plots(section: Section) -> list[Plot]:
    """Plot PSNR against parameters and against time, and each measure against the level."""
    plots = []
    measure = next((m for m in ("psnr", "bits_per_dim") if m in section.measures), None)
    if measure is not None:
        for key, label in (
            ("parameters", "parameters"),
            ("seconds_per_megapixel", "seconds per megapixel"),
        ):
            plot = _scatter(section, measure, key, label)
            plots += [plot] if plot else []
    if len({level.name for level in section.levels}) > 1:
        plots.append(_curves(section))
    return plots


def verdict_plot(found: Sequence[Section], measure: str) -> Plot | None:
    """Plot the differences of irae's entries from the best baseline, with their intervals."""
    judged = verdicts(found, measure)
    if not judged:
        return None
    label = heading(measure)

    def draw(plt: Any, ink: str) -> Any:
        figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.34 * len(judged)))
        for place, verdict in enumerate(judged):
            difference = verdict.comparison.difference
            colour = {"win": "#009e73", "loss": _OURS, "tie": "#808080"}[verdict.word]
            axes.plot([difference.low, difference.high], [place, place], color=colour, lw=2.5)
            axes.plot(difference.mean, place, "o", color=colour, ms=6)
        axes.axvline(0, color=ink, lw=1)
        names = [f"{v.section.dataset}, {v.level.name}: {v.model} − {v.baseline}" for v in judged]
        axes.set_yticks(range(len(judged)), names)
        axes.invert_yaxis()
        axes.set_xlabel(f"difference in {label}{unit(measure)}")
        return figure

    title = f"{label}: entry less best baseline, mean and 95 % interval of the paired difference"
    return _both(title, draw, "The same differences as in the table.")


def _style(name: str, network: str, place: int) -> dict[str, Any]:
    # Matplotlib leaves names that begin with an underscore out of its legend.
    name = f" {name}" if name.startswith("_") else name
    if network in OURS:
        marker = "*" if place == 0 else _MARKERS[place % len(_MARKERS)]
        return {"color": _OURS, "marker": marker, "ms": 13 if place == 0 else 8, "label": name}
    return {
        "color": _COLOURS[place % len(_COLOURS)],
        "marker": _MARKERS[place % len(_MARKERS)],
        "ms": 7,
        "label": name,
    }


def _styles(section: Section) -> dict[str, dict[str, Any]]:
    networks = {c["model"]: str(c["network"]) for level in section.levels for c in level.cells}
    ours = [model for model in section.models if networks[model] in OURS]
    rest = [model for model in section.models if networks[model] not in OURS]
    return {
        model: _style(model, networks[model], place)
        for group in (ours, rest)
        for place, model in enumerate(group)
    }


def _scatter(section: Section, measure: str, key: str, label: str) -> Plot | None:
    points = [
        [
            (c["model"], c["cost"].get(key), standing[c["model"]].score.mean)
            for c in level.cells
            if c["model"] in standing
        ]
        for level in section.levels
        for standing in [standings(level, measure)]
    ]
    if len(section.models) < 2 or not any(x for level in points for _, x, _ in level):
        return None
    styles = _styles(section)
    title = f"{heading(measure)} against {label}"

    def draw(plt: Any, ink: str) -> Any:
        from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

        figure, grid = _panels(plt, len(section.levels))
        for axes, level, rows in zip(grid, section.levels, points, strict=True):
            axes.set_title(level.name, fontsize=10, color=ink)
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
            axes.xaxis.set_minor_formatter(NullFormatter())
            for model, x, y in rows:
                if x:
                    axes.plot(x, y, ls="", **styles[model])
                else:
                    # Zero has no place on a logarithmic axis, so it is drawn as a horizontal line.
                    colour = styles[model]["color"]
                    axes.axhline(y, color=colour, ls="--", lw=1.4, label=f"{model} (none)")
            axes.margins(0.15)
        _label(grid, label, heading(measure) + unit(measure))
        legend(figure, grid)
        return figure

    words = "; ".join(
        f"{level.name}: "
        + ", ".join(
            f"{model} {format_score(measure, y)}{unit(measure)} at {x:.3g}"
            for model, x, y in rows
            if x
        )
        for level, rows in zip(section.levels, points, strict=True)
    )
    return _both(title, draw, f"{title}. {words}.")


def _curves(section: Section) -> Plot:
    styles = _styles(section)
    measures = section.measures
    numeric = all(isinstance(level.level, int | float) for level in section.levels)
    table = {m: [standings(level, m) for level in section.levels] for m in measures}

    def draw(plt: Any, ink: str) -> Any:
        del ink
        figure, grid = _panels(plt, len(measures))
        where = [float(x.level) if numeric else float(i) for i, x in enumerate(section.levels)]
        for axes, measure in zip(grid, measures, strict=True):
            for model in section.models:
                known = [
                    (x, column[model].score.mean)
                    for x, column in zip(where, table[measure], strict=True)
                    if model in column
                ]
                if known:
                    axes.plot(*zip(*known, strict=True), lw=1.6, **styles[model])
            axes.set_xticks(where, [f"{x.level}" for x in section.levels])
            axes.set_xlabel(_axis(section))
            axes.set_ylabel(heading(measure) + unit(measure))
        legend(figure, grid)
        return figure

    names = ", ".join(heading(measure) for measure in measures)
    return _both(f"{names} against the level of damage", draw, "The same means as in the tables.")


def _axis(section: Section) -> str:
    known = section.task in task_names()
    return get_task(section.task).axis if known else "bits per number"


def _panels(plt: Any, count: int) -> tuple[Any, list[Any]]:
    columns = min(3, count)
    rows = -(-count // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(1.2 + 3 * columns, 0.8 + 2.7 * rows), squeeze=False
    )
    every = [axes for row in grid for axes in row]
    for axes in every[count:]:
        axes.set_visible(False)
    return figure, every[:count]


def _label(grid: Sequence[Any], x: str, y: str) -> None:
    for axes in grid:
        axes.set_xlabel(x)
    grid[0].set_ylabel(y)


def _both(title: str, draw: Callable[[Any, str], Any], alternative: str) -> Plot:
    svg = _render(draw)
    dark = svg
    # Drawing is slow, so the figure is drawn once and recoloured.
    for light_colour, dark_colour in zip(_PAGES["light"], _PAGES["dark"], strict=True):
        dark = dark.replace(light_colour, dark_colour)
    return Plot(title, _uri(svg), _uri(dark), alternative)


def _uri(svg: str) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode("ascii")


def _render(draw: Callable[[Any, str], Any]) -> str:
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    ink, faint = _PAGES["light"]
    settings: Any = {
        "axes.edgecolor": faint,
        "axes.facecolor": "none",
        "axes.grid": True,
        "axes.labelcolor": ink,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "figure.constrained_layout.use": True,
        "figure.facecolor": "none",
        "font.size": 9.5,
        "grid.color": faint,
        "grid.linewidth": 0.5,
        "svg.hashsalt": "irae",  # the same page for the same results
        "text.color": ink,
        "text.parse_math": False,  # a name may hold a dollar sign
        "xtick.color": ink,
        "ytick.color": ink,
    }

    class _Plotting:
        """Makes figures without pyplot, which would keep them all and choose a GUI backend."""

        @staticmethod
        def subplots(*shape: int, figsize: tuple[float, float], **options: Any) -> tuple[Any, Any]:
            figure = Figure(figsize=figsize)
            FigureCanvasSVG(figure)
            return figure, figure.subplots(*(shape or (1, 1)), **options)

    with matplotlib.rc_context(settings):
        stream = io.BytesIO()
        draw(_Plotting, ink).savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue().decode()


def validation_plot(rows: Sequence[dict[str, Any]]) -> Plot | None:
    """Plot estimated against true mutual information of Gaussians; None without rows."""
    if not rows:
        return None

    def draw(plt: Any, ink: str) -> Any:
        figure, axes = plt.subplots(figsize=(4.8, 4.2))
        draw_validation(axes, rows, ink)
        return figure

    title = "Estimators on correlated Gaussians, whose mutual information is known"
    return _both(title, draw, "The same numbers as in the table of the validation.")


def stages_plot(model: dict[str, Any]) -> Plot | None:
    """Plot the information that is left at each stage; None without stages."""
    stages = model["stages"]
    if not stages:
        return None

    def draw(plt: Any, ink: str) -> Any:
        del ink
        width = max(5.2, 0.9 * len(stages))
        figure, (upper, lower) = plt.subplots(2, 1, figsize=(width, 4.6), sharex=True)
        draw_stages(upper, lower, model)
        return figure

    title = f"{model['model']}, stage by stage"
    return _both(title, draw, "The same numbers as in the table of this model.")
