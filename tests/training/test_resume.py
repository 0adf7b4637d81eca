"""What a run is kept from: other pictures, stale settings, stale scores, a second process."""

from __future__ import annotations

import gc
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.utils import save_image

from irae.config import load_config
from irae.errors import BusyError, TrainingError
from irae.locks import LOCK_NAME, lock_file
from irae.training.checkpoint import STATE_FILE, load_state, save_state
from irae.training.loop import train
from irae.training.prepare import absolute_paths
from irae.training.run import Run, begin, resume

CPU = torch.device("cpu")


SMALL = "{width: 16, couplings: 4, hidden: 8}"


def config(root: Path | str, *more: str, options: str = SMALL) -> Any:
    values = [
        f"data.root={root}",
        "data.train=train",
        "data.validation={source: val, images: 2, crop: 32}",
        "data.patch=16",
        f"model.options={options}",
        "training={steps: 12, batch: 2, warmup: 2, threads: 1, validate_every: 4, log_every: 1}",
        "training.precision=fp32",
    ]
    return load_config("denoise.yaml", [*values, *more])


def changed(run: Run, *more: str) -> Any:
    return load_config(run.folder / "config.yaml", list(more))


def test_a_run_keeps_its_pictures_wherever_it_is_resumed(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(pictures, here / "data")
    for folder in ("train", "val"):
        (there / "data" / folder).mkdir(parents=True)
        save_image(torch.rand(3, 48, 64), there / "data" / folder / "0.png")
    monkeypatch.chdir(here)
    run = begin(config("data"), Path("run"), CPU)
    first = run.batches.batch(5).clean
    monkeypatch.chdir(there)
    again = resume(here / "run", CPU)
    assert again.config.data.root == str(here / "data")
    assert again.config.data.train[0].source == str(here / "data" / "train")
    assert torch.equal(again.batches.batch(5).clean, first)


def test_every_path_of_a_config_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("IRAE_DATA", "sets")
    for name in ("sets/pairs", "pairs", "masks", "mine", "sets/mine", "sets/val", "old"):
        (tmp_path / name).mkdir(parents=True)
    found = absolute_paths(
        load_config(
            "photo.yaml",
            [
                "degradation.pairs=pairs",
                "data.train=[mine, birds, absent]",
                "data.validation={source: val, pairs: pairs}",
                "model.init=old",
            ],
        )
    )
    assert found.data.root == str(tmp_path / "sets")
    # Pairs are looked up below the root first, other folders here.
    assert found.degradation.pairs == str(tmp_path / "sets/pairs")  # type: ignore[attr-defined]
    sources = [source.source for source in found.data.train]
    assert sources == [str(tmp_path / "mine"), "birds", "absent"]
    assert found.data.validation.source == str(tmp_path / "sets/val")
    assert found.data.validation.pairs == str(tmp_path / "sets/pairs")  # type: ignore[attr-defined]
    assert found.model.init == str(tmp_path / "old")
    holes = absolute_paths(load_config("inpaint.yaml", ["degradation.masks=masks"]))
    assert holes.degradation.masks == str(tmp_path / "masks")  # type: ignore[attr-defined]
    packaged = absolute_paths(load_config("denoise.yaml", ["model.init=denoise"]))
    assert packaged.model.init == "denoise"


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_settings_of_the_optimiser_can_be_changed_on_resume(
    optimizer: str, tmp_path: Path, pictures: Path
) -> None:
    run = begin(config(pictures, f"training.optimizer={optimizer}"), tmp_path / "run", CPU)
    train(run, max_steps=2)
    before = [p.detach().norm() for p in run.network.parameters()]
    new = changed(run, "training.weight_decay=50", "training.betas=[0.5, 0.6]")
    again = resume(tmp_path / "run", CPU, new)
    for group in again.train_step.optimizer.param_groups:
        assert group["weight_decay"] == 50
        assert tuple(group["betas"]) == (0.5, 0.6)
    train(again, max_steps=8)
    after = [p.detach().norm() for p in again.network.parameters()]
    assert sum(after) < 0.9 * sum(before)


def best(folder: Path) -> float:
    return float(load_state(folder)["best"])


@pytest.mark.parametrize(
    ("override", "forgotten"),
    [
        ("training.steps=20", False),
        ("data.validation.max_round_trip=0.4", False),
        ("data.validation.crop=24", True),
        ("data.validation.images=1", True),
        ("data.validation.sigma=[10]", True),
        ("data.validation.source=train", True),
    ],
)
@pytest.mark.parametrize("version", ["now", "without a fingerprint"])
def test_a_best_score_on_other_pictures_is_forgotten(
    version: str,
    override: str,
    forgotten: bool,
    tmp_path: Path,
    pictures: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = begin(config(pictures), tmp_path / "run", CPU)
    train(run, max_steps=4)
    state = load_state(tmp_path / "run")
    state["best"] = 99.0  # No later validation can beat it.
    if version != "now":
        del state["validation"], state["refused"]
    save_state(tmp_path / "run", state)
    value = override.replace("=train", f"={pictures / 'train'}")
    again = resume(tmp_path / "run", CPU, changed(run, value))
    train(again, max_steps=8)
    said = capsys.readouterr().err
    assert ("99.000 dB, is forgotten" in said) == forgotten
    assert (best(tmp_path / "run") < 99) == forgotten


def test_where_the_validation_pictures_lie_is_no_change(tmp_path: Path, pictures: Path) -> None:
    run = begin(config(pictures), tmp_path / "run", CPU)
    train(run, max_steps=4)
    moved = shutil.copytree(pictures / "val", tmp_path / "moved")
    again = resume(tmp_path / "run", CPU, changed(run, f"data.validation.source={moved}"))
    assert again.best == run.best > 0
    # Another picture of the same name is one.
    save_image(torch.rand(3, 48, 64), moved / "0.png")
    other = resume(tmp_path / "run", CPU, changed(run, f"data.validation.source={moved}"))
    assert other.best == float("-inf")


def test_two_processes_never_train_in_one_folder(tmp_path: Path, pictures: Path) -> None:
    run = begin(config(pictures), tmp_path / "run", CPU)
    # The same process may: a budget of time resumes its own run.
    assert resume(tmp_path / "run", CPU).step == 0
    # A second handle on the file is to the lock what another process is.
    with pytest.raises(BusyError):
        lock_file(tmp_path / "run" / LOCK_NAME)
    del run
    gc.collect()
    content = (tmp_path / "run" / STATE_FILE).read_bytes()
    with lock_file(tmp_path / "run" / LOCK_NAME):
        with pytest.raises(BusyError, match="is at work there"):
            resume(tmp_path / "run", CPU)
        (tmp_path / "new").mkdir()
        with lock_file(tmp_path / "new" / LOCK_NAME), pytest.raises(BusyError):
            begin(config(pictures), tmp_path / "new", CPU)
    assert (tmp_path / "run" / STATE_FILE).read_bytes() == content
    assert [path.name for path in (tmp_path / "new").iterdir()] == [LOCK_NAME]
    assert resume(tmp_path / "run", CPU).step == 0


def test_a_start_that_was_killed_is_no_obstacle(tmp_path: Path, pictures: Path) -> None:
    begin(config(pictures), tmp_path / "run", CPU)
    (tmp_path / "run" / STATE_FILE).unlink()
    begin(config(pictures), tmp_path / "run", CPU)
    # Nor are the notes of what starts it.
    (tmp_path / "noted").mkdir()
    for name in ("cell.json", "job.log", "slurm-1.out"):
        (tmp_path / "noted" / name).write_text("{}")
    begin(config(pictures), tmp_path / "noted", CPU)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TrainingError, match="is a file"):
        begin(config(pictures), tmp_path / "file", CPU)


def test_weights_that_invert_badly_are_never_the_best_and_that_is_said(
    tmp_path: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ["data.validation.max_round_trip=1e-30", "model.preset=paper"]
    given = config(pictures, *values, options="{width: 8, depth: 2, levels: 2}")
    run = begin(given, tmp_path / "run", CPU)
    train(run, max_steps=8)
    said = capsys.readouterr().err
    assert (
        said.count("warning: the round trip exceeds data.validation.max_round_trip, 1e-30/255") == 2
    )
    assert not (tmp_path / "run" / "best.safetensors").exists()
    told = "no best weights, since the round trip exceeded data.validation.max_round_trip"
    assert told in run.describe()
    assert told in resume(tmp_path / "run", CPU).describe()
    better = resume(tmp_path / "run", CPU, changed(run, "data.validation.max_round_trip=0.5"))
    train(better)
    assert "best validation " in better.describe()
