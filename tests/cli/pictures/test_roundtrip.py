"""`irae roundtrip`: what comes back, and the bound."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from PIL import Image

from irae.models.checkpoints.model_file import load_model, save_model

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


@pytest.mark.slow
@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint"])
def test_packaged_models_give_real_pictures_back(irae: Program, shared: Path, task: str) -> None:
    folder = shared / "data" / "testsets" / "CBSD68"
    files = sorted(folder.iterdir())[::23]
    done = irae("roundtrip", *files, "--model", task)
    assert done.returncode == 0, done.stdout


def test_a_missing_file_does_not_stop_the_rest(
    irae: Program, model_files: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    good, model = pictures / "val" / "0.png", model_files["denoise"]
    done = irae("roundtrip", tmp_path / "none.png", good, "--model", model, "--json")
    assert done.returncode == 1
    assert "none.png" in done.stderr
    first, second = json.loads(done.stdout)["pictures"]
    assert "none.png" in first["error"]
    assert second["within_bound"]


def test_a_way_back_that_overflows_is_one_line_and_valid_json(
    irae: Program, model_files: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    model = load_model(model_files["denoise"])
    for name, parameter in model.network.named_parameters():
        if "conv" in name:
            parameter.mul_(1e12)
    save_model(tmp_path / "wild.safetensors", model.network, model.spec)
    picture = pictures / "val" / "0.png"
    done = irae("roundtrip", picture, "--model", tmp_path / "wild.safetensors", "--json")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    (row,) = json.loads(done.stdout)["pictures"]
    assert "left ±16" in row["error"]


def test_a_mask_is_turned_as_its_picture_is(
    irae: Program, model_files: dict[str, Path], tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((24, 16), 50).convert("RGB").save(tmp_path / "a.png", exif=exif)
    # As a viewer shows the picture: 16 wide, 24 high.
    Image.new("L", (16, 24), 255).save(tmp_path / "mask.png")
    model = model_files["inpaint"]
    done = irae("roundtrip", tmp_path / "a.png", "--model", model, "--mask", tmp_path / "mask.png")
    assert done.returncode == 0, done.stderr


def test_levels_and_precisions_are_measured(
    irae: Program, model_files: dict[str, Path], pictures: Path
) -> None:
    picture = pictures / "val" / "0.png"
    for task, count in (("denoise", 2), ("inpaint", 5)):
        done = irae("roundtrip", picture, "--model", model_files[task], "--levels", "--json")
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)["pictures"]
        parts = {(p["precision"], p["part"], p["level"]): p["largest"] for p in row["levels"]}
        assert len(parts) == 3 * count
        assert parts["fp64", "whole", 0] * 1000 < parts["fp32", "whole", 0]
        assert row["rms_error"] <= row["largest_error"]
        assert row.get("exact", task == "inpaint")
    done = irae("roundtrip", picture, "--model", model_files["inpaint"], "--levels")
    assert "decoder level 2" in done.stdout
    done = irae("roundtrip", picture, "--model", model_files["denoise"])
    assert "bit for bit; in plain float32 largest error 0.0" in done.stdout


def test_the_map_shows_where_the_error_is(
    irae: Program, model_files: dict[str, Path], pictures: Path, tmp_path: Path
) -> None:
    picture, model = pictures / "val" / "0.png", model_files["denoise"]
    out = tmp_path / "map.png"
    assert irae("roundtrip", picture, "--model", model, "--map", out).returncode == 0
    with Image.open(picture) as given, Image.open(out) as drawn:
        assert drawn.width >= given.width
        assert drawn.height > given.height
    assert irae("roundtrip", picture, "--model", model, "--map", out).returncode == 1
    several = ["roundtrip", pictures / "val", "--model", model, "--map", out, "--overwrite"]
    assert irae(*several).returncode == 2
