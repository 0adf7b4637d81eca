"""``irae restore --uncertainty``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

Program = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_command_draws_a_map_as_the_picture_is_seen(
    irae: Program, tmp_path: Path, orientation: int
) -> None:
    random = np.random.default_rng(0)
    picture = tmp_path / "noisy.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    levels = random.integers(60, 190, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(levels).save(picture, exif=exif, quality=95)
    drawn = tmp_path / "map.png"
    words = ["restore", picture, "--task", "denoise", "--device", "cpu", "--precision", "fp32"]
    done = irae(*words, "--uncertainty", drawn)
    assert done.returncode == 0, done.stderr
    assert Image.open(drawn).size == ((40, 24) if orientation == 1 else (24, 40))
    assert np.asarray(Image.open(drawn)).max() > 0
    again = irae(*words, "--uncertainty", drawn, "-o", tmp_path / "x.jpg")
    assert again.returncode == 2 and "--overwrite" in again.stderr
    assert not (tmp_path / "x.jpg").exists()


def test_a_map_of_several_pictures_is_refused(irae: Program, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    several = irae("restore", tmp_path / "a.png", tmp_path / "b.png", "--uncertainty", "m.png")
    folder = irae("restore", tmp_path, "--uncertainty", "m.png")
    suffix = irae("restore", tmp_path / "a.png", "--uncertainty", "m.jpg")
    for done, named in ((several, "one file"), (folder, "one file"), (suffix, "end in .png")):
        assert done.returncode == 2 and named in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "b.png"]
