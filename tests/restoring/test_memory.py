"""A 24-megapixel photograph is restored in the memory that is promised."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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
    # Few couplings of narrow streams, so that it takes seconds; a network's activations are those
    # of a tile, and what grows with the picture is the same for every network.
    resolved = resolve_options("irae", "default", {"width": 12, "couplings": 2, "hidden": 64})
    save_model(
        tmp_path / "thin.safetensors",
        build_network("irae", resolved),
        ModelSpec("irae", resolved, "denoise"),
    )
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(coarse).resize((6000, 4000), Image.Resampling.BICUBIC).save(tmp_path / "p.jpg")
    done = subprocess.run(
        [
            *(sys.executable, "-c", PROGRAM, "restore", tmp_path / "p.jpg", "--device", "cpu"),
            *("--model", tmp_path / "thin.safetensors", "-o", tmp_path / "out.jpg"),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out.jpg") as image:
        assert image.size == (6000, 4000)
    assert int(done.stderr.split()[-1]) * 1024 <= 1.5e9
