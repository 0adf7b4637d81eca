"""Fill the tables of figures in README.md and docs/ from the files that hold the figures.

    python scripts/fill_tables.py [--check]

A table stands between the lines ``<!-- table: NAME -->`` and ``<!-- end -->``. Its figures come
from three places:

- the cards in the headers of the packaged models, which hold what ``irae eval`` and
  ``irae roundtrip`` measured;
- ``docs/ablation.jsonl``, which ``scripts/ablate`` writes;
- ``docs/results/*.json``, for what is not in a card.

Run it after new weights are packaged or a file of results has changed. With ``--check`` no page is
written, and the exit code is 1 if a page differs from the files.

A file in ``docs/results`` holds named tables of columns and rows. A table has a ``command``, a
``machine``, a ``date`` and perhaps a ``note``, or takes them from its file. A table that is kept as
a record, of networks that are no longer made, has the ``commit`` at which it was measured. The cell
``@denoise/sigma 25/PSNR out`` stands for a figure of that model's card, and ``@denoise/parameters``
for its size. ``weights`` names the packaged models that the other cells were measured with, each
with the first 16 digits of its `weights_checksum`. When a model has changed since, the page says
so.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from irae import load_model
from irae.models.checkpoints.checksums import weights_checksum
from irae.models.checkpoints.model_file import packaged_models
from irae.restoring.model import Model
from irae.tasks import task_names

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
RESULTS = DOCS / "results"
ABLATION = DOCS / "ablation.jsonl"

MARK = re.compile(r"(<!-- table: ([\w -]+) -->\n)(.*?)(^<!-- end -->$)", re.MULTILINE | re.DOTALL)
OUTDATED = "The weights of {} have changed since then; figures from cards are of the new weights."
NUMBER = re.compile(r"[-+*]*\d[\d.,]*\**( (to|\().*|%|/255| ?[kMh]| MB| dB)?|[-–]?")

Row = list[str]


def markdown(columns: Row, rows: list[Row]) -> str:
    """A Markdown table, aligned as plain text too; columns of numbers to the right."""
    cells = [[heading, *column] for heading, *column in zip(columns, *rows, strict=True)]
    widths = [max(3, *map(len, column)) for column in cells]
    right = [all(NUMBER.fullmatch(cell) for cell in column[1:]) for column in cells]

    def line(words: Row) -> str:
        pairs = zip(words, widths, right, strict=True)
        return f"| {' | '.join(w.rjust(n) if r else w.ljust(n) for w, n, r in pairs)} |"

    rule = ["-" * (n - r) + ":" * r for n, r in zip(widths, right, strict=True)]
    return "\n".join([line(columns), f"| {' | '.join(rule)} |", *map(line, rows)])


# The cards.


def models() -> list[str]:
    """Names of the packaged models, in the order of their tasks."""
    tasks = task_names()
    return sorted(packaged_models(), key=lambda name: (tasks.index(model(name).task), name))


@cache
def model(name: str) -> Model:
    """A packaged model."""
    return load_model(name)


@cache
def measured(name: str) -> dict[str, dict[str, str]]:
    """What a card measured: level → column → figure."""
    lines = [line for line in model(name).spec.card["measured"] if line.startswith("|")]
    header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


def test_set(name: str) -> str:
    """The pictures that a card measured on."""
    lines = model(name).spec.card["measured"]
    return next(line.removeprefix("data ").split(",")[0] for line in lines if line[:5] == "data ")


def size(name: str) -> str:
    """The number of parameters, such as ``0.66 M``."""
    return f"{model(name).parameters / 1e6:.2f} M"


def form(name: str) -> str:
    """What kind of network a model is."""
    found = model(name)
    return "lifted" if found.exact else "strict" if found.invertible else "not invertible"


def rounds(name: str) -> list[dict[str, Any]]:
    """The trainings that led to a model; cards without a history have theirs in a file."""
    card = model(name).spec.card
    older = json.loads((RESULTS / "training.json").read_text(encoding="utf-8"))
    missing = [{"machine": older["machine"], **each} for each in older["rounds"].get(name, [])]
    own = {"machine": card["machine"], "minutes": 60 * card["hours"], "patches": card["patches"]}
    return card.get("history") or missing or [own]


def card_table(name: str) -> str:
    """What ``irae eval`` printed when a model was packaged."""
    if name not in packaged_models():
        return f"*There is no packaged model `{name}` yet.*"
    return "\n".join(line for line in model(name).spec.card["measured"] if line.startswith("|"))


def summary_table() -> str:
    """One row for each model and level, without noise that is clipped."""
    columns = ["model", "pictures", "damage", "PSNR before", "after", "SSIM before", "after"]
    keys = ["PSNR in", "PSNR out", "SSIM in", "SSIM out"]
    rows = [
        [f"`{name}`", test_set(name), level, *(figures[key] for key in keys)]
        for name in models()
        for level, figures in measured(name).items()
        if not level.endswith(", clipped")
    ]
    return markdown(columns, rows)


def models_table() -> str:
    """Size and training of every packaged model."""
    rows = []
    for name in models():
        minutes = sum(each["minutes"] for each in rounds(name))
        patches = sum(each["patches"] for each in rounds(name))
        parameters = f"{model(name).parameters:,}"
        rows.append([f"`{name}`", form(name), parameters, f"{minutes / 60:.1f} h", f"{patches:,}"])
    return markdown(["model", "form", "parameters", "trained for", "on patches"], rows)


def rounds_table() -> str:
    """Every training of every packaged model."""
    rows = [
        [
            f"`{name}`",
            each["machine"] + (f"; {each['what']}" if "what" in each else ""),
            f"{round(each['minutes'], 1):g}",
            f"{each['patches']:,}",
            each.get("validation", ""),
        ]
        for name in models()
        for each in rounds(name)
    ]
    return markdown(["model", "machine", "minutes", "patches", "then on `photos_val`"], rows)


def round_trips_table() -> str:
    """What running every packaged model backward gives, and what bfloat16 costs it."""
    rows = []
    for name in models():
        card = model(name).spec.card
        exact = card.get("exact_round_trip", "not promised")
        dead = f"{card['dead_units']:.1%}" if "dead_units" in card else "not counted"
        error, cost = f"{card['round_trip']:.4f}/255", f"{card['bfloat16_cost']:.4f} dB"
        rows.append([f"`{name}`", form(name), exact, error, dead, cost])
    columns = ["model", "form", "bit for bit", "plain float32 errs by", "units that never fire"]
    return markdown([*columns, "bfloat16 costs"], rows)


# Ablations.


def ablation_rows() -> list[dict[str, Any]]:
    """Those that ``scripts/ablate`` has measured so far."""
    lines = ABLATION.read_text(encoding="utf-8").splitlines() if ABLATION.exists() else []
    return [json.loads(line) for line in lines]


def ablation_table(measured_rows: list[dict[str, Any]]) -> str:
    """Rows of one budget, start, machine and commit together, the best first."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in measured_rows:
        # Rows of now are of the tree they lie in; older ones name theirs.
        commit = row.get("commit", "")
        key = (row["budget"], row["start"], " ".join(row["changes"]), row["machine"], commit)
        groups.setdefault(key, []).append(row)
    parts = []
    for (budget, start, changes, machine, commit), group in groups.items():
        title = f"{budget} each, from {start or 'the start of each'}"
        title += f", commit {commit}" if commit else ""
        parts.append(f"### {title}\n\n{machine}{'; ' + changes if changes else ''}\n")
        levels = list(group[0]["levels"])
        columns = ["variant", "seed", "parameters", "MACs/pixel", "steps", "seconds", *levels]
        columns += ["mean", "middle", "dead", "round trip"]
        ordered = sorted(group, key=lambda row: -sum(row["levels"].values()))
        parts.append(markdown(columns, [_ablation_cells(row, levels) for row in ordered]) + "\n")
    return "\n".join(parts).rstrip("\n")


