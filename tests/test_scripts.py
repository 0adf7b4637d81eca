"""The scripts that a newcomer runs first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.mark.process
def test_the_demo_restores_a_photograph_in_every_task(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPTS / "demo.py"), "-o", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = re.findall(
        r"^(\w+) +PSNR +([\d.]+) -> +([\d.]+) dB +SSIM ([\d.]+) -> ([\d.]+)", done.stdout, re.M
    )
    assert [row[0] for row in rows] == ["denoise", "jpeg", "inpaint"]
    for task, psnr_before, psnr_after, ssim_before, ssim_after in rows:
        assert float(psnr_after) > float(psnr_before) + 0.5
        assert float(ssim_after) > float(ssim_before)
        assert Image.open(tmp_path / f"{task}.png").size == (3 * 451 + 16, 320)


@pytest.mark.process
def test_without_a_gpu_the_gpu_script_says_so(tmp_path: Path) -> None:
    # A PATH with what the script needs and without nvidia-smi.
    for name in ("bash", "grep", "dirname"):
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    done = subprocess.run(
        [SCRIPTS / "gpu"], capture_output=True, text=True, env={"PATH": str(tmp_path)}
    )
    assert done.returncode == 0, done.stderr
    assert "no GPU of NVIDIA here" in done.stdout


@pytest.mark.process
def test_the_speeds_of_a_device_are_printed() -> None:
    sizes = ["--batch", "2", "--steps", "2", "--patch", "32", "--pictures", "8", "--side", "64"]
    sizes += ["--restore", "48", "64"]
    command = [sys.executable, str(SCRIPTS / "gpu_speed.py"), "--device", "cpu", *sizes]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for task in ("denoise", "jpeg", "photo", "inpaint"):
        assert re.search(rf"train {task}, 2, the device, [\d,]+, [\d.]+%", done.stdout)
    assert re.search(r"restore denoise, 48×64, fp32, [\d.]+, [\d.]+, ", done.stdout)


def test_every_row_of_what_a_gpu_needs_has_a_test() -> None:
    """Tests that ask for the fixture `cuda`, by what they are about."""
    tests = SCRIPTS.parent / "tests"
    asked = [
        path.relative_to(tests).as_posix()
        for path in tests.rglob("test_*.py")
        if re.search(r"cuda: torch\.device", path.read_text(encoding="utf-8"))
    ]
    for place in (
        "cli/research/test_benchmark.py",
        "flow/test_squeeze.py",
        "imaging/test_hole_filling.py",
        "imaging/test_jpeg.py",
        "imaging/test_tiling.py",
        "models/test_gpu.py",
        "test_runtime.py",
        "training/batches/test_batch.py",
        "training/test_gpu.py",
        "training/test_muon.py",
        "training/test_waits.py",
    ):
        assert place in asked


@pytest.mark.parametrize("name", ["demo", "gpu", "test", "../.ci/run"])
def test_scripts_can_be_run(name: str) -> None:
    assert os.access(SCRIPTS / name, os.X_OK)
    assert subprocess.run(["bash", "-n", str(SCRIPTS / name)]).returncode == 0
