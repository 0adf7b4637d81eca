"""``irae degrade``: each degradation as a file, seeded, and restorable again."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image

from irae.imaging.io.files import read_picture, write_picture

Run = Callable[..., CompletedProcess[str]]


def _draw(path: Path, size: tuple[int, int] = (64, 48), seed: int = 0) -> Path:
    """A smooth picture, well inside the range so that noise is not clipped."""
    rows, columns = np.mgrid[: size[1], : size[0]] / max(size)
    planes = [rows, columns, (rows + columns) / 2]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((np.stack(planes, 2) * 60 + 90 + seed).astype(np.uint8)).save(path)
    return path


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.array(image)


def test_noise_has_its_deviation_and_its_seed(irae: Run, tmp_path: Path) -> None:
    source = _draw(tmp_path / "x.png", (200, 200))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        out = tmp_path / f"{name}.png"
        result = irae("degrade", source, "-o", out, "--sigma", 10, "--seed", seed)
        assert result.returncode == 0, result.stderr
        assert result.stdout == f"{out}\n"
    noise = _pixels(tmp_path / "a.png").astype(float) - _pixels(source)
    assert noise.std() == pytest.approx(10, rel=0.02)
    assert abs(noise.mean()) < 0.2
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_each_picture_has_noise_of_its_own(irae: Run, tmp_path: Path) -> None:
    _draw(tmp_path / "in/a.png")
    _draw(tmp_path / "in/b.png")
    irae("degrade", tmp_path / "in", "-o", tmp_path / "out", "--sigma", 10)
    first, second = (_pixels(tmp_path / "out" / name) for name in ("a.png", "b.png"))
    assert not np.array_equal(first, second)


def test_sixteen_bits_stay(irae: Run, tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 30000, np.uint16)).save(tmp_path / "x.png")
    out = tmp_path / "y.png"
    assert irae("degrade", tmp_path / "x.png", "-o", out, "--sigma", 5).returncode == 0
    values = _pixels(out)
    assert len(np.unique(values % 257)) > 50
    assert values.astype(float).std() == pytest.approx(5 * 257, rel=0.15)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_a_jpeg_is_written_as_pillow_encodes_it(
    irae: Run, tmp_path: Path, subsampling: str
) -> None:
    source = _draw(tmp_path / "x.png")
    options = ["--quality", 20, "--subsampling", subsampling]
    for name in ("y.jpg", "y.png"):
        result = irae("degrade", source, "-o", tmp_path / name, *options)
        assert result.returncode == 0, result.stderr
    expected = io.BytesIO()
    with Image.open(source) as image:
        image.save(expected, "JPEG", quality=20, subsampling=subsampling)
    with Image.open(expected) as image, Image.open(tmp_path / "y.jpg") as written:
        assert written.quantization == image.quantization
        assert np.array_equal(np.array(written), np.array(image))
        assert np.array_equal(_pixels(tmp_path / "y.png"), np.array(image))


def test_a_jpeg_does_not_swallow_transparency(irae: Run, tmp_path: Path) -> None:
    Image.new("RGBA", (9, 9), (1, 2, 3, 4)).save(tmp_path / "x.png")
    result = irae("degrade", tmp_path / "x.png", "-o", tmp_path / "y.jpg", "--quality", 9)
    assert result.returncode == 3
    assert "transparency" in result.stderr
    assert not (tmp_path / "y.jpg").exists()


def _segments(path: Path) -> bytes:
    """Return a JPEG's bytes before its first scan."""
    data = path.read_bytes()
    return data[: data.index(b"\xff\xda")]


IPTC = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x19\0\x05grass"
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'


