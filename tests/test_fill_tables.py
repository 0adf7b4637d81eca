"""The figures on pages are those of the models' cards and of the files of results."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPT = REPOSITORY / "scripts" / "fill_tables.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fill_tables", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.process
def test_every_page_says_what_the_files_say() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_figure_is_noticed_and_mended(script: ModuleType) -> None:
    page = "before\n<!-- table: summary -->\n| old |\n<!-- end -->\nafter\n"
    filled = script.filled(page)
    assert filled != page
    assert filled.startswith("before\n<!-- table: summary -->\n| model ")
    assert filled.endswith("|\n<!-- end -->\nafter\n")
    assert script.filled(filled) == filled


def test_an_unknown_table_is_an_error(script: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no-such"):
        script.filled("<!-- table: no-such -->\n<!-- end -->\n")


def test_a_model_that_is_not_packaged_yet_is_said_to_be_missing(script: ModuleType) -> None:
    assert "no packaged model `deblur`" in script.card_table("deblur")


def test_changed_weights_are_told(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {"weights": {"denoise": "0" * 16}}
    monkeypatch.setattr(script, "results", lambda: {"old": changed})
    assert "`denoise` have changed" in script.outdated("old")


def test_a_record_names_the_commit_at_which_it_was_measured(script: ModuleType) -> None:
    records = {name for name, table in script.results().items() if table.get("commit")}
    assert {"first-psnr", "first-information"} <= records
    for name in records:
        assert f"Commit: {script.results()[name]['commit']}." in script.result_table(name)


def test_what_was_measured_before_the_lifted_networks_is_a_record(script: ModuleType) -> None:
    ours = {"irae", "irae-holes", "irae-paper"}
    for name, table in script.results().items():
        shown = {cell for row in table["rows"] for cell in row}
        if table["date"] < "2026-11-24" and shown & ours:
            assert table.get("commit"), f"{name}: name the commit of its strict networks"


def test_gaps_in_words(script: ModuleType) -> None:
    assert script._gap([-0.04, -0.1]) == "0.04 to 0.10 dB below"
    assert script._gap([0.25]) == "0.25 dB above"
    assert script._gap([-0.01, 0.02]) == "between 0.01 dB below and 0.02 dB above"


def test_every_table_has_its_origin_and_is_on_a_page(script: ModuleType) -> None:
    used = {name for page in script.pages() for _, name, _, _ in script.MARK.findall(_text(page))}
    for name, table in script.results().items():
        assert table["date"], name
        assert table["command"], name
        assert len({len(table["columns"]), *map(len, table["rows"])}) == 1, name
        assert name in used, f"no page shows the table {name}"


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _unmarked(script: ModuleType) -> Iterator[tuple[Path, str]]:
    """Every page without its marked tables and without its blocks of code."""
    for page in script.pages():
        text = script.MARK.sub("", _text(page))
        yield page, re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def test_tables_of_figures_stand_between_marks(script: ModuleType) -> None:
    for page, text in _unmarked(script):
        rows = re.findall(r"^\|.*\d\.\d\d.*$", text, re.MULTILINE)
        assert not rows, f"{page}: {rows[0]}: figures go into docs/results or a card"


def test_running_text_repeats_no_figure_of_a_card(script: ModuleType) -> None:
    figures = {
        level[column]
        for name in script.models()
        for level in script.measured(name).values()
        for column in level
        if column.endswith(" out")
    }
    for page, text in _unmarked(script):
        repeated = figures & set(re.findall(r"(?<![\d.])\d+\.\d\d+(?![\d.])", text))
        # The record of earlier models has figures of its own.
        if page.name != "ablation.md":
            assert not repeated, f"{page}: {repeated}: refer to the table"
