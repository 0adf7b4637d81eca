"""`irae train` from config to a model that restores, and what it says of mistakes."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
import yaml
from PIL import Image

from irae.models.checkpoints.model_file import load_model
from irae.training.checkpoint import load_state
from irae.training.run import Run

Program = Callable[..., CompletedProcess[str]]

LIFTED = "{width: 16, couplings: 4, hidden: 8}"


def sets(root: Path, *more: str) -> list[str]:
    values = [
        f"data.root={root}",
        "data.train=[{source: train}]",
        "data.validation={source: val, images: 1, crop: 32}",
        "data.patch=16",
        f"model.options={LIFTED}",
        "training={steps: 4, batch: 2, validate_every: 2, log_every: 1}",
        *more,
    ]
    return [word for value in values for word in ("--set", value)]


def test_train_resume_and_use_the_model(irae: Program, tmp_path: Path, pictures: Path) -> None:
    run = tmp_path / "run"
    done = irae("train", "--config", "denoise.yaml", *sets(pictures), "-o", run, "--max-steps", 2)
    assert done.returncode == 0, done.stderr
    assert f"{run}: stopped at 2 of 4, best validation " in done.stderr
    assert "patches/s" in done.stderr
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["steps"] == 4
    done = irae("train", "--resume", run, "--set", "training.steps=6")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["steps"] == 6
    steps = [json.loads(x)["step"] for x in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 6
    assert f"{run}: 6 steps, best validation " in done.stderr
    done = irae("eval", "--model", run, "--data", pictures / "val", "--sigma", "25", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["count"] == 2


def test_a_run_of_another_task_is_not_resumed(
    irae: Program, tmp_path: Path, pictures: Path
) -> None:
    run = tmp_path / "run"
    irae("train", "--config", "denoise.yaml", *sets(pictures), "-o", run, "--max-steps", 0)
    done = irae("train", "--resume", run, "--set", "task=jpeg")
    assert done.returncode == 1
    assert "is a run of task denoise" in done.stderr


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(
    irae: Program, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    run = tmp_path / "run"
    done = irae("train", "--config", "denoise.yaml", *sets(pictures), "-o", run)
    assert done.returncode == 1
    assert "the disk is full" in done.stderr
    assert "last.ckpt" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in run.iterdir()) == [
        ".irae.lock",
        "config.yaml",
        "run.json",
    ]
    # The start that failed is no obstacle for the next.
    monkeypatch.undo()
    done = irae("train", "--config", "denoise.yaml", *sets(pictures), "-o", run, "--max-steps", 0)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name", ["notes.txt", "config.yaml", "metrics.jsonl", "run.json", "samples/00.png"]
)
def test_a_folder_with_files_of_ones_own_is_refused(
    name: str, irae: Program, tmp_path: Path, pictures: Path
) -> None:
    own = tmp_path / "run" / name
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    words = ["train", "--config", "denoise.yaml", *sets(pictures), "-o", tmp_path / "run"]
    for more in ([], ["--minutes", 1]):
        done = irae(*words, *more)
        assert done.returncode == 1
        (line,) = done.stderr.strip().splitlines()
        assert f"holds {name.split('/')[0]}, which is not of a run; choose a new folder" in line
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [own]
    assert own.read_text() == "mine"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
@pytest.mark.parametrize("words", [[], ["--minutes", "5"]])
def test_a_signal_is_told_from_the_end_by_the_exit_code(
    words: list[str],
    number: signal.Signals,
    irae: Program,
    tmp_path: Path,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    advance = Run.advance

    def interrupted(self: Run) -> None:
        advance(self)
        if self.step == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Run, "advance", interrupted)
    run = tmp_path / "run"
    new = ["--config", "denoise.yaml", *sets(pictures, "training.steps=100"), "-o", run]
    done = irae("train", *new, *words)
    assert done.returncode == 4, done.stderr
    reached = load_state(run)["step"]
    assert reached in (3, 4)
    assert done.stderr.splitlines()[-1].startswith(f"{run}: stopped at {reached} of 100, ")
    # A limit that was asked for ends with the same line, but is no failure.
    done = irae("train", "--resume", run, "--max-steps", 5)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"{run}: stopped at 5 of 100, ")


def test_a_folder_whose_name_is_not_utf8(irae: Program, tmp_path: Path, pictures: Path) -> None:
    data = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    shutil.copytree(pictures, data)
    run = tmp_path / "run"
    small = [*SMALL, "--set", "data.validation.crop=32", "--max-steps", 1]
    done = irae("train", "--config", "denoise.yaml", "--data", data, *small, "-o", run)
    assert done.returncode == 0, done.stderr
    done = irae("train", "--resume", run, "--set", "training.steps=2")
    assert done.returncode == 0, done.stderr
    assert load_state(run)["config"]["data"]["train"][0]["source"] == str(data)


def test_without_a_terminal_there_is_a_line_for_each_report(
    irae: Program, tmp_path: Path, pictures: Path
) -> None:
    words = ["--set", "training.steps=6", "--set", "training.log_every=3"]
    done = irae(
        "train", "--config", "denoise.yaml", *sets(pictures, *words[1::2]), "-o", tmp_path / "run"
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if "patches/s" in line]
    assert [line.split(":")[0] for line in told] == ["step 3 of 6", "step 6 of 6"]
    assert "\r" not in done.stderr and "step/s" not in done.stderr


def test_zero_minutes_still_leaves_a_checkpoint(
    irae: Program, tmp_path: Path, pictures: Path
) -> None:
    run = tmp_path / "run"
    done = irae("train", "--config", "jpeg.yaml", *sets(pictures), "-o", run, "--max-minutes", 0)
    assert done.returncode == 0, done.stderr
    assert (run / "last.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "--config"),
        (["--config", "denoise.yaml", "--resume", "x"], "--config"),
        (["--config", "nothing.yaml"], "nothing.yaml"),
        (["--config", "denoise.yaml", "--set", "training.stepz=1"], "training.stepz: unknown key"),
        (["--config", "denoise.yaml", "--set", "model.preset=huge"], "preset 'huge'"),
        (["--config", "denoise.yaml", "--set", "model.network=unet"], "network 'unet'"),
        (["--config", "denoise.yaml", "--set", "model.init=nobody"], "nobody"),
        (["--config", "denoise.yaml", "--device", "cuda:7"], "cuda:7"),
        (["--config", "denoise.yaml", "--precision", "fp8"], "--precision fp8"),
        (["--config", "denoise.yaml", "--set", "data.train=[{source: nowhere}]"], "nowhere"),
        (["--config", "denoise.yaml", "--set", "data.patch=17"], "data.patch"),
        (["--config", "denoise.yaml", "--set", "data.validation.sigma=[]"], "validation.sigma"),
        (["--config", "denoise.yaml", "--set", "model.options.width=8"], "at least 12"),
        (["--config", "denoise.yaml", "--set", "model.options.couplings=1"], "couplings 1"),
        (["--resume", "nowhere"], "nowhere"),
    ],
)
def test_mistakes_are_one_line(
    irae: Program, tmp_path: Path, pictures: Path, arguments: list[str], named: str
) -> None:
    run = [] if "--resume" in arguments else ["-o", str(tmp_path / "run")]
    extra = sets(pictures) if "--config" in arguments else []
    done = irae("train", *extra, *arguments, *run)
    assert done.returncode != 0
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("irae: error: ")
    assert named in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A plain folder of pictures, of two formats and in two subfolders."""
    folder = tmp_path / "photos"
    for index in range(8):
        place = folder / ("a" if index % 2 else "b")
        place.mkdir(parents=True, exist_ok=True)
        ending = "jpg" if index % 3 else "png"
        Image.effect_noise((70 + index, 60), 40).convert("RGB").save(place / f"{index}.{ending}")
    return folder


