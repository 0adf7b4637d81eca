"""``irae inspect``, and ``irae restore`` doing what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

Run = Callable[..., CompletedProcess[str]]


def _photo(side: int = 96) -> np.ndarray[Any, Any]:
    """Smooth colours with some edges, as a photograph has; noise-free."""
    rows, columns = np.mgrid[:side, :side] / side
    planes = [
        90 + 80 * np.sin(5 * rows + 3 * columns),
        110 + 70 * np.cos(4 * columns * rows + 1),
        100 + 60 * rows + 40 * (columns > 0.6),
    ]
    return np.stack(planes, axis=2)


def _scene() -> np.ndarray[Any, Any]:
    """A part of a real photograph."""
    whole = load_sample_image("china.jpg")
    return np.asarray(whole[150:246, 300:396], dtype=float)


def _save(path: Path, values: np.ndarray[Any, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.round().clip(0, 255).astype(np.uint8)).save(path, **options)
    return path


def _noisy(path: Path, sigma: float = 25) -> Path:
    noise = np.random.default_rng(0).normal(0, sigma, (96, 96, 3))
    return _save(path, _photo() + noise)


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.array(image).astype(float)


def _error(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    return float(np.square(a - b).mean())


def test_a_person_reads_what_is_wrong(irae: Run, tmp_path: Path) -> None:
    noisy, damaged = _noisy(tmp_path / "noisy.png"), _save(tmp_path / "j.jpg", _scene(), quality=20)
    result = irae("inspect", noisy, damaged)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == f"{noisy}: 96x96, PNG RGB, 8 bits, no profile"
    assert lines[1].startswith("  noise: sigma about 2")
    assert lines[2] == "  JPEG: no trace"
    assert lines[4].endswith("-> denoise")
    assert lines[7] == "  JPEG: quality 20 by its tables"
    assert lines[9].startswith("  restore: JPEG quality 20 by its tables, about ")
    assert lines[9].endswith(" dB to gain -> jpeg")


def test_each_page_of_a_scan_is_told(irae: Run, tmp_path: Path) -> None:
    scan = tmp_path / "scan.tif"
    clean, noisy = _save(tmp_path / "clean.png", _photo()), _noisy(tmp_path / "noisy.png")
    with Image.open(clean) as first, Image.open(noisy) as second:
        first.save(scan, save_all=True, append_images=[second, second.rotate(90)])
    result = irae("inspect", scan)
    assert (result.returncode, result.stderr) == (0, "")
    heads = [line for line in result.stdout.splitlines() if not line.startswith("  ")]
    rest = "96x96, TIFF RGB, 8 bits, no profile"
    assert heads == [f"{scan}: page {number}: {rest}" for number in (1, 2, 3)]
    result = irae("inspect", scan, "--json")
    rows = list(map(json.loads, result.stdout.splitlines()))
    assert [row["page"] for row in rows] == [1, 2, 3]
    assert [row["task"] for row in rows] == [None, "denoise", "denoise"]
    # A page that is cut off is one error, after the pages before it.
    whole = scan.read_bytes()
    with Image.open(scan) as image:
        image.seek(2)
        start = image.tag_v2[273][0]
    scan.write_bytes(whole[: start + 99])
    result = irae("inspect", scan, "--json")
    assert result.returncode == 3 and len(result.stderr.splitlines()) == 1


def test_a_program_reads_a_line_for_each(irae: Run, tmp_path: Path) -> None:
    _noisy(tmp_path / "a.png")
    _save(tmp_path / "below/b.jpg", _scene(), quality=20)
    (tmp_path / "c.png").write_bytes(b"no picture")
    result = irae("inspect", tmp_path, tmp_path / "missing.png", "--recursive", "--json")
    assert result.returncode == 3
    rows = {Path(row["input"]).name: row for row in map(json.loads, result.stdout.splitlines())}
    assert rows["a.png"]["task"] == "denoise"
    assert rows["a.png"]["sigma"] == pytest.approx(25, abs=4)
    assert rows["b.jpg"]["jpeg"] == {
        "quality": 20, "standard": True, "source": "tables", "grid": [0, 0]
    }  # fmt: skip
    assert rows["b.jpg"]["task"] == "jpeg"
    assert set(rows["missing.png"]) == set(rows["c.png"]) == {"input", "error"}
    assert len(result.stderr.splitlines()) == 2


def test_restore_does_what_inspect_says(irae: Run, tmp_path: Path) -> None:
    noisy = _noisy(tmp_path / "noisy.png")
    damaged = _save(tmp_path / "damaged.png", _photo())
    Image.open(_save(tmp_path / "d.jpg", _scene(), quality=15)).save(damaged)
    clean = _save(tmp_path / "clean.png", _photo())
    out = tmp_path / "out"
    result = irae("restore", noisy, damaged, clean, "-o", out, "--device", "cpu", "--json")
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()][:3]
    assert [row["task"] for row in rows] == ["denoise", "jpeg", None]
    assert [row["damage"]["jpeg"] is None for row in rows] == [True, False, True]
    notes = [line for line in result.stderr.splitlines() if line.startswith("irae: note: ")]
    inspected = irae("inspect", noisy, damaged, clean, "--json").stdout.splitlines()
    assert notes == [
        f"irae: note: {row['input']}: {row['reason']}" for row in map(json.loads, inspected)
    ]
    truth = _photo()
    assert _error(_pixels(out / "noisy.png"), truth) < 0.3 * _error(_pixels(noisy), truth)
    assert _error(_pixels(out / "damaged.png"), _scene()) < _error(_pixels(damaged), _scene())
    assert (out / "clean.png").read_bytes() == clean.read_bytes()


def test_a_clean_jpeg_is_not_compressed_again(irae: Run, tmp_path: Path) -> None:
    clean = _save(tmp_path / "clean.jpg", _photo(), quality=95)
    assert irae("restore", clean, "--device", "cpu").returncode == 0
    assert (tmp_path / "clean.restored.jpg").read_bytes() == clean.read_bytes()
    assert irae("restore", clean, "-o", tmp_path / "x.png", "--device", "cpu").returncode == 0
    assert np.array_equal(_pixels(tmp_path / "x.png"), _pixels(clean))


def test_a_task_that_was_asked_for_is_done_without_looking(irae: Run, tmp_path: Path) -> None:
    clean = _save(tmp_path / "clean.png", _photo())
    result = irae("restore", clean, "--task", "denoise", "--device", "cpu", "--json")
    assert result.returncode == 0
    row = json.loads(result.stdout.splitlines()[0])
    assert (row["task"], row["damage"]) == ("denoise", None)
    assert result.stderr == ""


def test_strength_blends(irae: Run, tmp_path: Path) -> None:
    noisy = _noisy(tmp_path / "noisy.png")
    errors = []
    for strength in (0, 0.25, 0.5, 0.75, 1):
        target = tmp_path / f"{strength}.png"
        assert irae("restore", noisy, "-o", target, "--strength", strength).returncode == 0
        errors.append(_error(_pixels(target), _pixels(noisy)))
    assert errors[0] == 0
    assert errors == sorted(set(errors))


def test_strength_zero_gives_a_jpeg_back(irae: Run, tmp_path: Path) -> None:
    damaged = _save(tmp_path / "x.jpg", _photo(), quality=20)
    assert irae("restore", damaged, "--strength", 0).returncode == 0
    assert (tmp_path / "x.restored.jpg").read_bytes() == damaged.read_bytes()


def test_a_strength_for_holes_is_refused(
    irae: Run, tmp_path: Path, model_files: dict[str, Path]
) -> None:
    picture, mask = _noisy(tmp_path / "x.png"), tmp_path / "mask.png"
    Image.new("L", (96, 96), 255).save(mask)
    options = ["--mask", mask, "--model", model_files["inpaint"], "--strength", 0.5]
    result = irae("restore", picture, *options)
    assert result.returncode == 2
    assert "--strength 0.5" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "x.restored.png").exists()