@pytest.mark.parametrize("source", ["x.jpg", "x.png"])
def test_a_jpeg_keeps_the_words_of_its_source(irae: Run, tmp_path: Path, source: str) -> None:
    _draw(tmp_path / "x.png")
    exif = Image.Exif()
    exif[0x013B] = "A. N."
    with Image.open(tmp_path / "x.png") as image:
        image.save(tmp_path / "a.jpg", exif=exif, comment=b"seen", xmp=XMP, dpi=(300, 300))
    data = (tmp_path / "a.jpg").read_bytes()
    iptc = b"\xff\xed" + (len(IPTC) + 2).to_bytes(2, "big") + IPTC
    (tmp_path / "a.jpg").write_bytes(data[:2] + iptc + data[2:])
    given = tmp_path / "a.jpg"
    if source == "x.png":
        given = tmp_path / "b.png"
        write_picture(given, read_picture(tmp_path / "a.jpg"))
    result = irae("degrade", given, "-o", tmp_path / "y.jpg", "--quality", 20)
    assert (result.returncode, result.stderr) == (0, "")
    kept = _segments(tmp_path / "y.jpg")
    assert IPTC in kept and XMP in kept and b"\xff\xfe\x00\x06seen" in kept
    with Image.open(tmp_path / "y.jpg") as image:
        assert image.getexif()[0x013B] == "A. N."
        assert image.info["dpi"] == (300, 300)


def test_what_a_degraded_picture_cannot_hold_is_said(irae: Run, tmp_path: Path) -> None:
    with Image.open(_draw(tmp_path / "x.png")) as image:
        image.save(tmp_path / "x.jpg", comment=b"seen")
    result = irae("degrade", tmp_path / "x.jpg", "-o", tmp_path / "y.webp", "--sigma", 9)
    line = f"irae: note: {tmp_path / 'x.jpg'}: its comment is not in y.webp\n"
    assert result.returncode == 0 and result.stderr.endswith(line)


def test_sixteen_bits_become_a_jpeg(irae: Run, tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    result = irae("degrade", tmp_path / "x.png", "-o", tmp_path / "y.jpg", "--quality", 90)
    assert result.returncode == 0, result.stderr
    with Image.open(tmp_path / "y.jpg") as image:
        assert image.mode == "L"
        assert np.abs(np.array(image) - values / 257.0).max() < 12


@pytest.mark.parametrize("hole", ["center:16", "box:16"])
def test_a_hole_comes_with_its_mask(
    irae: Run, tmp_path: Path, hole: str, model_files: dict[str, Path]
) -> None:
    source = _draw(tmp_path / "x.png")
    out = tmp_path / "y.png"
    result = irae("degrade", source, "-o", out, "--hole", hole)
    assert result.returncode == 0, result.stderr
    mask = _pixels(tmp_path / "y.mask.png")
    assert mask.shape == (48, 64)
    assert (mask == 255).sum() == 16 * 16
    assert (mask == 0).sum() == 48 * 64 - 16 * 16
    cut = _pixels(out)
    assert (cut[mask == 255] == 0).all()
    assert np.array_equal(cut[mask == 0], _pixels(source)[mask == 0])
    if hole.startswith("center"):
        assert (mask[16:32, 24:40] == 255).all()
    options = ["--device", "cpu", "--model", model_files["inpaint"], "-o", tmp_path / "z.png"]
    again = irae("restore", out, "--mask", tmp_path / "y.mask.png", *options)
    assert again.returncode == 0, again.stderr
    assert np.array_equal(_pixels(tmp_path / "z.png")[mask == 0], _pixels(source)[mask == 0])


def test_a_folder_with_its_masks_is_restored_as_it_lies(
    irae: Run, tmp_path: Path, model_files: dict[str, Path]
) -> None:
    _draw(tmp_path / "in/a.png")
    _draw(tmp_path / "in/b.jpg", seed=3)
    holed = tmp_path / "holed"
    assert irae("degrade", tmp_path / "in", "-o", holed, "--hole", "box:9").returncode == 0
    assert sorted(p.name for p in holed.iterdir()) == [
        "a.mask.png", "a.png", "b.mask.png", "b.png",
    ]  # fmt: skip
    options = ["--device", "cpu", "--model", model_files["inpaint"], "-o", tmp_path / "out"]
    result = irae("restore", holed, "--mask", holed, *options)
    assert result.returncode == 0, result.stderr
    assert sorted(p.name for p in (tmp_path / "out").glob("*.png")) == ["a.png", "b.png"]


def test_the_mask_of_a_turned_picture_is_upright(irae: Run, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    source = tmp_path / "x.png"
    Image.new("RGB", (20, 12), (90, 90, 90)).save(source, exif=exif)
    out = tmp_path / "y.png"
    assert irae("degrade", source, "-o", out, "--hole", "box:5").returncode == 0
    mask = _pixels(tmp_path / "y.mask.png")
    assert mask.shape == (20, 12)
    assert np.array_equal(np.rot90(_pixels(out)[..., 0] == 0, -1), mask == 255)
    again = tmp_path / "z.png"
    result = irae("degrade", source, "-o", again, "--mask", tmp_path / "y.mask.png")
    assert result.returncode == 0, result.stderr
    assert np.array_equal(_pixels(again), _pixels(out))


def test_a_mask_file_cuts_where_it_is_white(irae: Run, tmp_path: Path) -> None:
    source = _draw(tmp_path / "x.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[3:9, 5:50] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    out = tmp_path / "y.png"
    result = irae("degrade", source, "-o", out, "--mask", tmp_path / "mask.png")
    assert result.returncode == 0, result.stderr
    assert (_pixels(out)[mask == 255] == 0).all()
    assert np.array_equal(_pixels(out)[mask == 0], _pixels(source)[mask == 0])
    assert not (tmp_path / "y.mask.png").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "exactly one"),
        (["--sigma", "5", "--quality", "5"], "exactly one"),
        (["--sigma", "-1"], "--sigma -1"),
        (["--sigma", "256"], "--sigma 256"),
        (["--quality", "0"], "--quality 0"),
        (["--quality", "101"], "--quality 101"),
        (["--hole", "middle:5"], "middle:5"),
        (["--hole", "box"], "center:N"),
        (["--hole", "box:-3"], "center:N"),
        (["--mask", "none.png"], "none.png"),
    ],
)
def test_wrong_options_are_refused(
    irae: Run, tmp_path: Path, options: list[str], words: str
) -> None:
    source = _draw(tmp_path / "x.png")
    result = irae("degrade", source, "-o", tmp_path / "y.png", *options)
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "y.png").exists()


