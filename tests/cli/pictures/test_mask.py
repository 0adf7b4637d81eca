"""``irae mask``, ``irae restore --find-damage`` and ``irae inspect --damage-map``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., CompletedProcess[str]]


def photo(height: int = 160, width: int = 200) -> np.ndarray[Any, Any]:
    """Smooth colours, uint8 ``H W 3``."""
    rows, columns = np.mgrid[:height, :width] / 160
    planes = [
        90 + 60 * np.sin(3 * rows + 2 * columns),
        110 + 50 * np.cos(2 * columns * rows + 1),
        100 + 40 * rows,
    ]
    return np.stack(planes, axis=2).round().astype(np.uint8)


def scratched(height: int = 160, width: int = 200) -> np.ndarray[Any, Any]:
    pixels = photo(height, width)
    pixels[10:-10, 60:62] = 250
    return pixels


def save(path: Path, pixels: np.ndarray[Any, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def pixels_of(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.array(image)


def test_a_mask_is_white_on_the_scratch(irae: Run, tmp_path: Path) -> None:
    old = save(tmp_path / "old.png", scratched())
    done = irae("mask", old, "-o", tmp_path / "m.png")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'm.png'}\n"
    assert f"{old}: " in done.stderr and "scratches and hairs" in done.stderr
    mask = pixels_of(tmp_path / "m.png")
    assert mask.shape == (160, 200) and set(np.unique(mask)) == {0, 255}
    assert (mask[12:-12, 60:62] == 255).mean() > 0.9
    assert (mask[:, 70:] == 0).all()

    again = irae("restore", old, "--mask", tmp_path / "m.png")
    assert again.returncode == 0, again.stderr
    assert np.abs(pixels_of(tmp_path / "old.restored.png").astype(int) - photo()).max() < 40


def test_masks_of_a_folder_lie_beside_and_are_no_pictures(irae: Run, tmp_path: Path) -> None:
    save(tmp_path / "a.png", scratched())
    save(tmp_path / "b.png", photo())
    (tmp_path / "c.png").write_bytes(b"no picture")
    done = irae("mask", tmp_path, "--json")
    assert done.returncode == 3 and "c.png" in done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(row["output"]).name for row in rows] == ["a.mask.png", "b.mask.png"]
    assert rows[0]["damage"]["damaged"] > 0 and rows[1]["damage"] == {"damaged": 0, "kinds": {}}
    assert not pixels_of(tmp_path / "b.mask.png").any()
    (tmp_path / "c.png").unlink()
    refused = irae("mask", tmp_path)
    assert refused.returncode == 3 and refused.stderr.count("exists already") == 2
    assert irae("mask", tmp_path, "--overwrite").returncode == 0
    assert not (tmp_path / "a.mask.mask.png").exists()


def test_a_mask_of_nearly_everything_is_doubted(irae: Run, tmp_path: Path) -> None:
    done = irae("mask", save(tmp_path / "old.png", photo(40, 50)), "--threshold", "0")
    assert done.returncode == 0, done.stderr
    assert "100.00 % of the picture is damaged" in done.stderr
    assert "too little is left to fill it from, so correct the mask" in done.stderr


def test_masks_are_upright(irae: Run, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6  # Turned by a quarter.
    old = save(tmp_path / "old.jpg", scratched(), quality=95, exif=exif)
    assert irae("mask", old).returncode == 0
    mask = pixels_of(tmp_path / "old.mask.png")
    assert mask.shape == (200, 160)
    assert (mask[60:62, 12:-12] == 255).mean() > 0.9


def test_found_scratches_are_filled_and_nothing_else_changes(irae: Run, tmp_path: Path) -> None:
    old = save(tmp_path / "old.png", scratched())
    done = irae("restore", old, "--find-damage", "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[0])
    assert row["task"] == "inpaint" and "scratches and hairs" in row["damage"]["kinds"]
    assert "of the picture is damaged: scratches and hairs" in done.stderr
    irae("mask", old, "-o", tmp_path / "m.png")
    mask, restored = pixels_of(tmp_path / "m.png") > 0, pixels_of(tmp_path / "old.restored.png")
    assert (restored[~mask] == scratched()[~mask]).all()
    assert np.abs(restored[mask].astype(int) - photo()[mask]).max() < 40


def test_a_picture_without_damage_is_left_as_it_is(irae: Run, tmp_path: Path) -> None:
    good = save(tmp_path / "good.png", photo(), pnginfo=None, optimize=True)
    done = irae("restore", good, "--find-damage")
    assert done.returncode == 0, done.stderr
    assert "no damage found, left as it is" in done.stderr
    assert (tmp_path / "good.restored.png").read_bytes() == good.read_bytes()


def test_another_task_comes_after_the_filling(irae: Run, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 6, (160, 200, 3))
    grainy = (scratched() + noise).round().clip(0, 255).astype(np.uint8)
    old = save(tmp_path / "old.png", grainy)
    done = irae("restore", old, "--find-damage", "--task", "photo", "--json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[0])
    assert row["task"] == "photo" and "scratches and hairs" in row["damage"]["kinds"]
    assert "scratches and hairs" in " ".join(row["notes"])
    error = np.abs(pixels_of(tmp_path / "old.restored.png").astype(int) - photo())
    assert error[20:-20, 59:63].mean() < 12 and error.mean() < 4


def test_a_folder_is_not_done_twice_and_a_new_option_is_noticed(irae: Run, tmp_path: Path) -> None:
    save(tmp_path / "in" / "old.png", scratched())
    out = tmp_path / "out"
    first = irae("restore", tmp_path / "in", "-o", out, "--find-damage")
    assert first.returncode == 0, first.stderr
    again = irae("restore", tmp_path / "in", "-o", out, "--find-damage", "--json")
    assert json.loads(again.stdout.splitlines()[0])["status"] == "skipped"
    other = irae("restore", tmp_path / "in", "-o", out, "--task", "denoise")
    assert other.returncode == 3 and "find_damage" in other.stderr


def test_a_jpeg_becomes_a_png_so_that_nothing_else_changes(irae: Run, tmp_path: Path) -> None:
    old = save(tmp_path / "old.jpg", scratched(), quality=95)
    done = irae("restore", old, "--find-damage")
    assert done.returncode == 0, done.stderr
    irae("mask", old, "-o", tmp_path / "m.png")
    mask = pixels_of(tmp_path / "m.png") > 0
    restored = pixels_of(tmp_path / "old.restored.png")
    assert mask.any() and (restored[~mask] == pixels_of(old)[~mask]).all()


@pytest.mark.parametrize("to_folder", [True, False])
def test_of_a_folder_of_jpegs_only_the_damaged_ones_become_png(
    irae: Run, tmp_path: Path, to_folder: bool
) -> None:
    good = save(tmp_path / "in/a.jpg", photo(), quality=90)
    gray = save(tmp_path / "in/sub/b.JPG", photo()[..., 0], quality=80)
    save(tmp_path / "in/c.jpg", scratched(), quality=95)
    asked: list[object] = ["restore", tmp_path / "in", "--find-damage", "--recursive", "--json"]
    out = tmp_path / "out" if to_folder else tmp_path / "in"
    asked += ["-o", out] if to_folder else []
    mark = "" if to_folder else ".restored"
    done = irae(*asked)
    assert done.returncode == 0, done.stderr
    names = [f"a{mark}.jpg", f"c{mark}.png", f"sub/b{mark}.JPG"]
    made = {path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.is_file()}
    inputs = {"irae-manifest.jsonl"} if to_folder else {"a.jpg", "c.jpg", "sub/b.JPG"}
    assert made == {*names, *inputs}
    assert (out / names[0]).read_bytes() == good.read_bytes()
    assert (out / names[2]).read_bytes() == gray.read_bytes()
    rows = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
    assert [Path(row["output"]).name for row in rows] == [Path(name).name for name in names]
    # Only what is written as another kind of file is said to be.
    assert done.stderr.count("written as") == 1 and f"c{mark}.png, since .jpg" in done.stderr
    assert done.stderr.count("no damage found, left as it is") == 2
    again = irae(*asked)
    if to_folder:
        statuses = [json.loads(line).get("status") for line in again.stdout.splitlines()]
        assert statuses == ["skipped"] * 3 + [None]
        good.write_bytes(gray.read_bytes())
        third = irae(*asked)
        assert third.returncode == 0 and (out / "a.jpg").read_bytes() == gray.read_bytes()
    else:
        assert again.returncode == 3 and again.stderr.count("exists already") == 3


def test_a_copy_never_replaces_what_is_not_its_own(irae: Run, tmp_path: Path) -> None:
    save(tmp_path / "in/a.jpg", photo(), quality=90)
    other = save(tmp_path / "out/a.jpg", scratched(), quality=50).read_bytes()
    asked = ["restore", tmp_path / "in", "--find-damage", "-o", tmp_path / "out"]
    refused = irae(*asked)
    assert refused.returncode == 3 and "a.jpg: exists already" in refused.stderr
    assert (tmp_path / "out/a.jpg").read_bytes() == other
    assert irae(*asked, "--overwrite").returncode == 0
    assert (tmp_path / "out/a.jpg").read_bytes() == (tmp_path / "in/a.jpg").read_bytes()
    # Beside the inputs there is no place for a copy of this name.
    beside = irae("restore", tmp_path / "in", "--find-damage", "-o", tmp_path / "in")
    assert beside.returncode == 0, beside.stderr
    assert (pixels_of(tmp_path / "in/a.png") == pixels_of(tmp_path / "in/a.jpg")).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_named_format_is_kept_without_damage(irae: Run, tmp_path: Path, suffix: str) -> None:
    good = save(tmp_path / "in/a.jpg", photo(), quality=90)
    done = irae("restore", good, "--find-damage", "-o", tmp_path / f"b{suffix}")
    assert done.returncode == 0, done.stderr
    assert (pixels_of(tmp_path / f"b{suffix}") == pixels_of(good)).all()
    done = irae("restore", good.parent, "--find-damage", "-o", tmp_path / "o", "--format", suffix)
    assert done.returncode == 0, done.stderr
    assert (pixels_of(tmp_path / f"o/a{suffix}") == pixels_of(good)).all()


def test_pages_are_filled_one_by_one(irae: Run, tmp_path: Path) -> None:
    pages = [Image.fromarray(each) for each in (scratched(), photo())]
    pages[0].save(tmp_path / "scan.tif", save_all=True, append_images=pages[1:])
    done = irae("restore", tmp_path / "scan.tif", "--find-damage")
    assert done.returncode == 0, done.stderr
    assert "page 1: " in done.stderr and "page 2: no damage found" in done.stderr
    with Image.open(tmp_path / "scan.restored.tif") as restored:
        restored.seek(1)
        assert (np.array(restored) == photo()).all()


def test_the_map_shows_the_scratch(irae: Run, tmp_path: Path) -> None:
    old, drawn = save(tmp_path / "old.png", scratched()), tmp_path / "map.png"
    done = irae("inspect", old, "--damage-map", drawn)
    assert done.returncode == 0, done.stderr
    assert "  damage: " in done.stdout and "scratches and hairs" in done.stdout
    levels = pixels_of(drawn).astype(int)
    assert levels[20:-20, 60:62].mean() > 200 > 20 > levels[:, 80:].mean()
    row = json.loads(irae("inspect", old, "--damage-map", drawn, "--overwrite", "--json").stdout)
    assert row["damaged"] > 0 and row["kinds"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["restore", "A", "--find-damage", "--mask", "A"], "both say where the holes are"),
        (["restore", "A", "--mask", "nothing.png"], "no such mask file or folder; check the name"),
        (["restore", "A", "--detector", "scratches"], "add --find-damage"),
        (["restore", "A", "--find-damage", "--detector", "denoise"], "finds no damage"),
        (["restore", "A", "--find-damage", "--strength", "0.5"], "--strength"),
        (["restore", "A", "--find-damage", "--uncertainty", "u.png"], "drop one"),
        (["restore", "A", "--model", "scratches"], "finds damage and restores nothing"),
        (["restore", "A", "--find-damage", "--grow-mask", "2"], "irae mask, and give it as --mask"),
        (["restore", "A", "--task", "inpaint"], "or --find-damage"),
        (["mask", "A", "--detector", "nothing"], "neither packaged"),
        (["mask", "A", "-o", "m.xyz"], "is no suffix of a picture"),
        (["inspect", "A", "--detector", "scratches"], "add --damage-map"),
        (["inspect", "A", "--damage-map", "m.jpg"], "must end in .png"),
        (["inspect", "A", "A", "--damage-map", "m.png"], "give one file"),
        (["inspect", "A", "--damage-map", "A"], "exists"),
        (["inspect", "A", "--damage-map", "m.png", "--device", "cuda:99"], "cuda"),
        (["inspect", "A", "--damage-map", "m.png", "--detector", "nothing"], "neither packaged"),
    ],
)
def test_what_does_not_fit_is_one_line(
    irae: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    old = save(tmp_path / "old.png", photo(40, 50))
    done = irae(*[str(old) if word == "A" else word for word in words])
    assert done.returncode in (1, 2)
    assert message in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("size", [(1, 1), (5, 200), (16, 16)])
def test_small_pictures_have_masks(irae: Run, tmp_path: Path, size: tuple[int, int]) -> None:
    small = save(tmp_path / "small.png", photo(*size))
    assert irae("mask", small).returncode == 0
    assert pixels_of(tmp_path / "small.mask.png").shape == size
