"""The parts of the reference that are made from the code when the site is built.

A line ``<!-- generated: NAME -->`` in a page is replaced by what the function of that name in
`PARTS` returns, so that the reference cannot say anything else than the program.
"""

from __future__ import annotations

import ast
import inspect
import io
import math
import re
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel

from irae import config
from irae.cli.app import app
from irae.config import RunConfig
from irae.evaluation.benchmark import config as benchmark_config
from irae.evaluation.benchmark.config import BenchmarkConfig
from irae.tasks import all_tasks, schema

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARK = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)

_WORDS = {
    "number": "number",
    "integer": "whole number",
    "boolean": "true or false",
    "string": "text",
    "null": "none",
}
_LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "at least {}",
}


def commands() -> str:
    """The ``--help`` of every command, by Typer's own writer of documentation."""
    done = subprocess.run(
        [sys.executable, "-m", "typer", "irae.cli.app", "utils", "docs", "--name", "irae"],
        check=True,
        capture_output=True,
        encoding="utf-8",
    )
    # The page has a title of its own.
    text = _whole_summaries(done.stdout).partition("\n")[2]
    for group in app.registered_groups:
        if group.hidden:
            text = _without(text, str(group.name))
    return re.sub(r"^Example: (irae .*)$", r"Example:\n\n```console\n$ \1\n```", text, flags=re.M)


def _without(text: str, name: str) -> str:
    """The commands without one group: its line in the list, and its sections."""
    text = re.sub(rf"^\* .*\(#irae-{name}\).*\n", "", text, flags=re.M)
    heading = rf"^#+ `irae {name}\b"
    return re.sub(rf"{heading}.*?(?=^#+ `irae (?!{name}\b)|\Z)", "", text, flags=re.M | re.S)


def _whole_summaries(text: str) -> str:
    """Lists of commands with links, and with the first lines that Typer cuts short there."""
    first = dict(re.findall(r"^#+ `(irae[\w -]*)`\n\n(.+)$", text, re.MULTILINE))
    lines, current = text.splitlines(), ""
    for number, line in enumerate(lines):
        if heading := re.match(r"#+ `(irae[\w -]*)`$", line):
            current = heading[1]
        elif listed := re.match(r"\* `(\w+)`: ", line):
            name = f"{current} {listed[1]}"
            if name in first:
                lines[number] = f"* [`{listed[1]}`](#{name.replace(' ', '-')}): {first[name]}"
    return "\n".join(lines)


def run_config() -> str:
    """The keys of a run's config, and of the two sections that depend on its task."""
    known = _comments(config) | _comments(schema)
    lines = list(_sections(RunConfig, "", known))
    for task in all_tasks():
        known |= _comments(sys.modules[type(task).__module__])
        sections = {"degradation": task.section, "data.validation": task.validation_section}
        for path, part in sections.items():
            title = f"`{path}` of task `{task.name}`"
            lines += _sections(part, "", known, title=title)
    title = "`degradation` of objective `find_damage`"
    lines += _sections(schema.PastedDamageSection, "", known, title=title)
    return "\n".join(lines)


def benchmark_keys() -> str:
    """The keys of a benchmark's config, but for those of `run_config`."""
    known = _comments(config) | _comments(benchmark_config)
    return "\n".join(_sections(BenchmarkConfig, "", known, skip=frozenset({"training", "augment"})))


PARTS: Mapping[str, Callable[[], str]] = {
    "commands": commands,
    "run-config": run_config,
    "benchmark-config": benchmark_keys,
}


def fill_in(text: str) -> str:
    """A page with its generated parts."""
    return MARK.sub(lambda found: PARTS[found[1]](), text)


