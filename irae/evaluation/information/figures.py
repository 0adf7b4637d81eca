"""A picture of what was found about information; needs matplotlib (extra ``report``)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from irae.evaluation.information.results import Information, ModelResult
from irae.writing import write_atomically

PNG_NAME = "information.png"

_BLUE, _ORANGE, _GREEN = "#1f77b4", "#d95f02", "#1b9e77"


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_information(found: Information, folder: Path) -> Path:
    """Write ``information.png``: the validation, then stage by stage a plot for each model.

    Returns:
        Its path.

    Raises:
        ImportError: matplotlib is not installed, see `can_draw`.
    """
    # Not pyplot: no window, no state shared with whoever imported this.
    from matplotlib.figure import Figure

    count = len(found.models) + 1
    longest = max(len(model.stages) for model in found.models)
    figure = Figure(figsize=(max(7.0, 3 + 0.6 * longest), 4.2 * count), layout="constrained")
    axes = figure.subplots(count, 1, squeeze=False)[:, 0]
    _draw_validation(axes[0], found)
    for axis, model in zip(axes[1:], found.models, strict=True):
        _draw_model(axis, model, found)
    path = folder / PNG_NAME
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=100))
    return path


def _draw_validation(axis: Any, found: Information) -> None:
    true = [row["true"] for row in found.validation]
    axis.plot([0, max(true)], [0, max(true)], color="0.6", linewidth=1, label="exact")
    for key, marker, colour in (("ksg", "o", _ORANGE), ("mine", "^", _GREEN)):
        estimates = [row[key] for row in found.validation]
        axis.plot(true, estimates, marker, color=colour, fillstyle="none", label=key.upper())
    axis.set_xlabel("true mutual information, nats")
    axis.set_ylabel("estimate, nats")
    axis.set_title(f"Estimators on Gaussians, {found.samples} samples")
    axis.legend()


def _draw_model(axis: Any, model: ModelResult, found: Information) -> None:
    stages = model.stages
    places = range(len(stages))
    colours = [_BLUE if stage.probe == "exact inverse" else "#9ecae1" for stage in stages]
    axis.bar(places, [stage.probe_psnr for stage in stages], color=colours, width=0.7)
    for place, stage in enumerate(stages):
        axis.text(place, stage.probe_psnr, f"{stage.probe_psnr:.1f}", ha="center", va="bottom")
    axis.set_ylim(0, max(40.0, 1.12 * max(stage.probe_psnr for stage in stages)))
    axis.set_ylabel("input recovered, dB\n(dark: exact inverse)", color=_BLUE)
    axis.set_xticks(list(places), [stage.stage for stage in stages], rotation=30, ha="right")
    other = axis.twinx()
    for key, marker, colour in (("ksg", "o", _ORANGE), ("mine", "^", _GREEN)):
        estimates = [getattr(stage, key) for stage in stages]
        other.plot(places, estimates, f"{marker}-", color=colour, label=key.upper())
        other.axhline(model.identity[key], color=colour, linewidth=1, linestyle=":")
    other.set_ylim(0, 1.1 * found.settings.ceiling)
    other.set_ylabel(f"mutual information, nats\n(noise {found.settings.noise:g})")
    other.legend(loc="upper left", bbox_to_anchor=(1.16, 1), title="dotted:\nthe input itself")
    axis.set_title(f"{Path(model.model).name} ({model.network})")