def test_a_hole_larger_than_the_picture_spares_the_others(irae: Run, tmp_path: Path) -> None:
    _draw(tmp_path / "in/large.png", (80, 80))
    small = _draw(tmp_path / "in/small.png", (20, 20))
    result = irae("degrade", tmp_path / "in", "-o", tmp_path / "out", "--hole", "center:40")
    assert result.returncode == 3
    assert str(small) in result.stderr
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "large.mask.png", "large.png",
    ]  # fmt: skip


def test_nothing_is_overwritten_unasked(irae: Run, tmp_path: Path) -> None:
    source = _draw(tmp_path / "x.png")
    mask = _draw(tmp_path / "y.mask.png")
    before = mask.read_bytes()
    arguments = ["degrade", source, "-o", tmp_path / "y.png", "--hole", "center:9"]
    result = irae(*arguments)
    assert result.returncode == 3
    assert str(mask) in result.stderr
    assert mask.read_bytes() == before
    assert not (tmp_path / "y.png").exists()
    assert irae(*arguments, "--overwrite").returncode == 0
    assert irae(*arguments).returncode == 3


def test_a_camera_takes_the_picture_by_its_seed(irae: Run, tmp_path: Path) -> None:
    source = _draw(tmp_path / "x.png", (80, 60))
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = irae("degrade", source, "-o", tmp_path / f"{name}.png", "--photo", "--seed", seed)
        assert done.returncode == 0, done.stderr
    a, b, c = (_pixels(tmp_path / f"{name}.png") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    assert not np.array_equal(a, _pixels(source))
    both = irae("degrade", source, "-o", tmp_path / "d.png", "--photo", "--sigma", 5)
    assert both.returncode == 2
    assert "here: --sigma and --photo" in both.stderr
