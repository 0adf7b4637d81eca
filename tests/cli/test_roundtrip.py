"""`irae roundtrip`: what comes back, and the bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Program = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint"])
def test_a_model_gives_the_picture_back(
    irae: Program, model_files: dict[str, Path], pictures: Path, task: str
) -> None:
    done = irae("roundtrip", pictures / "val", "--model", model_files[task], "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [Path(row["input"]).name for row in report["pictures"]] == ["0.png", "1.png"]
    for row in report["pictures"]:
        assert 0 < row["largest_error"] < 0.01
        assert row["psnr"] > 100


def test_above_the_bound_the_exit_code_says_so(
    irae: Program, model_files: dict[str, Path], pictures: Path
) -> None:
    arguments = ["roundtrip", pictures / "val", "--model", model_files["denoise"]]
    done = irae(*arguments, "--bound", "1e-9")
    assert done.returncode == 1
    assert "above the bound" in done.stdout
    assert irae(*arguments).returncode == 0


def test_one_bad_file_does_not_stop_the_rest(
    irae: Program, model_files: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    model = model_files["denoise"]
    done = irae("roundtrip", bad, pictures / "val" / "0.png", "--model", model)
    assert done.returncode == 1
    assert "bad.png" in done.stderr
    assert "0.png" in done.stdout


def test_a_mask_for_a_model_without_holes_is_refused(
    irae: Program, model_files: dict[str, Path], pictures: Path
) -> None:
    picture = pictures / "val" / "0.png"
    done = irae("roundtrip", picture, "--model", model_files["denoise"], "--mask", picture)
    assert done.returncode == 2
    assert "--mask" in done.stderr


@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint"])
def test_packaged_models_give_real_pictures_back(irae: Program, shared: Path, task: str) -> None:
    folder = shared / "data" / "testsets" / "CBSD68"
    files = sorted(folder.iterdir())[::23]
    done = irae("roundtrip", *files, "--model", task)
    assert done.returncode == 0, done.stdout
