"""Arrows point down only, and the light commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "irae"

# What anyone may import.
COMMON = {"_version", "errors", "layered_yaml", "locks", "runtime", "strict_yaml", "writing"}

FLOOR = {"data", "imaging", "flow"}

# What each room may import besides itself and those: arrows point down only.
ALLOWED = {
    "_version": set(),
    "errors": set(),
    "layered_yaml": set(),
    "locks": set(),
    "runtime": set(),
    "strict_yaml": set(),
    "writing": set(),
    "flow": set(),
    "imaging": set(),
    "data": {"imaging"},
    "models": {"flow", "imaging"},
    "tasks": {"models", *FLOOR},
    "config": {"tasks"},
    "inverse": {"tasks", "models", *FLOOR},
    "training": {"config", "tasks", "models", *FLOOR},
    "restoring": {"inverse", "tasks", "models", *FLOOR},
    "batch": {"restoring", "inverse", "tasks", "models", *FLOOR},
    "evaluation": {"config", "training", "restoring", "inverse", "tasks", "models", *FLOOR},
    "ui": {"batch", "restoring", "tasks", "models", *FLOOR},
    "doctor": {"restoring", "inverse", "tasks", "models", *FLOOR},
}


def imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        parts |= {n.split(".")[1] for n in names if n.startswith("irae.")}
    return parts


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_point_down(part: str) -> None:
    files = [PACKAGE / f"{part}.py"] if (PACKAGE / f"{part}.py").is_file() else None
    for file in files or sorted((PACKAGE / part).rglob("*.py")):
        beyond = imported_parts(file) - ALLOWED[part] - {part} - COMMON
        assert not beyond, f"{file.relative_to(PACKAGE)} imports {beyond}"


def test_no_folder_holds_more_than_can_be_taken_in_at_once() -> None:
    for folder in [PACKAGE, *PACKAGE.rglob("*")]:
        modules = [path for path in folder.glob("*.py") if path.stem != "__init__"]
        assert len(modules) <= 14, folder


def test_no_room_names_what_lies_elsewhere() -> None:
    """An import says where a name lives: rooms hand on no names but those of the public API."""
    for path in PACKAGE.rglob("__init__.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        given = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        names = {node.module for node in given if (node.module or "").startswith("irae.")}
        public = path.parent in (PACKAGE, PACKAGE / "data")
        assert public or names <= {"irae.errors"}, path


def test_every_part_has_its_rule() -> None:
    parts = {
        path.stem
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file())
    }
    assert parts - {"__init__", "__main__", "api", "cli"} == set(ALLOWED)


def test_configs_ask_the_light_half_of_tasks_only() -> None:
    tree = ast.parse((PACKAGE / "config.py").read_text(encoding="utf-8"))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in found if name and name.startswith("irae.tasks")} == {
        "irae.tasks",
        "irae.tasks.schema",
    }


@pytest.mark.process
def test_help_needs_no_torch_and_gives_an_example() -> None:
    """Of every command, in one interpreter: what one imported would be there for the next."""
    code = (
        "import contextlib, io, sys\n"
        "from irae.cli.app import app, main\n"
        "names = [c.name for c in app.registered_commands] + "
        "[g.name for g in app.registered_groups]\n"
        "for words in (['--help'], ['--version'], *([name, '--help'] for name in names)):\n"
        "    sys.argv, told = ['irae', *words], io.StringIO()\n"
        "    with contextlib.redirect_stdout(told):\n"
        "        try: main()\n"
        "        except SystemExit as stop: assert not stop.code, words\n"
        "    if words[0] in names:\n"
        "        assert 'Example: irae ' in ' '.join(told.getvalue().split()), words\n"
        "    heavy = {'torch', 'torchvision', 'PIL', 'numpy'} & set(sys.modules)\n"
        "    assert not heavy, (words, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.process
def test_restoring_loads_no_compiler() -> None:
    code = (
        "import sys, irae.batch.pipeline, irae.restoring.restorer\n"
        "heavy = {'torch._dynamo', 'torch._inductor', 'sympy', 'matplotlib', 'onnx', 'cv2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.process
def test_a_torch_and_torchvision_that_do_not_match_are_one_clear_line(tmp_path: Path) -> None:
    fake = tmp_path / "torchvision"
    fake.mkdir()
    (fake / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    picture = tmp_path / "p.png"
    from PIL import Image

    Image.new("RGB", (8, 8)).save(picture)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from irae.cli.app import main\n"
        "sys.argv = ['irae', 'train', '--config', 'denoise.yaml', "
        f"'--data', {str(tmp_path)!r}, '-o', {str(tmp_path / 'r')!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "do not match" in done.stderr
    assert "pip install" in done.stderr
