"""The page's results are those of ``irae restore``."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.restore_files import Request, restore_files
from irae.errors import PictureError
from irae.restoring.options import RestoreOptions
from irae.ui.work import RestoreService, StoppedError, distinct_names, write_zip


@pytest.fixture
def service() -> RestoreService:
    return RestoreService("cpu", "fp32", most_bytes=100_000, most_pixels=10_000)


def _noisy(path: Path, seed: int = 0, size: tuple[int, int] = (40, 32)) -> Path:
    values = np.random.default_rng(seed).normal(128, 25, (size[1], size[0], 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(path)
    return path


def _restored(source: Path, **options: float | str | None) -> bytes:
    """What the command makes of a picture."""
    told: list[Outcome] = []
    restorers = ModelPool(RestoreOptions(device="cpu", precision="fp32", **options))
    restore_files(Request((str(source),)), restorers, told.append)
    assert told[0].output is not None
    return Path(told[0].output).read_bytes()


def test_one_picture(service: RestoreService, tmp_path: Path) -> None:
    ours, theirs = _noisy(tmp_path / "a/x.png"), _noisy(tmp_path / "b/x.png")
    outcome = service.restore(ours, RestoreOptions("denoise", strength=0.5, ensemble=True))
    assert outcome.input == "x.png"
    assert outcome.output == "x.restored.png"
    result = (tmp_path / "a/x.restored.png").read_bytes()
    assert result == _restored(theirs, task="denoise", strength=0.5, ensemble=True)
    assert result != ours.read_bytes()


def test_automatic_says_what_it_chose(service: RestoreService, tmp_path: Path) -> None:
    source = _noisy(tmp_path / "x.png")
    picture, choice = service.look(source)
    assert picture.width == 40
    assert choice.task == "denoise"
    outcome = service.restore(source, RestoreOptions())
    assert outcome.task == "denoise"
    assert str(tmp_path) not in (outcome.why or "")


def test_what_is_too_large_is_refused_unread(service: RestoreService, tmp_path: Path) -> None:
    Image.new("RGB", (101, 100)).save(tmp_path / "wide.png")
    with pytest.raises(PictureError, match=r"^wide\.png: 101 × 100 pixels.*--max-pixels"):
        service.look(tmp_path / "wide.png")
    (tmp_path / "long.png").write_bytes(bytes(100_001))
    with pytest.raises(PictureError, match=r"^long\.png: 0\.1 MB.*--max-upload-mb"):
        service.look(tmp_path / "long.png")


def test_errors_name_the_file_without_our_folders(service: RestoreService, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"nothing")
    with pytest.raises(PictureError, match=r"^x\.png: not a picture"):
        service.look(tmp_path / "x.png")
    with pytest.raises(PictureError, match=r"^x\.png: not a picture"):
        service.restore(tmp_path / "x.png", RestoreOptions())


def test_a_folder_and_a_stop(service: RestoreService, tmp_path: Path) -> None:
    for index in range(3):
        _noisy(tmp_path / f"in/{index}.png", index)
    (tmp_path / "in/bad.png").write_bytes(b"nothing")
    told: list[Outcome] = []
    service.restore_folder(
        tmp_path / "in", tmp_path / "out", RestoreOptions("denoise"), told.append
    )
    assert sorted(outcome.input for outcome in told) == ["0.png", "1.png", "2.png", "bad.png"]
    assert sum(outcome.error is not None for outcome in told) == 1
    write_zip(tmp_path / "out", tmp_path / "x.zip")
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        names = archive.namelist()
        assert archive.read("1.png") == _restored(tmp_path / "in/1.png", task="denoise")
    assert names == ["0.png", "1.png", "2.png"]

    def stop(_outcome: Outcome) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        service.restore_folder(tmp_path / "in", tmp_path / "two", RestoreOptions("denoise"), stop)
    # What was done by then is whole, and nothing else is there.
    left = sorted(path.name for path in (tmp_path / "two").iterdir())
    assert left == ["0.png", "irae-manifest.jsonl"]


def test_names_that_would_meet_get_numbers() -> None:
    names = ["x.png", "X.jpg", "y.png", "x.png", "x (2).tif"]
    assert distinct_names(names) == ["x.png", "X (2).jpg", "y.png", "x (3).png", "x (2) (2).tif"]
