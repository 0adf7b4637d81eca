"""The site: it builds without a warning, its links lead somewhere, its drawings are right."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
from pages import COMMANDS, DOCS, OUTSIDE, REPOSITORY


@pytest.mark.parametrize("name", OUTSIDE)
def test_links_of_pages_outside_the_site_lead_somewhere(name: str) -> None:
    page = REPOSITORY / name
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        parts = urlsplit(link)
        if not parts.scheme and parts.path:
            assert (page.parent / unquote(parts.path)).exists(), f"{name}: {link}"


def test_the_readme_can_be_read_in_one_go() -> None:
    lines = (REPOSITORY / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 120


def test_a_note_names_its_table_wherever_it_stands() -> None:
    # Tables are filled into pages, and may be moved to another place there.
    for path in sorted((DOCS / "results").glob("*.json")):
        found = re.findall(r"tables? (?:above|below)", path.read_text(encoding="utf-8"))
        assert not found, path.name


def test_signs_forms_and_networks_are_explained() -> None:
    for path in DOCS.rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        if any("≈" in line for line in text.splitlines() if line.startswith("|")):
            assert "≈ marks" in text, path.name
    forms = re.findall(
        r"^\| (\w+) \| `", (DOCS / "model.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(forms) == 3
    overview = (DOCS / "how-it-works.md").read_text(encoding="utf-8")
    assert all(f"*{form}*" in overview for form in forms)
    benchmark = (DOCS / "tutorials" / "benchmark.md").read_text(encoding="utf-8")
    for network in ("gradnet", "contextual-attention", "shift-net", "csa"):
        assert re.search(rf"^- `{network}`, (?:against|for) ", benchmark, re.MULTILINE), network


def allowed_imports() -> Mapping[str, set[str]]:
    """What each room may import besides what all may, as tests/test_architecture.py has it."""
    path = REPOSITORY / "tests" / "test_architecture.py"
    spec = importlib.util.spec_from_file_location("architecture", path)
    assert spec is not None and spec.loader is not None
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    return {room: below for room, below in rule.ALLOWED.items() if room not in rule.COMMON}


def test_the_table_of_rooms_is_the_rule() -> None:
    page = (DOCS / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]*)\|$", page, re.MULTILINE)
    table = {room: set(re.findall(r"\w+", below)) for room, below in rows}
    assert table == allowed_imports()


def test_the_drawing_of_rooms_is_the_rule() -> None:
    drawing = ElementTree.parse(DOCS / "figures" / "architecture.svg")
    arrows = {
        (path.get("data-from"), path.get("data-to"))
        for path in drawing.iter("{http://www.w3.org/2000/svg}path")
        if path.get("data-from")
    }
    allowed = allowed_imports()
    for start, end in arrows:
        assert end in allowed[start], f"the arrow from {start} to {end} is not allowed"
    for room, below in allowed.items():
        reached, waiting = set(), {room}
        while waiting:
            reached |= waiting
            waiting = {end for start, end in arrows if start in waiting} - reached
        assert below <= reached, f"no arrows lead from {room} to {below - reached}"


class Links(HTMLParser):
    """Where a page leads, what it loads by itself, and which places in it can be led to."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value for key, value in attrs if value is not None}
        self.places |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("img", "script", "iframe", "source", "video") and "src" in values:
            self.loads.append(values["src"])
        if tag == "link" and "href" in values and values.get("rel") not in ("search", "canonical"):
            self.loads.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Links]:
    """The built pages, read."""
    for package in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(package, reason="pip install 'irae[docs]'")
    root = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "--quiet", "-b", "html"]
    done = subprocess.run(
        [*build, "-d", str(root / "trees"), str(DOCS), str(root / "site")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = {}
    for path in sorted((root / "site").rglob("*.html")):
        pages[path] = Links()
        pages[path].feed(path.read_text(encoding="utf-8"))
    return pages


def test_links_lead_somewhere(site: dict[Path, Links]) -> None:
    broken = []
    for page, links in site.items():
        for link in [*links.links, *links.loads]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.exists():
                broken.append(f"{page.name}: {link}")
            elif target in site and parts.fragment:
                place = unquote(parts.fragment)
                broken += [] if place in site[target].places else [f"{page.name}: {link}"]
    assert not broken


def test_the_site_loads_nothing_from_elsewhere(site: dict[Path, Links]) -> None:
    for page, links in site.items():
        remote = [link for link in links.loads if urlsplit(link).netloc]
        assert not remote, f"{page.name} loads {remote}"
    root = next(iter(site)).parent
    for style in root.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"(url\(|@import)\s*['\"]?\s*(https?:)?//", text), style.name


def test_every_page_is_in_the_navigation(site: dict[Path, Links]) -> None:
    home = next(page for page in site if page.name == "index.html")
    reached = {
        (home.parent / urlsplit(link).path).resolve()
        for link in site[home].links
        if not urlsplit(link).netloc
    } | {home}
    for page in DOCS.rglob("*.md"):
        assert (home.parent / page.relative_to(DOCS)).with_suffix(".html").resolve() in reached


def test_the_reference_has_every_command_and_every_key(site: dict[Path, Links]) -> None:
    home = next(page for page in site if page.name == "index.html").parent
    commands = (home / "reference" / "commands.html").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert f"irae-{'-'.join(name)}" in site[home / "reference" / "commands.html"].places
    assert "--undoable" in commands
    keys = (home / "reference" / "configuration.html").read_text(encoding="utf-8")
    for key in ("final_learning_rate", "max_round_trip", "holes", "checkpoints"):
        assert f">{key}<" in keys
    assert "share of samples whose noise is clipped" in keys
