"""`irae inspect --improbable`: a map of what the surroundings do not foretell."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from PIL import Image

from irae.config import load_config
from irae.training.loop import train
from irae.training.prepare import prepare
from irae.training.run import begin

Program = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth pictures, one of them rotated by EXIF and with a mark, and a density of patches."""
    root = tmp_path_factory.mktemp("improbable")
    (root / "pictures").mkdir()
    rows, columns = np.mgrid[0:64, 0:96] / 64
    for number in range(6):
        waves = [np.sin((2 + number) * rows + c) * np.cos(3 * columns + number) for c in range(3)]
        pixels = (np.stack(waves, -1) * 90 + 128).astype(np.uint8)
        Image.fromarray(pixels).save(root / "pictures" / f"{number}.png")
    pixels[10:14, 80:84] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(root / "marked.jpg", quality=95, exif=exif)
    overrides = [
        "model.options={block: 2, ring: 2, width: 16, context: 8, coupling_width: 8, bins: 4}",
        "data.patch=16",
        "data.validation.crop=32",
        "training={batch: 8, steps: 60, warmup: 5, threads: 1, validate_every: 60, ema: 0.9}",
        "training.learning_rate=0.01",
        "training.precision=fp32",
    ]
    config = prepare(load_config("density/patches.yaml", overrides), [str(root / "pictures")])
    train(begin(config, root / "run", torch.device("cpu")))
    return root


def test_the_map_shows_the_mark_upright(irae: Program, folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "map.png"
    done = irae(
        "inspect", folder / "marked.jpg", "--improbable", target,
        "--improbable-model", folder / "run", "--device", "cpu",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "of the pixels are improbable" in done.stderr
    assert "noise:" in done.stdout
    with Image.open(target) as image:
        assert image.mode == "L" and image.size == (64, 96)  # Turned by the EXIF orientation.
        shown = np.array(image).astype(float)
    # Rows 10 to 13 and columns 80 to 83 are turned by 90 degrees clockwise.
    mark = shown[80:84, 64 - 14 : 64 - 10]
    assert mark.mean() > shown.mean() + 40


def test_mistakes_are_one_line(irae: Program, folder: Path, tmp_path: Path) -> None:
    picture, there = folder / "marked.jpg", tmp_path / "there.png"
    there.write_bytes(b"")
    run = ("--improbable-model", folder / "run", "--device", "cpu")
    cases = [
        ((picture, "--improbable", tmp_path / "map.jpg", *run), "must end in .png"),
        ((picture, "--improbable", there, *run), "--overwrite"),
        ((folder / "pictures", "--improbable", tmp_path / "m.png", *run), "give one file"),
        (
            (picture, "--improbable", tmp_path / "m.png", "--improbable-model", "denoise"),
            "no density of patches",
        ),
    ]
    for words, message in cases:
        done = irae("inspect", *words)
        assert done.returncode != 0
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
    assert there.read_bytes() == b""
    assert not (tmp_path / "m.png").exists()
