"""The report of a benchmark as one page that opens without a network."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from irae.evaluation.report import plots as report_plots
from irae.evaluation.report.pictures import ERROR_GAIN, WINDOW, Strip
from irae.evaluation.report.plots import Plot
from irae.evaluation.report.statistics import METHOD
from irae.evaluation.report.summary import JUDGED, Section, input_score, standings, verdicts
from irae.evaluation.report.tables import (
    COST_HEADER,
    READING,
    TIED,
    VERDICT_HEADER,
    cost_cells,
    cost_row,
    interval_text,
    protocol_text,
    training_text,
    verdict_row,
)
from irae.evaluation.results import format_score, heading

NO_PLOTS = "There are no plots, since matplotlib is not installed: pip install 'irae[report]'"

_PAGE_FILES = files("irae.evaluation") / "page"


class Html(str):
    """Text that is markup already; all other text is escaped by `tag`."""

    __slots__ = ()


def tag(name: str, /, *children: str | None, **attributes: object) -> Html:
    """One element; children and attributes are escaped unless they are `Html`.

    ``class_`` is written ``class`` and ``data_x`` ``data-x``; an attribute of True stands alone,
    one of None or False is left out.
    """
    pairs = "".join(
        f" {key.rstrip('_').replace('_', '-')}"
        + ("" if value is True else f'="{html.escape(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in ("img", "input", "meta", "source"):
        return Html(f"<{name}{pairs}>")
    return Html(f"<{name}{pairs}>{_join(children)}</{name}>")


def _join(children: Sequence[str | None]) -> Html:
    return Html(
        "".join(
            child if isinstance(child, Html) else html.escape(child)
            for child in children
            if child is not None
        )
    )


def html_report(
    found: Sequence[Section],
    settings: Sequence[str],
    shown: Sequence[Strip],
    left_out: int = 0,
    information: dict[str, Any] | None = None,
) -> str:
    """The page.

    Args:
        found: what was measured.
        settings: lines about machine and versions.
        shown: sample pictures.
        left_out: how many more there would be.
        information: of ``information.json``; None without.
    """
    plots = report_plots.available()
    body = [
        tag("h1", "Benchmark"),
        tag("p", _scope(found), class_="lead"),
        _contents(found, shown, information),
        _reading(settings),
        None if plots else tag("p", NO_PLOTS, class_="note"),
        _verdicts(found, plots),
        *(_section(section, place, plots) for place, section in enumerate(found)),
        _pictures(shown, left_out),
        None if information is None else _information(information, plots),
    ]
    style, script = (
        # As the browser hashes it: line ends are part of the text.
        (_PAGE_FILES / name).read_text(encoding="utf-8").replace("\r\n", "\n")
        for name in ("report.css", "report.js")
    )
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)};"
        " base-uri 'none'; form-action 'none'"
    )
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", "Benchmark of restoring models"),
        # An icon of its own, or the browser asks the server for one.
        Html('<link rel="icon" href="data:,">'),
        Html(f"<style>{style}</style>"),
    ]
    script_element = Html(f"<script>{script}</script>")
    page = tag("body", tag("main", *body), script_element)
    return f'<!DOCTYPE html>\n<html lang="en">\n{tag("head", *head)}\n{page}\n</html>\n'


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _scope(found: Sequence[Section]) -> str:
    models = list(dict.fromkeys(model for section in found for model in section.models))
    cells = sum(len(level.cells) for section in found for level in section.levels)
    sets = list(dict.fromkeys(section.dataset for section in found))
    return f"{cells} cells: {', '.join(models)} on {', '.join(sets)}."


def _contents(
    found: Sequence[Section], shown: Sequence[Strip], information: dict[str, Any] | None
) -> Html:
    links = (
        [("#verdicts", "Against the best baseline")]
        if any(verdicts(found, measure) for measure in JUDGED)
        else []
    )
    links += [(f"#section-{place}", section.title) for place, section in enumerate(found)]
    links += [("#pictures", "Pictures")] if shown else []
    links += [("#information", "Information")] if information is not None else []
    items = [tag("li", tag("a", title, href=where)) for where, title in links]
    return tag("nav", tag("ul", *items), aria_label="Contents")


def _reading(settings: Sequence[str]) -> Html:
    return tag(
        "section",
        tag("h2", "How to read this page"),
        tag("p", READING),
        tag("p", METHOD),
        tag("ul", *(tag("li", line) for line in settings)),
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[Html]], caption: str) -> Html:
    head = tag("tr", *(tag("th", text, scope="col") for text in header))
    inner = tag(
        "table",
        tag("caption", caption),
        tag("thead", head),
        tag("tbody", *(tag("tr", *row) for row in rows)),
    )
    # Focusable, so that the keyboard can scroll it too.
    return tag("div", inner, class_="table", tabindex="0", role="region", aria_label=caption)


def _row(cells: Sequence[str]) -> list[Html]:
    return [tag("th", cells[0], scope="row"), *(tag("td", text) for text in cells[1:])]


def _figure(plot: Plot | None) -> Html | None:
    if plot is None:
        return None
    dark = tag("source", srcset=plot.dark, media="(prefers-color-scheme: dark)")
    picture = tag("picture", dark, tag("img", src=plot.light, alt=plot.alternative))
    return tag("figure", picture, tag("figcaption", plot.title), class_="plot")


def _verdicts(found: Sequence[Section], plots: bool) -> Html | None:
    parts: list[Html | None] = []
    for measure in JUDGED:
        judged = verdicts(found, measure)
        if not judged:
            continue
        rows = []
        for verdict in judged:
            row = _row(verdict_row(verdict))
            row[-1] = tag("td", tag("span", verdict.word, class_=f"word {verdict.word}"))
            rows.append(row)
        parts.append(_table(VERDICT_HEADER, rows, heading(measure)))
        parts.append(_figure(report_plots.verdict_plot(found, measure)) if plots else None)
    if not parts:
        return None
    explained = (
        "Every entry of network irae against the model of another network that has the highest"
        " mean there. Difference: entry less baseline, with its interval; p corrected over the"
        " table. A tie is a difference that does not count."
    )
    head = tag("h2", "Entries of irae against the best baseline")
    return tag("section", head, tag("p", explained), *parts, id="verdicts")


def _section(section: Section, place: int, plots: bool) -> Html:
    parts: list[Html | None] = [
        tag("h2", section.title),
        tag("p", protocol_text(section)) if protocol_text(section) else None,
        *(_scores(section, measure) for measure in section.measures),
        _costs(section),
        _options(section),
        tag("div", *map(_figure, report_plots.section_plots(section)), class_="plots")
        if plots
        else None,
    ]
    return tag("section", *parts, id=f"section-{place}")


def _scores(section: Section, measure: str) -> Html:
    before = [input_score(level, measure) for level in section.levels]
    rows = [_row(["damaged", *(format_score(measure, x.mean if x else None) for x in before)])]
    columns = [standings(level, measure) for level in section.levels]
    for model in section.models:
        row = [tag("th", model, scope="row")]
        for column in columns:
            if (standing := column.get(model)) is None:
                row.append(tag("td", "-"))
                continue
            score = format_score(measure, standing.score.mean)
            mark = tag("abbr", TIED, title="tied with the best") if standing.tied else None
            number = tag("b", score) if standing.best else tag("span", score)
            ends = tag("small", interval_text(measure, standing.score))
            row.append(tag("td", number, mark, ends))
        rows.append(row)
    name = heading(measure) + ("" if measure == "ssim" else " (dB)")
    header = ["model", *(level.title for level in section.levels)]
    return _table(header, rows, f"{name}, mean over the pictures and its interval")


def _costs(section: Section) -> Html:
    cells = cost_cells(section)
    rows = [_row([*cost_row(cell), training_text(cell)]) for cell in cells]
    header = [*COST_HEADER, "training"]
    return _table(header, rows, f"Cost and training, at {section.levels[0].name}")


def _options(section: Section) -> Html | None:
    items = [
        tag("li", tag("b", cell["model"]), ": ", ", ".join(f"{k} {v}" for k, v in options.items()))
        for cell in cost_cells(section)
        if (options := cell.get("options"))
    ]
    if not items:
        return None
    return tag("details", tag("summary", "Options of the networks"), tag("ul", *items))


def _pictures(shown: Sequence[Strip], left_out: int) -> Html | None:
    if not shown:
        return None
    explained = (
        "Crops from the middle of the picture at its own scale, and in each a window of"
        f" {WINDOW} pixels magnified without smoothing, at the place with most detail in the clean"
        " picture; click, or use the arrow keys on a picture, to move it. Beside it the error"
        f" against the clean picture times {ERROR_GAIN}: black is none, white 32 of 255 or more."
        " PSNR is of the whole picture."
    )
    more = f" {left_out} more are left out to bound the size of this page." if left_out else ""
    parts = [_strip(strip, place) for place, strip in enumerate(shown)]
    return tag("section", tag("h2", "Pictures"), tag("p", explained + more), *parts, id="pictures")


def _strip(strip: Strip, place: int) -> Html:
    title = f"{strip.picture}, {strip.section.dataset}, {strip.level.name}"
    cards = []
    for number, shown in enumerate(strip.shown):
        score = "" if shown.psnr is None else f"{shown.psnr:.2f} dB"
        alternative = f"{title}: {shown.name}"
        window = tag("span", class_="window", aria_hidden="true")
        image = tag("img", src=shown.picture, alt=alternative, draggable="false")
        whole = tag("div", image, window, class_="whole", tabindex="0", role="application",
                    aria_label=f"{alternative}; arrow keys move the magnified window")  # fmt: skip
        zoom = tag("div", tag("img", alt="", draggable="false"), class_="zoom")
        error = tag("img", src=shown.error, alt=f"error of {shown.name}", class_="error")
        cards.append(
            tag(
                "figure",
                tag("figcaption", tag("b", shown.name), tag("span", score)),
                whole,
                tag("div", zoom, error if shown.error else None, class_="close"),
                class_="card",
                data_number=number,
            )
        )
    left, top = strip.window
    return tag(
        "article",
        tag("h3", title),
        _slider(strip, place),
        tag("div", *cards, class_="cards"),
        class_="strip",
        data_left=f"{left:.4f}",
        data_top=f"{top:.4f}",
        data_share_x=f"{strip.window_share[0]:.4f}",
        data_share_y=f"{strip.window_share[1]:.4f}",
        data_width=strip.size[0],
    )


def _slider(strip: Strip, place: int) -> Html:
    """Two pictures and a divider; the script fills the pictures in from the cards."""
    names = [shown.name for shown in strip.shown]
    ours = {cell["model"] for cell in strip.level.cells if cell["network"] == "irae"}
    # After: an entry of ours if there is one, else the last.
    after = next((i for i, name in enumerate(names) if i > 1 and name in ours), len(names) - 1)

    def choice(side: str, selected: int) -> Html:
        options = [
            tag("option", name, value=i, selected=i == selected) for i, name in enumerate(names)
        ]
        label = f"{side} "
        return tag("label", label, tag("select", *options, class_=side, autocomplete="off"))

    divider = tag(
        "input", type="range", min="0", max="100", step="0.5", value="50", autocomplete="off",
        aria_label=f"divider between the two pictures, {strip.picture}", class_="divider",
    )  # fmt: skip
    stage = tag(
        "div",
        tag("img", class_="under", alt="", draggable="false"),
        tag("img", class_="over", alt="", draggable="false"),
        tag("span", class_="handle", aria_hidden="true"),
        divider,
        class_="stage",
    )
    sizes = [tag("option", "fit", value="fit", selected=True)]
    sizes += [tag("option", f"{n}×", value=n) for n in (1, 2, 4, 8)]
    size = tag("label", "scale ", tag("select", *sizes, class_="scale", autocomplete="off"))
    controls = tag("div", choice("left", 1), choice("right", after), size, class_="controls")
    view = tag("div", stage, class_="view")
    return tag("div", controls, view, class_="slider", id=f"slider-{place}", hidden=True)


def _information(information: dict[str, Any], plots: bool) -> Html:
    noise = information.get("noise")
    validation = information.get("validation") or []
    parts: list[Html | None] = [
        tag("h2", "Information"),
        tag(
            "p",
            "How much of the picture is left in the state of a network, stage by stage. Probe:"
            " PSNR of what can be reconstructed from the state. Mutual information in nats,"
            " estimated from nearest neighbours (KSG; Kraskov, Stögbauer and Grassberger 2004)"
            " and by a network (MINE; Belghazi et al. 2018). A network without noise passes on"
            " infinitely much, so noise"
            + (f" of standard deviation {noise:g}" if noise is not None else "")
            + " is added to the state before it is measured.",
        ),
    ]
    if plots:
        parts.append(_figure(report_plots.validation_plot(validation)))
    if validation:
        keys = {"dimension": "{}", "rho": "{:.2f}", "true": "{:.3f}", "ksg": "{:.3f}",
                "mine": "{:.3f}"}  # fmt: skip
        rows = [_row([_number(row.get(k), form) for k, form in keys.items()]) for row in validation]
        header = ["dimension", "correlation", "true (nats)", "KSG", "MINE"]
        parts.append(_table(header, rows, "Validation of the estimators on Gaussians"))
    for model in information.get("models") or []:
        rows = [
            _row(
                [
                    str(stage["stage"]),
                    _number(stage.get("probe_psnr"), "{:.2f}"),
                    str(stage.get("probe") or "-"),
                    _number(stage.get("ksg"), "{:.3f}"),
                    _number(stage.get("mine"), "{:.3f}"),
                ]
            )
            for stage in model["stages"]
        ]
        header = ["stage", "probe PSNR (dB)", "probe", "KSG (nats)", "MINE (nats)"]
        parts.append(tag("h3", str(model["model"])))
        parts.append(_table(header, rows, f"Stages of {model['model']}"))
        parts.append(_figure(report_plots.stages_plot(model)) if plots else None)
    return tag("section", *parts, id="information")


def _number(value: object, form: str) -> str:
    return "-" if value is None else form.format(value)
