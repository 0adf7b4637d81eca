"""A 24-megapixel photograph is restored in the memory that is promised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from irae.models.checkpoints.model_file import save_model
from irae.models.loaded import ModelSpec
from irae.models.networks.registry import build_network, resolve_options

PROGRAM = """
import sys
from irae.cli.app import main
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1], file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_24_megapixels_in_one_and_a_half_gigabytes(tmp_path: Path) -> None:
    _save(tmp_path, "denoise", {"width": 12})
    peak = _restore(tmp_path, tmp_path / "out.jpg")
    assert peak <= 1.5e9


@pytest.mark.process
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_holes_in_24_megapixels_in_two_gigabytes(tmp_path: Path) -> None:
    _save(tmp_path, "inpaint", {"condition_channels": 4, "width": 28})
    holes = Image.new("L", (6000, 4000))
    draw = ImageDraw.Draw(holes)
    for place in range(0, 6000, 1500):
        draw.line((place, 0, place + 300, 4000), fill=255, width=5)
    draw.rectangle((2000, 1000, 3000, 2000), fill=255)
    holes.save(tmp_path / "mask.png")
    peak = _restore(tmp_path, tmp_path / "out.png", "--mask", tmp_path / "mask.png")
    assert peak <= 2e9


def _save(folder: Path, task: str, options: dict[str, int]) -> None:
    """Save a photograph of 24 megapixels, and a model that is restored with in seconds.

    It has few couplings of narrow streams; a network's activations are those of a tile, and what
    grows with the picture is the same for every network.
    """
    resolved = resolve_options("irae", "default", {"couplings": 2, "hidden": 64, **options})
    network = build_network("irae", resolved)
    save_model(folder / "thin.safetensors", network, ModelSpec("irae", resolved, task))
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(coarse).resize((6000, 4000), Image.Resampling.BICUBIC).save(folder / "p.jpg")


def _restore(folder: Path, target: Path, *words: object) -> int:
    """Restore the photograph on the command line, and return the peak memory in bytes."""
    command = [sys.executable, "-c", PROGRAM, "restore", folder / "p.jpg", "--device", "cpu"]
    command += ["--model", folder / "thin.safetensors", "-o", target, *words]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Image.open(target) as image:
        assert image.size == (6000, 4000)
    return int(done.stderr.split()[-1]) * 1024