SMALL = ["--set", "data.patch=16", "--set", "training.batch=1", "--set", f"model.options={LIFTED}"]


def test_pictures_that_replace_those_of_a_config_are_said_to(
    irae: Program, photos: Path, tmp_path: Path
) -> None:
    sets = ("data.validation.crop=32", "data.patch=32", "training.batch=1")
    small = ("--max-steps", 1, *(part for each in sets for part in ("--set", each)))
    for config, named in (("holes/faces.yaml", True), ("denoise.yaml", False)):
        run = tmp_path / "run" / config
        done = irae("train", "--config", config, "--data", photos, *small, "-o", run)
        assert done.returncode == 0, done.stderr
        note = "note: --data replaces the pictures that the config names (celeba)"
        assert (note in done.stderr) == named


def test_training_on_a_plain_folder_says_what_it_found_and_how_to_use_it(
    irae: Program, photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    run = tmp_path / "run"
    for config in ("denoise.yaml", "jpeg.yaml", "paper/denoise.yaml"):
        small = SMALL if "paper" not in config else SMALL[:4]
        done = irae(
            *("train", "--config", config, "--data", photos, *small, "--max-steps", 1),
            *("-o", run / config, "--set", "data.validation.crop=32"),
        )
        assert done.returncode == 0, done.stderr
        assert "6 pictures of 0.0 megapixels to learn from, 2 others to validate on" in done.stderr
        assert "left out, cannot be read" in done.stderr and "broken.png" in done.stderr
        last = done.stderr.strip().splitlines()[-1]
        assert last.endswith(f"irae restore FILE --model {run / config}")
    picture, model = photos / "b" / "0.png", run / "denoise.yaml"
    done = irae("restore", picture, "--model", model, "-o", run / "x.png")
    assert done.returncode == 0, done.stderr
    written = yaml.safe_load((run / "denoise.yaml" / "config.yaml").read_text())
    assert written["data"]["train"] == [{"source": str(photos), "weight": "pixels"}]


@pytest.mark.slow
def test_a_whole_schedule_in_minutes_from_a_packaged_model(
    irae: Program, photos: Path, tmp_path: Path, model_files: dict[str, Path]
) -> None:
    run, model = tmp_path / "run", model_files["denoise"]
    done = irae(
        *("train", "--config", "denoise.yaml", "--data", photos, "--from", model, "-o", run),
        *(
            "--minutes",
            "0.05",
            *SMALL[:4],
            "--set",
            "training.learning_rate=0.00001",
            "--set",
            "data.validation={crop: 32, images: 1}",
        ),
    )
    assert done.returncode == 0, done.stderr
    assert (run / "best.safetensors").is_file()
    trained, given = load_model(run), load_model(model)
    assert trained.spec.options == given.spec.options
    assert "best validation" in done.stderr.splitlines()[-1]
    for x, y in zip(
        trained.network.state_dict().values(), given.network.state_dict().values(), strict=True
    ):
        assert torch.allclose(x, y, atol=0.01)
    done = irae(
        *("train", "--config", "denoise.yaml", "--data", photos, "--minutes", "0.05", "-o", run),
        *SMALL,
    )
    assert done.returncode == 1 and "already holds a run" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--config", "denoise.yaml"], "--data DIR"),
        (["--config", "paper/denoise.yaml"], "or name other pictures with --data DIR"),
        (["--config", "denoise.yaml", "--data", "nowhere"], "'nowhere' is neither"),
        (["--config", "denoise.yaml", "--data", "few"], "3 pictures are too few"),
        (["--config", "denoise.yaml", "--data", "empty"], "no pictures"),
        (["--config", "denoise.yaml", "--data", "few", "--from", "nobody"], "nobody"),
        (["--config", "denoise.yaml", "--minutes", "1", "--max-steps", "3"], "--minutes"),
        (["--resume", "x", "--data", "few"], "--resume goes on as begun"),
    ],
)
def test_mistakes_with_pictures_are_one_line(
    irae: Program,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IRAE_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "few").mkdir()
    for index in range(3):
        Image.new("RGB", (80, 80)).save(tmp_path / "few" / f"{index}.png")
    out = [] if "--resume" in arguments else ["-o", "run"]
    done = irae("train", *arguments, *out)
    assert done.returncode in (1, 2)
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert named in done.stderr
    assert not (tmp_path / "run").exists()
