"""``irae eval`` from the outside: its output, its files and its refusals."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from irae.cli.app import main
from irae.models.checkpoints.model_file import save_model
from irae.models.loaded import ModelSpec
from irae.models.networks.registry import build_network, resolve_options

TASKS = ("denoise", "jpeg", "inpaint")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an identity model of each task and two pictures in ``photos``."""
    folder = tmp_path_factory.mktemp("a place")
    torch.manual_seed(0)
    options = resolve_options("irae", "default", {"width": 12, "couplings": 2, "hidden": 4})
    for task in TASKS:
        path = folder / f"{task}.safetensors"
        save_model(path, build_network("irae", options), ModelSpec("irae", options, task))
    (folder / "photos").mkdir()
    (folder / "empty").mkdir()
    for number in range(2):
        random = np.random.default_rng(number)
        levels = random.integers(0, 256, (24, 30, 3), dtype=np.uint8)
        Image.fromarray(levels).save(folder / "photos" / f"{number}.png")
    return folder


@dataclass(frozen=True)
class Done:
    """What became of a run of the program."""

    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


@pytest.fixture
def run(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the program in ``place``, in this process: starting PyTorch anew takes seconds."""

    def call(*arguments: str) -> Done:
        device = [] if "--device" in arguments else ["--device", "cpu"]
        monkeypatch.setattr(sys, "argv", ["irae", "eval", *arguments, *device])
        monkeypatch.chdir(place)
        with pytest.raises(SystemExit) as left:
            main()
        return Done(int(left.value.code or 0), *capsys.readouterr())

    return call


def refused(done: Done) -> str:
    """The message of a refusal, which is one line, and nothing else."""
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.startswith("irae: error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def test_the_default_levels_of_each_task(run: Run) -> None:
    done = run("--model", "denoise.safetensors", "--data", "photos")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[-3:]] == [
        "| sigma 15",
        "| sigma 25",
        "| sigma 50",
    ]
    assert "data photos, 2 pictures, seed 0" in done.stdout
    assert "fp32 on cpu" in done.stdout
    done = run("--model", "jpeg.safetensors", "--data", "photos")
    assert [line[:12] for line in done.stdout.splitlines()[-4:]] == [
        f"| quality {quality}" for quality in (10, 20, 30, 40)
    ]
    assert "PSNR-Y in" in done.stdout
    assert "PSNR-B out" in done.stdout
    done = run("--model", "inpaint.safetensors", "--data", "photos", "--hole", "box:8")
    assert "| box 8" in done.stdout


def test_an_ensemble_is_said(run: Run) -> None:
    done = run("--model", "denoise.safetensors", "--data", "photos", "--sigma", "25", "--ensemble")
    assert "fp32 on cpu, self-ensemble" in done.stdout


def test_json_is_all_of_stdout(run: Run) -> None:
    done = run(
        *("--model", "denoise.safetensors", "--data", "photos", "--sigma", "25,50.5", "--seed"),
        *("3", "--json", "--max-images", "1", "--clipped", "--task", "denoise"),
    )
    data = json.loads(done.stdout)
    assert (data["protocol"], data["count"], data["seed"], data["task"]) == (
        "standard",
        1,
        3,
        "denoise",
    )
    assert [level["degradation"] for level in data["levels"]] == [
        {"sigma": 25, "clipped": True},
        {"sigma": 50.5, "clipped": True},
    ]
    (picture,) = data["levels"][0]["pictures"]
    assert picture["path"].endswith("photos/0.png")
    assert picture["output"]["psnr"] == pytest.approx(picture["input"]["psnr"], abs=1e-3)


def test_csv_holds_every_picture_and_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "scores.csv"
    arguments = ["--model", "jpeg.safetensors", "--data", "photos", "--quality", "10,50"]
    arguments += ["--subsampling", "4:4:4", "--csv", str(table)]
    assert run(*arguments).returncode == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert {row["level"] for row in rows} == {"quality 10, 4:4:4", "quality 50, 4:4:4"}
    assert all(float(row["output_psnr_b"]) > 0 for row in rows)
    assert all(row["protocol"] == "standard" for row in rows)
    table.write_text("mine")
    assert "exists; give another name or --overwrite" in refused(run(*arguments))
    assert table.read_text() == "mine"
    assert run(*arguments, "--overwrite").returncode == 0
    assert table.read_text().startswith("model,")
    assert list(tmp_path.iterdir()) == [table]


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("jpeg", ["--sigma", "25"], "--sigma is for denoise; model 'jpeg.safetensors' is for jpeg"),
        ("denoise", ["--hole", "box:3"], "--hole is for inpaint"),
        ("inpaint", ["--hole", "box:3", "--clipped"], "--clipped is for denoise"),
        ("denoise", ["--task", "jpeg"], "is for denoise, not for --task jpeg"),
        ("denoise", ["--task", "paint"], "task 'paint' is unknown"),
        ("denoise", ["--sigma", "15,"], "'' is no number"),
        ("denoise", ["--sigma", ""], "'' is no number"),
        ("denoise", ["--sigma", "15;25"], "'15;25' is no number"),
        ("denoise", ["--sigma", "nan"], "nan is not from 0 to 255"),
        ("denoise", ["--sigma", "256"], "256 is not from 0 to 255"),
        ("jpeg", ["--quality", "0"], "0 is not from 1 to 100"),
        ("jpeg", ["--quality", "10.5"], "10.5 is no whole number"),
        ("jpeg", ["--subsampling", "4:1:1"], "use 4:2:0 or 4:4:4"),
        ("inpaint", [], "needs holes: center:N or box:N (N pixels), thin"),
        ("inpaint", ["--hole", "box"], "write center:N or box:N"),
        ("inpaint", ["--hole", "round:3"], "write center:N or box:N"),
        ("inpaint", ["--hole", "box:0"], "write center:N or box:N"),
        ("inpaint", ["--hole", "box:" + "9" * 5000], "write center:N or box:N"),
        ("inpaint", ["--hole", "center:25"], "0.png: a hole of 25 pixels does not fit"),
        ("inpaint", ["--hole", "box:3", "--mask", "photos"], "exclude each other"),
        ("inpaint", ["--mask", "absent"], "absent is not a folder"),
        ("inpaint", ["--mask", "empty"], "empty has no mask files"),
        ("denoise", ["--max-images", "0"], "--max-images is 0; use at least 1"),
        ("denoise", ["--protocol", "mine"], "use standard or authors"),
        ("denoise", ["--protocol", "authors"], "2 pictures leave no full batch of 100"),
        ("denoise", ["--precision", "fp16"], "use fp32 or bf16"),
        ("denoise", ["--csv", "photos"], "photos is a folder"),
    ],
)
def test_bad_options_are_one_line(run: Run, task: str, arguments: list[str], message: str) -> None:
    done = run("--model", f"{task}.safetensors", "--data", "photos", *arguments)
    assert message in refused(done)


def test_bad_models_data_and_devices_are_one_line(run: Run, tmp_path: Path) -> None:
    model = ("--model", "denoise.safetensors")
    assert "'nobody'" in refused(run("--model", "nobody", "--data", "photos"))
    assert "neither a data set" in refused(run(*model, "--data", "nothing"))
    assert "has no pictures" in refused(run(*model, "--data", "empty"))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert "bad.png cannot be read" in refused(run(*model, "--data", str(tmp_path)))
    for device in ("tpu", "cuda:99"):
        assert device in refused(run(*model, "--data", "photos", "--device", device))


def test_a_csv_that_cannot_be_written_does_not_cost_the_table(run: Run) -> None:
    done = run("--model", "denoise.safetensors", "--data", "photos", "--csv", "/proc/none/a.csv")
    assert done.returncode == 2
    assert done.stderr.startswith("irae: error: --csv /proc/none/a.csv cannot be written")
    assert "| sigma 25" in done.stdout


def test_threads(run: Run) -> None:
    before = torch.get_num_threads()
    try:
        model = ("--model", "denoise.safetensors", "--data", "photos", "--threads")
        assert run(*model, "2").returncode == 0
        assert torch.get_num_threads() == 2
        assert "use at least 1" in refused(run(*model, "0"))
    finally:
        torch.set_num_threads(before)


def test_classical_models_by_name(run: Run) -> None:
    pytest.importorskip("cv2")
    done = run("--model", "telea", "--data", "photos", "--hole", "center:6")
    assert done.returncode == 0, done.stderr
    assert "model telea (telea, 0 parameters, inpaint)" in done.stdout
    assert "--sigma is for denoise; model 'telea' is for inpaint" in refused(
        run("--model", "telea", "--data", "photos", "--sigma", "25")
    )


def test_luma(run: Run) -> None:
    common = ("--model", "jpeg.safetensors", "--data", "photos", "--quality", "10", "--json")
    luma, colour = json.loads(run(*common, "--luma").stdout), json.loads(run(*common).stdout)
    assert (luma["measured_on"], colour["measured_on"]) == ("Y", "RGB")
    scores = luma["levels"][0]["output"]
    assert scores["psnr"] == scores["psnr_y"]
    assert "8-bit Y" in luma["protocol_summary"]
    assert "8-bit Y" not in colour["protocol_summary"]


def test_real_pairs_in_place_of_clean_pictures(run: Run, place: Path) -> None:
    folder = place / "pairs"
    folder.mkdir()
    clean = np.full((40, 50, 3), 90, np.uint8)
    noisy = clean + np.random.default_rng(0).integers(0, 20, clean.shape, dtype=np.uint8)
    for name, pixels in (("clean", clean), ("noisy", noisy)):
        Image.fromarray(pixels).save(folder / f"wall_{name}.png")
    done = run("--model", "denoise", "--pairs", str(folder))
    assert done.returncode == 0, done.stderr
    assert "pairs pairs" in done.stdout
    for words, named in (
        (["--pairs", str(folder), "--data", str(folder)], "give clean pictures with --data"),
        (["--pairs", str(folder), "--clipped"], "drop it or --pairs"),
        (["--pairs", str(folder), "--sigma", "x"], "--sigma 'x'"),
        ([], "or real pairs with --pairs"),
    ):
        assert named in run("--model", "denoise", *words).stderr


def test_masks_without_a_hole_are_left_out_and_named(run: Run, place: Path) -> None:
    masks = place / "some masks"
    masks.mkdir(exist_ok=True)
    for number in range(4):
        mask = np.zeros((24, 30), dtype=np.uint8)
        if number % 2:
            mask[5:9, 7:12] = 255
        Image.fromarray(mask).save(masks / f"{number}.png")
    words = ("--model", "inpaint.safetensors", "--data", "photos", "--mask", "some masks")
    done = run(*words)
    assert done.returncode == 0, done.stderr
    assert "inf" not in done.stdout
    (line,) = [each for each in done.stdout.splitlines() if "masks without a hole" in each]
    named = {name for name in ("0.png", "1.png", "2.png", "3.png") if name in line}
    assert named and named <= {"0.png", "2.png"}
    (level,) = json.loads(run(*words, "--json").stdout)["levels"]
    assert level["output"]["psnr"] != "inf"
    assert all(picture["hole_fraction"] > 0 for picture in level["pictures"])
    passed = {Path(path).name for each in level["pictures"] for path in each["empty_masks"]}
    assert passed == named
    for number in (1, 3):
        (masks / f"{number}.png").unlink()
    done = run(*words)
    assert done.returncode == 1
    assert "some masks: no mask in it has holes" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_that_are_not_utf8_are_written_with_backslashes(
    run: Run, place: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    small = Image.open(place / "photos" / "0.png").crop((0, 0, 9, 9))  # Too small for an SSIM.
    small.save(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    words = ["--model", "denoise.safetensors", "--data", str(folder), "--sigma", "25"]
    done = run(*words, "--csv", str(tmp_path / "scores.csv"))
    assert done.returncode == 0, done.stderr
    assert r"caf\udce9.png" in done.stdout
    (row,) = csv.DictReader((tmp_path / "scores.csv").open(encoding="utf-8"))
    assert row["picture"].endswith(r"caf\udce9.png")
    assert run(*words, "--json").returncode == 0
