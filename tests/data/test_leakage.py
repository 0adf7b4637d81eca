"""No test picture is in a training folder: not the file, and not the photograph in another form."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from irae.config import load_config
from irae.layered_yaml import shipped_configs

TRAINED_ON = "photos"
CHOSEN_ON = "photos_val"
NEAR = 6
"""Bits of 64 in which the hashes of one photograph, scaled or compressed, may differ."""


def perceptual_hashes(path: Path) -> list[int]:
    """Difference hashes of a picture and of its mirror image, 64 bits each."""
    with Image.open(path) as image:
        gray = image.convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    values = np.asarray(gray, dtype=np.int16)
    found = []
    for each in (values, values[:, ::-1]):
        bits = (each[:, 1:] > each[:, :-1]).flatten()
        found.append(int("".join("1" if bit else "0" for bit in bits), 2))
    return found


def files(folder: Path) -> list[Path]:
    suffixes = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes)


@pytest.fixture(scope="module")
def sets(shared: Path) -> dict[str, dict[Path, list[int]]]:
    return {
        name: {path: perceptual_hashes(path) for path in files(shared / "data" / name)}
        for name in (TRAINED_ON, CHOSEN_ON, "testsets")
    }


def test_one_photograph_in_two_forms_is_noticed(shared: Path, tmp_path: Path) -> None:
    original = files(shared / "data" / "testsets" / "CBSD68")[3]
    with Image.open(original) as image:
        halved = image.convert("RGB").resize((image.width // 2, image.height // 2))
    halved.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "again.jpg", quality=40)
    here, there = perceptual_hashes(original), perceptual_hashes(tmp_path / "again.jpg")
    assert min((here[0] ^ each).bit_count() for each in there) <= NEAR


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ours", "others"),
    [(TRAINED_ON, "testsets"), (CHOSEN_ON, "testsets"), (TRAINED_ON, CHOSEN_ON)],
)
def test_no_picture_is_in_two_sets(
    sets: dict[str, dict[Path, list[int]]], ours: str, others: str
) -> None:
    digests = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sets[ours]}
    alike = [
        (path, digests[digest])
        for path in sets[others]
        if (digest := hashlib.sha256(path.read_bytes()).hexdigest()) in digests
    ]
    assert not alike
    for path, (straight, _) in sets[others].items():
        for trained, hashes in sets[ours].items():
            nearest = min((straight ^ each).bit_count() for each in hashes)
            assert nearest > NEAR, f"{path} is {trained} ({nearest} bits)"


def test_the_packaged_weights_are_trained_on_what_is_looked_at_here() -> None:
    for name in shipped_configs():
        if not name.startswith("release/"):
            continue
        data = load_config(name).data
        assert all(source.source.startswith(f"{TRAINED_ON}/") for source in data.train), name
        assert data.validation.source == CHOSEN_ON
