"""The pages of the documentation, and the commands on them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import typer.main

from irae.cli.app import app

REPOSITORY = Path(__file__).resolve().parents[2]
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
