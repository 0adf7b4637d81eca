"""Arrows point down only, and the light commands stay light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "irae"

# What anyone may import.
COMMON = {"errors", "runtime", "writing"}

# What each part may import besides itself and those.
ALLOWED = {
    "errors": set(),
    "runtime": set(),
    "writing": set(),
    "config": {"tasks"},
    "flow": set(),
    "imaging": set(),
    "models": {"flow", "imaging"},
    "data": {"imaging"},
    "tasks": {"models", "data", "imaging", "flow"},
    "training": {"config", "tasks", "data", "imaging", "models", "flow"},
    "evaluation": {"config", "training", "tasks", "data", "imaging", "models", "flow"},
    "restoring": {"tasks", "imaging", "models"},
    "ui": {"restoring", "tasks", "imaging", "models"},
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


def test_every_part_has_its_rule() -> None:
    parts = {
        path.stem
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file())
    }
    assert parts - {"__init__", "__main__", "cli"} == set(ALLOWED)


def test_configs_ask_the_light_half_of_tasks_only() -> None:
    tree = ast.parse((PACKAGE / "config.py").read_text(encoding="utf-8"))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in found if name and name.startswith("irae.tasks")} == {
        "irae.tasks",
        "irae.tasks.schema",
    }


COMMANDS = [
    *("restore", "degrade", "train", "eval", "roundtrip", "information", "bench", "benchmark"),
    *("models", "import", "export", "data", "inspect", "ui", "undo", "noise", "doctor"),
]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([c, "--help"] for c in COMMANDS)]
)
def test_help_needs_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys; sys.argv = ['irae', *sys.argv[1:]]\n"
        "from irae.cli.app import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'torchvision', 'PIL', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if arguments[0] in COMMANDS:
        assert "Example: irae " in " ".join(done.stdout.split())


def test_restoring_loads_no_compiler() -> None:
    code = (
        "import sys, irae.restoring.pipeline, irae.restoring.restorer\n"
        "heavy = {'torch._dynamo', 'torch._inductor', 'sympy', 'matplotlib', 'onnx', 'cv2'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


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
