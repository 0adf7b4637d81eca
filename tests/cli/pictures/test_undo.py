"""`irae restore --undoable` and `irae undo`."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

Program = Callable[..., CompletedProcess[str]]


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    pixels = np.clip(128 + rng.normal(0, 25, (40, 52, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", dpi=(72, 72))
    return tmp_path / "a.png"


def same_pixels(one: Path, other: Path) -> bool:
    with Image.open(one) as first, Image.open(other) as second:
        return first.mode == second.mode and first.tobytes() == second.tobytes()


@pytest.mark.parametrize("options", [(), ("--ensemble",), ("--strength", "0.5")])
def test_what_was_restored_comes_back(
    irae: Program, model_files: dict[str, Path], noisy: Path, options: tuple[str, ...]
) -> None:
    model = model_files["denoise"]
    done = irae("restore", noisy, "--model", model, "--undoable", *options)
    assert done.returncode == 0, done.stderr
    restored = noisy.with_name("a.restored.png")
    assert noisy.with_name("a.restored.png.irae").is_file()
    assert not same_pixels(noisy, restored)
    done = irae("undo", restored)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(noisy.with_name("a.original.png"))
    assert same_pixels(noisy, noisy.with_name("a.original.png"))
    # Nothing is replaced unasked.
    done = irae("undo", restored)
    assert done.returncode == 1
    assert "--overwrite" in done.stderr
    done = irae("undo", restored, "--overwrite", "--json")
    assert json.loads(done.stdout)["output"] == str(noisy.with_name("a.original.png"))
    assert irae("undo", restored, "-o", noisy.with_name("b.jpg")).returncode == 2


def test_a_folder_gets_its_sidecars(
    irae: Program, model_files: dict[str, Path], noisy: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = irae("restore", noisy, "-o", out, "--model", model_files["denoise"], "--undoable")
    assert done.returncode == 0, done.stderr
    back = tmp_path / "back"
    back.mkdir()
    done = irae("undo", out / "a.png", "-o", back)
    assert done.returncode == 0, done.stderr
    assert same_pixels(noisy, back / "a.png")


def test_a_sidecar_is_not_replaced_unasked(
    irae: Program, model_files: dict[str, Path], noisy: Path
) -> None:
    sidecar = noisy.with_name("a.restored.png.irae")
    sidecar.write_bytes(b"precious")
    arguments = ["restore", noisy, "--model", model_files["denoise"], "--undoable"]
    done = irae(*arguments)
    assert done.returncode == 3
    assert "a.restored.png.irae: exists already" in done.stderr
    assert sidecar.read_bytes() == b"precious"
    assert not noisy.with_name("a.restored.png").exists()
    assert irae(*arguments, "--overwrite").returncode == 0
    assert sidecar.read_bytes() != b"precious"


def test_faults_are_one_line(irae: Program, noisy: Path) -> None:
    done = irae("undo", noisy)
    assert done.returncode == 1
    assert "--undoable" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    noisy.with_name("a.png.irae").write_bytes(b"no sidecar")
    done = irae("undo", noisy)
    assert done.returncode == 1
    assert "is not a sidecar" in done.stderr
    done = irae("undo", noisy.with_name("none.png"), "--sidecar", noisy.with_name("a.png.irae"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_a_method_that_was_dropped_is_refused_and_the_version_named(
    irae: Program, noisy: Path
) -> None:
    checksum = hashlib.sha256(noisy.read_bytes()).hexdigest()
    header = {
        "format": 1,
        "irae": "0.1.0",
        "method": "inverse",
        "original": {
            "name": "b.png",
            "size": 100,
            "sha256": checksum,
            "pixels_sha256": checksum,
        },
        "restored_sha256": checksum,
        "restored_pixels": checksum,
        "model": {"name": "denoise", "checksum": checksum},
        "sections": {"container": 4, "pixels": 5},
    }
    text = json.dumps(header).encode()
    body = b"\x89irae-undo\r\n\x1a\n" + struct.pack("<I", len(text)) + text + bytes(9)
    noisy.with_name("a.png.irae").write_bytes(body + hashlib.sha256(body).digest())
    before = sorted(noisy.parent.iterdir())
    done = irae("undo", noisy)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "a.png.irae: was made by the method 'inverse', which only irae 0.1 reads" in done.stderr
    assert sorted(noisy.parent.iterdir()) == before
