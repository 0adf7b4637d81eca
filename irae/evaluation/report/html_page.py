"""The report of a benchmark as one HTML page that opens offline.

This module collects the content of the page as plain data. The templates beside it add the markup
and escape all text, because names of models, sets and pictures are untrusted.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from irae.errors import UsageError
from irae.evaluation.information.figures import can_draw
from irae.evaluation.report import plots, tables
from irae.evaluation.report.pictures import ERROR_GAIN, WINDOW, Strip
from irae.evaluation.report.statistics import METHOD
from irae.evaluation.report.summary import JUDGED, Section

if TYPE_CHECKING:
    from jinja2 import Template

_TEMPLATES = files("irae.evaluation.report") / "templates"


def html_report(
    found: Sequence[Section],
    settings: Sequence[str],
    shown: Sequence[Strip],
    left_out: int = 0,
    information: dict[str, Any] | None = None,
) -> str:
    """Render the page.

    Args:
        found: sections of the benchmark.
        settings: lines about machine and versions.
        shown: strips of sample pictures.
        left_out: number of strips that were left out.
        information: content of ``information.json``, if there is one.

    Raises:
        UsageError: Jinja2 is not installed.
    """
    template = _template("report.html")
    drawn = can_draw()
    style, script = (
        # Line ends are part of the text that the browser hashes.
        (_TEMPLATES / name).read_text(encoding="utf-8").replace("\r\n", "\n")
        for name in ("report.css", "report.js")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    return template.render(
        policy=policy,
        style=style,
        script=script,
        scope=_scope(found),
        reading=(tables.READING, METHOD),
        tied=tables.TIED,
        settings=settings,
        drawn=drawn,
        verdicts=_verdicts(found, drawn),
        sections=[_section(section, drawn) for section in found],
        strips=shown,
        left_out=left_out,
        window=WINDOW,
        error_gain=ERROR_GAIN,
        information=None if information is None else _information(information, drawn),
    )


def _template(name: str) -> Template:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise UsageError(f"{name} needs Jinja2; pip install 'irae[report]'") from None
    environment = Environment(
        loader=PackageLoader("irae.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _scope(found: Sequence[Section]) -> str:
    models = list(dict.fromkeys(model for section in found for model in section.models))
    cells = sum(len(level.cells) for section in found for level in section.levels)
    sets = list(dict.fromkeys(section.dataset for section in found))
    return f"{cells} cells: {', '.join(models)} on {', '.join(sets)}."


def _verdicts(found: Sequence[Section], drawn: bool) -> list[dict[str, Any]]:
    return [
        {"table": table, "plot": plots.verdict_plot(found, measure) if drawn else None}
        for measure in JUDGED
        if (table := tables.verdict_table(found, measure)).rows
    ]


def _section(section: Section, drawn: bool) -> dict[str, Any]:
    return {
        "title": section.title,
        "protocol": tables.protocol_text(section),
        "scores": [tables.score_table(section, measure) for measure in section.measures],
        "costs": tables.cost_table(section),
        "options": [
            (cell["model"], ", ".join(f"{key} {value}" for key, value in options.items()))
            for cell in tables.cost_cells(section)
            if (options := cell.get("options"))
        ],
        "plots": plots.section_plots(section) if drawn else [],
    }


def _information(information: dict[str, Any], drawn: bool) -> dict[str, Any]:
    noise = information.get("noise")
    validation = information.get("validation") or []
    return {
        "noise": None if noise is None else f"{noise:g}",
        "validation": tables.validation_table(validation),
        "plot": plots.validation_plot(validation) if drawn else None,
        "models": [
            {
                "name": model["model"],
                "table": tables.stage_table(model),
                "plot": plots.stages_plot(model) if drawn else None,
            }
            for model in information.get("models") or []
        ],
    }