def _ablation_cells(row: dict[str, Any], levels: list[str]) -> Row:
    values = [row["levels"][level] for level in levels]
    return [
        row["name"],
        f"{row['seed']}",
        f"{row['parameters']:,}",
        f"{row['macs']:,}",
        f"{row['steps']:,}",
        f"{row['seconds']:.0f}",
        *(f"{value:.2f}" for value in values),
        f"{sum(values) / len(values):.3f}",
        "" if row.get("middle") is None else f"{row['middle']:.3f}",
        "" if row.get("dead") is None else f"{row['dead']:.1%}",
        "" if row["round_trip"] is None else f"{row['round_trip']:.4f}/255",
    ]


# Files of results.


@cache
def results() -> dict[str, dict[str, Any]]:
    """Every table of ``docs/results`` by its name, with what it takes from its file."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        for name, table in content.pop("tables", {}).items():
            if name in found:
                raise SystemExit(f"{path}: there are two tables {name!r}; rename one")
            found[name] = {**content, **table}
    return found


def figures(name: str) -> tuple[Row, list[Row]]:
    """Columns and rows of a table of ``docs/results``, with the figures of cards in them."""
    table = results()[name]
    return table["columns"], [[_cell(cell) for cell in row] for row in table["rows"]]


def _cell(text: str) -> str:
    if not text.startswith("@"):
        return text
    name, _, rest = text[1:].partition("/")
    if rest == "parameters":
        return size(name)
    level, _, column = rest.rpartition("/")
    return measured(name)[level][column]


def outdated(name: str) -> str:
    """A sentence about the models that have changed since a table was measured; else nothing."""
    given = results()[name].get("weights", {})
    changed = [each for each, sum_ in given.items() if weights_checksum(model(each))[:16] != sum_]
    return OUTDATED.format(" and ".join(f"`{each}`" for each in changed)) if changed else ""


def result_table(name: str) -> str:
    """A table of ``docs/results``, and under it how it was measured."""
    table = results()[name]
    command = table["command"]
    command = f"`{command}`" if re.match(r"(irae|python) ", command) else command
    said = {"How": command, "Commit": table.get("commit", ""), "Machine": table["machine"]}
    said["Date"] = table["date"]
    sentences = [f"{word}: {text}." for word, text in said.items() if text]
    under = " ".join([*sentences, table.get("note", ""), outdated(name)]).strip()
    return f"{markdown(*figures(name))}\n\n*{re.sub(' +', ' ', under)}*"


def verdict(name: str) -> str:
    """How far irae is above or below each other network of a table, in words."""
    columns, rows = figures(name)
    label = columns.index("network")
    group = columns.index("pictures") if "pictures" in columns else None
    compared = [at for at, cell in enumerate(rows[0]) if re.fullmatch(r"\d+\.\d+", cell)]
    if "all" in columns:
        compared = [columns.index("all")]
    lines = []
    for pictures in dict.fromkeys("" if group is None else row[group] for row in rows):
        alike = [row for row in rows if group is None or row[group] == pictures]
        ours = next((row for row in alike if row[label] == "irae"), None)
        gaps = [
            f"{_gap([float(ours[at]) - float(row[at]) for at in compared])} {row[label]}"
            for row in alike
            if ours is not None and row is not ours
        ]
        if gaps:
            said = " and ".join(filter(None, [", ".join(gaps[:-1]), gaps[-1]]))
            lines.append(f"- {f'{pictures}: ' if pictures else ''}irae is {said}.")
    return "\n".join([*lines, *([f"\n{outdated(name)}"] if outdated(name) else [])])


def _gap(differences: list[float]) -> str:
    low, high = min(differences), max(differences)
    if low < 0 < high:
        return f"between {-low:.2f} dB below and {high:.2f} dB above"
    near, far = sorted((f"{abs(low):.2f}", f"{abs(high):.2f}"))
    span = near if near == far else f"{near} to {far}"
    return f"{span} dB {'below' if high <= 0 else 'above'}"


def speed_verdict() -> str:
    """How fast the packaged denoiser is beside FFDNet, in words."""
    columns, rows = figures("speed-restore")
    ours = [dict(zip(columns, row, strict=True)) for row in rows if row[0] == "denoise"]
    types = {"fp32": "float32", "bf16": "bfloat16"}
    said = [
        f"{row['x ffdnet']} times as fast as FFDNet in {types[row['precision']]} (at"
        f" {row['of peak']} of the processor's best speed in a convolution)"
        for row in ours
    ]
    return f"The packaged denoiser restores {' and '.join(said)}."


# Pages.

MADE: dict[str, Callable[[], str]] = {
    "summary": summary_table,
    "models": models_table,
    "rounds": rounds_table,
    "round-trips": round_trips_table,
    "verdict speed": speed_verdict,
    "ablation": lambda: ablation_table([r for r in ablation_rows() if "commit" not in r]),
    "ablation-history": lambda: ablation_table([r for r in ablation_rows() if "commit" in r]),
}


def table(name: str) -> str:
    """What stands between the marks of this name.

    Raises:
        SystemExit: there is no such table.
    """
    kind, _, rest = name.partition(" ")
    if name in MADE:
        return MADE[name]()
    if kind == "card":
        return card_table(rest)
    if kind == "verdict" and rest in results():
        return verdict(rest)
    if name in results():
        return result_table(name)
    raise SystemExit(f"there is no table {name!r}; see scripts/fill_tables.py")


def filled(text: str) -> str:
    """A page with its tables as the files say."""
    return MARK.sub(lambda found: f"{found[1]}{table(found[2])}\n{found[4]}", text)


def pages() -> list[Path]:
    """All pages that may hold tables."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def fill(page: Path) -> bool:
    """Fill one page; whether it has changed."""
    before = page.read_text(encoding="utf-8")
    after = filled(before)
    if after != before:
        page.write_text(after, encoding="utf-8")
    return after != before


def main() -> None:
    """Fill all pages, or check them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page is old")
    if parser.parse_args().check:
        texts = {page: page.read_text(encoding="utf-8") for page in pages()}
        old = [page for page, text in texts.items() if filled(text) != text]
        for page in old:
            print(f"{page.relative_to(ROOT)}: differs from the files; run scripts/fill_tables.py")
        sys.exit(1 if old else 0)
    for page in pages():
        if fill(page):
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
