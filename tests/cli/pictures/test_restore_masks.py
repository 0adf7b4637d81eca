"""Masks on the command line: one for a folder, inverted ones, doubtful ones, broken ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

Run = Callable[..., CompletedProcess[str]]
PHOTO = data.coffee()[:40, :56]
HOLE = np.zeros((40, 56), bool)
HOLE[10:20, 12:30] = True


@pytest.fixture
def inpaint(model_files: dict[str, Path]) -> list[object]:
    return ["restore", "--device", "cpu", "--model", model_files["inpaint"]]


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.array(image.convert("RGB"))


def _save(path: Path, raster: np.ndarray[Any, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(raster).save(path)
    return path


def _layer(alpha: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.dstack([np.zeros((40, 56, 3), np.uint8), np.where(alpha, 255, 0).astype(np.uint8)])


MASKS = {
    "0 and 1": HOLE.astype(np.uint8),
    "black, painted on nothing": _layer(HOLE),
    "red": np.where(HOLE[..., None], (255, 0, 0), 0).astype(np.uint8),
    "photograph with a part erased": np.dstack([PHOTO, np.where(HOLE, 0, 255).astype(np.uint8)]),
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("place", ["in", "elsewhere"])
def test_one_mask_serves_a_whole_folder(
    irae: Run, tmp_path: Path, inpaint: list[object], kind: str, place: str
) -> None:
    for number in range(3):
        _save(tmp_path / f"in/{number}.png", np.roll(PHOTO, number, axis=0))
    mask = _save(tmp_path / place / "mask.png", MASKS[kind])
    result = irae(*inpaint, tmp_path / "in", "--mask", mask, "-o", tmp_path / "out")
    assert (result.returncode, result.stderr.count("irae: ")) == (0, 0), result.stderr
    # The mask itself is no picture to restore, wherever it lies.
    made = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert made == ["0.png", "1.png", "2.png"]
    for name in made:
        before, after = _pixels(tmp_path / "in" / name), _pixels(tmp_path / "out" / name)
        assert np.array_equal(after[~HOLE], before[~HOLE])
        assert not np.array_equal(after[HOLE], before[HOLE])


def test_a_jpeg_whose_mask_is_empty_is_copied(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    source = _save(tmp_path / "in/a.jpg", PHOTO)
    mask = _save(tmp_path / "m.png", np.zeros((40, 56), np.uint8))
    result = irae(*inpaint, source.parent, "--mask", mask, "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    assert "left as it is" in result.stderr and "written as" not in result.stderr
    assert (tmp_path / "out/a.jpg").read_bytes() == source.read_bytes()
    assert not (tmp_path / "out/a.png").exists()


def test_an_inverted_mask_is_doubted_and_can_be_turned_round(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    source = _save(tmp_path / "a.png", PHOTO)
    mask = _save(tmp_path / "m.png", np.where(HOLE, 0, 255).astype(np.uint8))
    result = irae(*inpaint, source, "--mask", mask, "-o", tmp_path / "b.png")
    line = (
        f"{source}: its mask marks 91 % of the picture; --invert-mask fills the other part instead"
    )
    assert (result.returncode, result.stderr) == (0, f"irae: note: {line}\n")
    right = irae(*inpaint, source, "--mask", mask, "-o", tmp_path / "c.png", "--invert-mask")
    assert (right.returncode, right.stderr) == (0, "")
    assert np.array_equal(_pixels(tmp_path / "c.png")[~HOLE], PHOTO[~HOLE])
    # A manifest tells the two apart.
    for words, code in (([], 0), (["--invert-mask"], 3)):
        assert (
            irae(*inpaint, source, "--mask", mask, "-o", tmp_path / "o", *words).returncode == code
        )


def test_a_mask_that_marks_nothing_leaves_the_picture(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    source = _save(tmp_path / "a.png", PHOTO)
    mask = _save(tmp_path / "m.png", np.zeros((40, 56), np.uint8))
    result = irae(*inpaint, source, "--mask", mask)
    assert result.returncode == 0
    assert f"{source}: its mask marks nothing, so nothing is filled" in result.stderr
    assert f"{source}: inpaint changes nothing here, left as it is" in result.stderr
    assert (tmp_path / "a.restored.png").read_bytes() == source.read_bytes()


def test_a_picture_that_is_all_damage_is_one_line_and_the_rest_is_done(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    for name, hole in (("a", np.ones_like(HOLE)), ("b", HOLE)):
        _save(tmp_path / f"in/{name}.png", PHOTO)
        _save(tmp_path / f"masks/{name}.png", np.where(hole, 255, 0).astype(np.uint8))
    result = irae(*inpaint, tmp_path / "in", "--mask", tmp_path / "masks", "-o", tmp_path / "out")
    assert result.returncode == 3
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("irae: ")]
    assert line == (
        f"irae: error: {tmp_path / 'in' / 'a.png'}: its mask marks the whole picture, and nothing"
        " is left to fill it from; mark the damage alone, or use --invert-mask"
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "b.png",
        "irae-manifest.jsonl",
    ]


@pytest.mark.parametrize("fault", ["cut", "text", "folder of none", "psd", "animated"])
def test_an_unreadable_mask_is_one_line_and_the_rest_is_done(
    irae: Run, tmp_path: Path, inpaint: list[object], fault: str
) -> None:
    for name in ("a", "b"):
        _save(tmp_path / f"in/{name}.png", PHOTO)
        _save(tmp_path / f"masks/{name}.png", _layer(HOLE))
    broken = tmp_path / "masks" / "a.png"
    if fault == "cut":
        broken.write_bytes(broken.read_bytes()[:-40])
    elif fault == "text":
        broken.write_bytes(b"no picture")
    elif fault == "psd":
        broken.write_bytes(b"8BPS\0\1" + bytes(50))
    elif fault == "animated":
        frames = [Image.fromarray(_layer(HOLE)), Image.fromarray(_layer(~HOLE))]
        frames[0].save(broken, save_all=True, append_images=frames[1:])
    else:
        broken.unlink()
    result = irae(*inpaint, tmp_path / "in", "--mask", tmp_path / "masks", "-o", tmp_path / "out")
    assert result.returncode == 3
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("irae: ")]
    assert line.startswith("irae: error: ") and str(tmp_path) in line and ";" in line
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "b.png",
        "irae-manifest.jsonl",
    ]


@pytest.mark.parametrize(
    ("command", "masks", "out"),
    [
        ("restore", "none", "new/out"),
        ("restore", "none", "new/b.png"),
        ("restore", "small", "new/b.png"),
        ("degrade", "small", "new/out"),
    ],
)
def test_where_every_picture_fails_no_empty_folder_is_left(
    irae: Run, tmp_path: Path, inpaint: list[object], command: str, masks: str, out: str
) -> None:
    source = _save(tmp_path / "in/a.png", PHOTO)
    _save(tmp_path / "none/b.png", PHOTO)
    _save(tmp_path / "small/a.png", np.ones((4, 4), np.uint8))
    words = inpaint if command == "restore" else [command]
    result = irae(*words, source, "--mask", tmp_path / masks, "-o", tmp_path / out)
    assert result.returncode == 3, result.stderr
    assert not (tmp_path / "new").exists()


def test_an_empty_folder_that_was_there_stays(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    source = _save(tmp_path / "in/a.png", PHOTO)
    for name in ("masks", "out"):
        (tmp_path / name).mkdir()
    result = irae(*inpaint, source, "--mask", tmp_path / "masks", "-o", tmp_path / "out")
    assert result.returncode == 3, result.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_invert_mask_is_for_masks(irae: Run, tmp_path: Path, inpaint: list[object]) -> None:
    result = irae(*inpaint, _save(tmp_path / "a.png", PHOTO), "--invert-mask")
    assert (result.returncode, "--invert-mask is for holes" in result.stderr) == (2, True)


def test_known_pixels_of_a_picture_of_256_colours_are_kept(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    mask = _save(tmp_path / "m.png", _layer(HOLE))
    for suffix in (".png", ".tif", ".bmp", ".gif"):
        source = tmp_path / f"a{suffix}"
        Image.fromarray(PHOTO).quantize(256).save(source)
        result = irae(*inpaint, source, "--mask", mask)
        assert result.returncode == 0, result.stderr
        (made,) = tmp_path.glob("a.restored.*")
        assert np.array_equal(_pixels(made)[~HOLE], _pixels(source)[~HOLE])
        made.unlink()
