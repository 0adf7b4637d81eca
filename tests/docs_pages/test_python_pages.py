"""The pages on Python: their blocks run as they stand, in order, and print what they say."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from irae import tasks
from irae.cli.app import main
from irae.data.registry import REGISTRY
from irae.models.networks.registry import NETWORKS

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def run_page(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], list[str]]:
    """Execute the Python blocks of a page in one module.

    A block of text after one of Python is what that prints.

    Returns:
        The names that the page defines, and what each block printed.
    """
    page = DOCS / name
    text = page.read_text(encoding="utf-8")
    module = ModuleType(f"page_{page.stem.replace('-', '_')}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    printed: list[str] = []
    torch.manual_seed(0)
    for found in BLOCK.finditer(text):
        language, block = found.groups()
        if language == "text":
            assert printed[-1] == block, f"{name}: what the block before it prints has changed"
            continue
        # Blank lines before it, so that a traceback names the line of the page.
        block = "\n" * text[: found.start(2)].count("\n") + block
        code = compile(block, str(page), "exec", dont_inherit=True)
        with redirect_stdout(StringIO()) as told:
            exec(code, module.__dict__)
        printed.append(told.getvalue())
    return module.__dict__, printed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the pictures that the pages name."""
    data = pytest.importorskip("skimage.data", reason="pip install scikit-image")
    portrait = data.astronaut()
    cut = portrait[20:148, 150:278]
    Image.fromarray(cut).save(tmp_path / "photo.png")
    noise = np.random.default_rng(0).normal(0, 25, (75, 100, 3))
    noisy = (portrait[60:135, 170:270] + noise).clip(0, 255).round().astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    for name, count in (("photos", 4), ("held-out", 2)):
        (tmp_path / name).mkdir()
        for index in range(count):
            top = 64 * index + (256 if name == "held-out" else 0)
            part = portrait[top : top + 48, 128:192]
            Image.fromarray(part).save(tmp_path / name / f"{index}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IRAE_DATA", raising=False)
    return tmp_path


@pytest.mark.slow
def test_use_it_from_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, printed = run_page("python.md", monkeypatch)
    for name in ("restored.png", "restored.tif", "small.safetensors", "tuned.safetensors"):
        assert (folder / name).is_file()
    assert "blurred 24.5 dB, restored 28.5 dB\n" in printed


@pytest.mark.slow
def test_invertible_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names, _ = run_page("invertible-blocks.md", monkeypatch)
    page = (DOCS / "invertible-blocks.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \|$", page, re.MULTILINE)
    stated = {}
    for kind, row in rows:
        depth, *sizes = row.split(" | ")
        stated[kind, int(depth)] = [float(size) for size in sizes]
    assert stated.keys() == names["measured"].keys()
    for key, sizes in names["measured"].items():
        assert sizes == pytest.approx(stated[key], rel=0.1, abs=0.1), key


def test_extend(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scans = folder / "data" / "scans"
    scans.mkdir(parents=True)
    parts = ("train", "train", "train", "val", "test", "test")
    lines = []
    for number, part in enumerate(parts):
        shutil.copy(folder / "photos" / f"{number % 4}.png", scans / f"{number}.png")
        lines.append(f"{number}.png {part}\n")
    (scans / "parts.txt").write_text("".join(lines))
    try:
        names, printed = run_page("extend.md", monkeypatch)
        assert "3 pictures to train on\n" in printed
        assert names["result"].count == 2
        assert not {"blur", "residual", "scans"} & {*tasks.task_names(), *NETWORKS, *REGISTRY}
        # What the page says of the command line.
        tasks.register(names["BlurTask"]())
        words = "irae degrade photo.png -o blurred.png --task blur --level 1"
        monkeypatch.setattr(sys, "argv", words.split())
        with pytest.raises(SystemExit) as left:
            main()
        assert not left.value.code
        assert (folder / "blurred.png").is_file()
    finally:
        tasks._TASKS.pop("blur", None)
        NETWORKS.pop("residual", None)
        REGISTRY.pop("scans", None)
