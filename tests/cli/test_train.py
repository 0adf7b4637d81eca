"""`irae train` from config to a model that restores, and what it says of mistakes."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import yaml

Program = Callable[..., CompletedProcess[str]]


def sets(root: Path, *more: str) -> list[str]:
    values = [
        f"data.root={root}",
        "data.train=[{source: train}]",
        "data.validation={source: val, images: 1, crop: 32}",
        "data.patch=16",
        "model.options={width: 16, couplings: 4, hidden: 8}",
        "training={steps: 4, batch: 2, validate_every: 2, log_every: 1}",
        *more,
    ]
    return [word for value in values for word in ("--set", value)]


def test_train_resume_and_use_the_model(irae: Program, tmp_path: Path, pictures: Path) -> None:
    run = tmp_path / "run"
    done = irae("train", "--config", "denoise.yaml", *sets(pictures), "-o", run, "--max-steps", 2)
    assert done.returncode == 0, done.stderr
    assert "2 steps" in done.stderr
    assert "patches/s" in done.stderr
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["steps"] == 4
    done = irae("train", "--resume", run, "--set", "training.steps=6")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load((run / "config.yaml").read_text())["training"]["steps"] == 6
    steps = [json.loads(x)["step"] for x in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    assert steps[-1] == 6
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
    assert "task denoise" in done.stderr


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
    assert sorted(path.name for path in run.iterdir()) == ["config.yaml", "run.json"]


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
        (["--config", "denoise.yaml", "--precision", "fp8"], "training.precision"),
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