def _sections(
    model: type[BaseModel],
    prefix: str,
    comments: Mapping[str, Mapping[str, str]],
    skip: frozenset[str] = frozenset(),
    title: str = "Top level",
) -> Iterator[str]:
    """A table of a model's keys, then the same for each section in it."""
    found = model.model_json_schema()
    parts = found.get("$defs", {})
    waiting: list[tuple[str, str, Mapping[str, Any]]] = [(prefix, model.__name__, found)]
    while waiting:
        path, name, section = waiting.pop(0)
        yield f"### {f'`{path}`' if path else title}\n"
        yield f"{section['description']}\n"
        yield "| key | values | default | |\n|---|---|---|---|"
        for key, value in section["properties"].items():
            full = f"{path}.{key}" if path else key
            inner = _section_of(value)
            if inner is not None:
                suffix, inner_name = inner
                if key not in skip:
                    waiting.append((full + suffix, inner_name, parts[inner_name]))
            default = f"`{_plain(value['default'])}`" if "default" in value else "needed"
            if inner is not None and isinstance(value.get("default"), dict):
                default = ""
            meaning = _meaning(comments, name, model, key)
            cells = (f"`{key}`", _values(value), default, meaning)
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""


def _meaning(
    comments: Mapping[str, Mapping[str, str]], name: str, model: type[BaseModel], key: str
) -> str:
    """What is said of a key where it is declared, or where a base of its section declares it."""
    names = [name, *(base.__name__ for base in model.__mro__ if base.__name__ != name)]
    return next((comments[each][key] for each in names if key in comments.get(each, {})), "")


def _section_of(value: Mapping[str, Any]) -> tuple[str, str] | None:
    """Which section a key holds, if any, and how its path goes on."""
    if "$ref" in value:
        return "", value["$ref"].rpartition("/")[2]
    for choice in (value, *value.get("anyOf", ()), *value.get("allOf", ())):
        if "$ref" in choice:
            return "", choice["$ref"].rpartition("/")[2]
        if "$ref" in choice.get("items", {}):
            return "[]", choice["items"]["$ref"].rpartition("/")[2]
        if isinstance(named := choice.get("additionalProperties"), dict) and "$ref" in named:
            return ".NAME", named["$ref"].rpartition("/")[2]
        for pattern in choice.get("patternProperties", {}).values():
            if "$ref" in pattern:
                return ".NAME", pattern["$ref"].rpartition("/")[2]
    return None


def _values(value: Mapping[str, Any]) -> str:
    """What may be written, in words."""
    if "$ref" in value:
        return "a section"
    if "anyOf" in value:
        return " or ".join(_values(choice) for choice in value["anyOf"])
    if "allOf" in value:
        return _values(value["allOf"][0])
    if "const" in value:
        return f"`{_plain(value['const'])}`"
    if "enum" in value:
        return ", ".join(f"`{_plain(one)}`" for one in value["enum"])
    limits = ", ".join(text.format(value[key]) for key, text in _LIMITS.items() if key in value)
    kind = value.get("type")
    if kind == "array":
        if "prefixItems" in value:
            return "[" + ", ".join(_values(item) for item in value["prefixItems"]) + "]"
        return f"list ({_values(value['items'])})"
    if kind == "object":
        return "table of names and values"
    word = _WORDS.get(str(kind), "anything")
    return f"{word} {limits}".strip()


def _plain(value: object) -> str:
    """A value as YAML has it, on one line."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf)
    return text.removesuffix("...\n").strip()


def _comments(module: Any) -> dict[str, dict[str, str]]:
    """The comment behind, or else above, each field of each class of a module."""
    source = inspect.getsource(module)
    lines = source.splitlines()
    found = {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    classes: dict[str, dict[str, str]] = {}
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = classes.setdefault(node.name, {})
        for field in node.body:
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            above = field.lineno - 1
            while above in found and lines[above - 1].lstrip().startswith("#"):
                above -= 1
            texts = [found[line] for line in range(above + 1, field.lineno)]
            texts += [found[line] for line in (field.lineno,) if line in found]
            fields[field.target.id] = " ".join(texts)
    return classes


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx calls this."""

    def read(_app: Sphinx, _name: str, content: list[str]) -> None:
        content[0] = fill_in(content[0])

    app.connect("source-read", read)
    return {"parallel_read_safe": True}
