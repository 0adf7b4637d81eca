"""The site: it builds without a warning, its links lead somewhere, its commands exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

import pytest
import typer.main
import yaml

from irae.cli.app import app
from irae.config import load_config
from irae.evaluation.benchmark.config import load_benchmark

REPOSITORY = Path(__file__).resolve().parent.parent
DOCS = REPOSITORY / "docs"
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "data/README.md")
PAGES = [*sorted(DOCS.rglob("*.md")), *(REPOSITORY / name for name in OUTSIDE)]
FENCE = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


def leaves(command: object, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every command of the program with its name in words, but for old names that are hidden."""
    commands = getattr(command, "commands", None)
    if commands is None:
        yield name, command
        return
    for word, inner in commands.items():
        if not inner.hidden:
            yield from leaves(inner, (*name, word))


COMMANDS = dict(leaves(typer.main.get_command(app)))


def fences(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of the fenced blocks of a page."""
    for _, language, text in FENCE.findall(page.read_text(encoding="utf-8")):
        yield language, text


def command_lines(page: Path) -> list[str]:
    """The lines of a page's fenced blocks that call the program, without prompt and comment."""
    found = []
    for language, text in fences(page):
        if language in ("", "console", "bash", "sh"):
            lines = text.replace("\\\n", " ").splitlines()
            words = (line.strip().removeprefix("$ ") for line in lines)
            found += [line for line in words if re.match(r"(torchrun .* -m )?irae\s", line)]
    return found


def parse(line: str) -> None:
    """Fail if the program does not know such a command, or an option of it."""
    words = shlex.split(line, comments=True)
    words = words[words.index("irae") + 1 :]
    if words[:1] in (["--version"], ["--help"]):
        return
    for count in (1, 2):
        name = tuple(words[:count])
        if name in COMMANDS:
            COMMANDS[name].make_context(" ".join(name), words[count:])  # type: ignore[attr-defined]
            return
    pytest.fail(f"there is no such command: {line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_on_a_page_can_be_given(page: Path) -> None:
    for line in command_lines(page):
        try:
            parse(line)
        except Exception as error:
            pytest.fail(f"{line}: {error}")


def test_a_wrong_option_would_be_found() -> None:
    parse("irae restore noisy.png -o out.png")
    with pytest.raises(Exception, match="strenth"):
        parse("irae restore noisy.png --strenth 0.5")
    with pytest.raises(Exception, match="denoize"):
        parse("irae restore noisy.png --task denoize")


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_a_command_is_explained_with_an_example_that_can_be_given(name: tuple[str, ...]) -> None:
    said = getattr(COMMANDS[name], "help", None) or ""
    examples = re.findall(r"^Example: (irae .*)$", said, re.MULTILINE)
    assert examples, f"the help of irae {' '.join(name)} has no line 'Example: irae ...'"
    for example in examples:
        assert example.split()[1 : 1 + len(name)] == list(name)
        parse(example)


def test_every_command_is_used_on_some_page() -> None:
    text = "\n".join(line for page in PAGES for line in command_lines(page))
    unused = [name for name in COMMANDS if f"irae {' '.join(name)}" not in text]
    assert not unused


def test_configs_on_pages_are_valid(tmp_path: Path) -> None:
    checked = 0
    for page in PAGES:
        for language, text in fences(page):
            if language != "yaml":
                continue
            path = tmp_path / f"{checked}.yaml"
            path.write_text(text, encoding="utf-8")
            (load_benchmark if "datasets" in yaml.safe_load(text) else load_config)(path)
            checked += 1
    assert checked >= 2


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
