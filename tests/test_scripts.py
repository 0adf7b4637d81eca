"""The scripts that a newcomer runs first."""

from __future__ import annotations

import os
import re
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


@pytest.mark.parametrize("name", ["demo", "test", "../.ci/run"])
def test_scripts_can_be_run(name: str) -> None:
    assert os.access(SCRIPTS / name, os.X_OK)
    assert subprocess.run(["bash", "-n", str(SCRIPTS / name)]).returncode == 0
