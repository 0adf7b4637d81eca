"""A picture that cannot be read costs itself alone, and its name is printed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.utils import save_image

from irae.config import load_config
from irae.errors import DataError
from irae.training.batches import picture_cache
from irae.training.checkpoint import load_state
from irae.training.loop import train
from irae.training.run import begin, resume

CPU = torch.device("cpu")


def config(root: Path, *more: str) -> Any:
    values = [
        f"data.root={root}",
        "data.train=train",
        "data.validation={source: val, images: 2, crop: 32}",
        "data.patch=16",
        "model.options={width: 16, couplings: 4, hidden: 8}",
        "training={steps: 8, batch: 4, warmup: 2, threads: 1, validate_every: 8, log_every: 8}",
        "training.precision=fp32",
    ]
    return load_config("denoise.yaml", [*values, *more])


def truncate(path: Path) -> None:
    """Leave the header of a picture whole, by which it is found good at the start."""
    path.write_bytes(path.read_bytes()[:200])


@pytest.fixture
def root(tmp_path: Path, pictures: Path) -> Path:
    return Path(shutil.copytree(pictures, tmp_path / "data"))


def weights(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = load_state(folder)["network"]
    return found


@pytest.mark.parametrize("cache", ["4", "0"])
def test_training_goes_on_without_it_and_says_so_once(
    cache: str, tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(root / "train" / "1.png")
    given = config(root, f"data.cache_gb={cache}")
    run = begin(given, tmp_path / "run", CPU)
    train(run)
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if "1.png" in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"left out: {root / 'train' / '1.png'} cannot be read")
    assert run.step == 8
    assert "1 unreadable pictures left out" in run.describe()
    # Which picture stands for it depends on the files alone, so resuming stays exact.
    half = begin(given, tmp_path / "half", CPU)
    train(half, max_steps=3)
    train(resume(tmp_path / "half", CPU))
    for key, value in weights(tmp_path / "run").items():
        assert torch.equal(value, weights(tmp_path / "half")[key]), key


def test_a_picture_that_vanishes_while_it_is_used(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_image(torch.rand(3, 20, 90), root / "train" / "3.png")  # Smaller than where crops were.
    run = begin(config(root, "data.cache_gb=0", "data.augment.shrink=1"), tmp_path / "run", CPU)
    train(run, max_steps=4)
    (root / "train" / "2.png").unlink()
    train(run)
    assert run.step == 8
    assert run.left_out == {root / "train" / "2.png"}
    assert capsys.readouterr().err.count("left out: ") == 1


def test_when_no_picture_is_left_the_steps_so_far_are_kept(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture_cache, "MOST_UNREADABLE", 2)
    run = begin(config(root, "data.cache_gb=0"), tmp_path / "run", CPU)
    train(run, max_steps=2)
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match="neither this picture nor the next 1 can be read"):
        train(run)
    state = load_state(tmp_path / "run")
    assert state["step"] == run.step >= 2
    # It goes on when the disk is back.
    shutil.copytree(root / "val", root / "train")
    assert resume(tmp_path / "run", CPU).step == run.step


def test_an_unreadable_validation_picture_is_left_out(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truncate(root / "val" / "0.png")
    train(begin(config(root), tmp_path / "run", CPU), max_steps=1)
    assert capsys.readouterr().err.count("val/0.png cannot be read") == 1
    truncate(root / "val" / "1.png")
    with pytest.raises(DataError, match=r"val/0\.png cannot be read"):
        begin(config(root), tmp_path / "other", CPU)


def test_pictures_that_serve_both_sides_are_counted(
    tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(root / "train" / "0.png", root / "val" / "copy.png")  # Other files: not compared.
    (tmp_path / "link").symlink_to(root / "train", target_is_directory=True)
    cases = (("val", 9, 0), ("train", 1, 1), (root, 9, 3), (tmp_path / "link", 2, 2))
    for number, (source, images, count) in enumerate(cases):
        given = config(root, f"data.validation={{source: '{source}', images: {images}, crop: 32}}")
        run = begin(given, tmp_path / f"run{number}", CPU)
        warned = [line for line in run.notices if "both training and validation" in line]
        what = "1 picture serves" if count == 1 else f"{count} pictures serve"
        assert len(warned) == (count > 0)
        assert all(f"warning: {what} " in line for line in warned)
    train(run, max_steps=1)
    assert capsys.readouterr().err.count("both training and validation") == 1
