"""Plots of a measurement of information; they need matplotlib (extra ``report``).

The functions that draw on given axes are shared: ``irae information`` combines them in one PNG,
the page of a benchmark has an SVG of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from irae.writing import write_atomically

if TYPE_CHECKING:
    from irae.evaluation.information.results import Information

PNG_NAME = "information.png"

# From Okabe and Ito's palette, which colour-blind readers can distinguish.
_PROBE, _KSG, _MINE = "#e8590c", "#0072b2", "#009e73"
_ESTIMATES = (("ksg", "KSG", "o", _KSG), ("mine", "MINE", "s", _MINE))


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def draw_information(found: Information, folder: Path) -> Path:
    """Write ``information.png``: the validation, then a plot by stage for each model.

    Returns:
        The path of the file.

    Raises:
        ImportError: matplotlib is not installed, see `can_draw`.
        OSError: the file cannot be written.
    """
    # Not pyplot, which would open windows and share state with the caller.
    from matplotlib.figure import Figure

    content = found.to_dict()
    heights = [4.2, *(4.8 for _ in found.models)]
    longest = max(len(model.stages) for model in found.models)
    figure = Figure(figsize=(max(7.0, 0.9 * longest), sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    parts[0].suptitle(f"Estimators on Gaussians, {found.samples} samples")
    draw_validation(parts[0].subplots(), content["validation"])
    for part, model in zip(parts[1:], content["models"], strict=True):
        name = f"{Path(model['model']).name} ({model['network']}), noise {content['noise']:g}"
        part.suptitle(name, parse_math=False)
        upper, lower = part.subplots(2, 1, sharex=True)
        draw_stages(upper, lower, model)
        # The values are written in the plot, since no table accompanies it.
        for place, stage in enumerate(model["stages"]):
            where = (place, stage["probe_psnr"])
            text = f"{stage['probe_psnr']:.1f}"
            upper.annotate(text, where, (0, 8), textcoords="offset points", ha="center")
        upper.margins(y=0.3)
        lower.set_ylim(0, 1.1 * content["ceiling"])
    path = folder / PNG_NAME
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=100))
    return path


def draw_validation(axes: Any, rows: Sequence[dict[str, Any]], ink: str = "0.4") -> None:
    """Plot estimated against true mutual information of Gaussians, in nats.

    Args:
        axes: empty axes of matplotlib, alone in their figure or subfigure.
        rows: ``validation`` of ``information.json``, at least one row; an estimate may be None.
        ink: colour of the line of exact estimates.
    """
    top = max(float(row["true"]) for row in rows) * 1.08 or 1.0
    axes.plot([0, top], [0, top], color=ink, lw=1, label="exact")
    for key, label, marker, colour in _ESTIMATES:
        known = [(row["true"], row[key]) for row in rows if row.get(key) is not None]
        if known:
            axes.plot(*zip(*known, strict=True), marker, ls="", color=colour, label=label)
    axes.set_xlabel("true mutual information (nats)")
    axes.set_ylabel("estimate (nats)")
    legend(axes.figure, [axes])


def draw_stages(upper: Any, lower: Any, model: dict[str, Any]) -> None:
    """Plot the information that is left at each stage of a model.

    Args:
        upper: axes of matplotlib for the probes' PSNR in dB; trained decoders are ringed.
        lower: axes below for the mutual information in nats; dotted lines are the input itself.
        model: one of ``models`` of ``information.json``; any number may be None.
    """
    stages = model["stages"]
    names = [str(stage["stage"]) for stage in stages]
    lines = [(lower, *estimate) for estimate in _ESTIMATES]
    for axes, key, label, marker, colour in [(upper, "probe_psnr", "probe", "o", _PROBE), *lines]:
        known = [(i, s[key]) for i, s in enumerate(stages) if s.get(key) is not None]
        if known:
            axes.plot(*zip(*known, strict=True), marker=marker, color=colour, label=label)
    decoded = [
        (place, stage["probe_psnr"])
        for place, stage in enumerate(stages)
        if stage.get("probe") == "trained decoder" and stage.get("probe_psnr") is not None
    ]
    if decoded:
        ring = {"ls": "", "ms": 11, "mfc": "none", "color": _PROBE, "label": "trained decoder"}
        upper.plot(*zip(*decoded, strict=True), "o", **ring)
    for key, _, _, colour in _ESTIMATES:
        level = (model.get("identity") or {}).get(key)
        if level is not None:
            lower.axhline(level, color=colour, lw=1.4, ls=":", label="the input itself")
    upper.set_ylabel("probe PSNR (dB)")
    lower.set_ylabel("information (nats)")
    lower.set_xticks(range(len(stages)), names, rotation=30, ha="right")
    legend(upper.figure, [upper, lower], columns=3)


def legend(figure: Any, grid: Sequence[Any], columns: int = 6) -> None:
    """Add one legend below all axes of a figure or subfigure; each name is listed once."""
    found = {
        label: handle
        for axes in grid
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    columns = min(columns, len(found))
    figure.legend(found.values(), found, loc="outside lower center", ncols=columns, frameon=False)
