"""`irae noise`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

Program = Callable[..., CompletedProcess[str]]


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A clean picture with metadata, and a noisy one of another size."""
    rng = np.random.default_rng(0)
    ramp = np.broadcast_to(np.linspace(70, 180, 90)[None, :, None], (80, 90, 3))
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "clean.png", dpi=(300, 300))
    flat = np.clip(120 + rng.normal(0, 20, (70, 100, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(flat).save(tmp_path / "noisy.png")
    return tmp_path / "clean.png", tmp_path / "noisy.png"


def test_the_noise_of_one_picture_is_put_on_another(
    irae: Program, files: tuple[Path, Path], tmp_path: Path
) -> None:
    clean, noisy = files
    out = tmp_path / "out.png"
    done = irae("noise", clean, "--like", noisy, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sigma"] == pytest.approx([20, 20, 20], rel=0.1)
    with Image.open(out) as made, Image.open(clean) as given:
        assert made.size == given.size
        assert made.info["dpi"] == given.info["dpi"]
        added = np.asarray(made).astype(float) - np.asarray(given)
    assert added.std() == pytest.approx(20, rel=0.1)


def test_faults_are_one_line_and_nothing_is_written(
    irae: Program, files: tuple[Path, Path], tmp_path: Path
) -> None:
    clean, noisy = files
    out = tmp_path / "out.png"
    for arguments in (
        ["noise", clean, "--like", tmp_path / "none.png", "-o", out],
        ["noise", clean, "--like", noisy, "-o", tmp_path / "none" / "out.png"],
        ["noise", clean, "--like", noisy, "-o", clean],
    ):
        done = irae(*arguments)
        assert done.returncode != 0
        assert len(done.stderr.splitlines()) == 1
    assert not out.exists()
