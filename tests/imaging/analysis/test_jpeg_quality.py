"""The JPEG quality of a picture, by tables and by pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from irae.imaging.analysis.jpeg_quality import (
    estimate_jpeg_quality,
    quality_of_tables,
    read_jpeg_quality,
)
from irae.imaging.degrade import add_noise, jpeg_compress
from irae.imaging.io.files import read_picture
from irae.runtime import generator


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[Tensor]:
    """Lossless photographs of 200 by 240 pixels."""
    paths = [shared / "data" / "testsets" / "Set14" / f"{n}.png" for n in ("baboon", "barbara")]
    if not all(path.is_file() for path in paths):
        pytest.skip("data/testsets/Set14 is not there")
    return [read_picture(path).pixels[:, 100:300, 60:300] for path in paths]


def test_every_quality_of_the_library_is_read_from_the_tables(tmp_path: Path) -> None:
    for mode in ("RGB", "L"):
        image = Image.new(mode, (16, 16))
        for quality in range(1, 101):
            image.save(tmp_path / "x.jpg", quality=quality)
            found = read_jpeg_quality(tmp_path / "x.jpg")
            assert found is not None
            assert (found.standard, found.source) == (True, "tables")
            # Gray: the chroma table that would tell 1 from 2 is not there.
            assert found.quality == quality or (mode == "L" and abs(found.quality - quality) <= 1)


@pytest.mark.parametrize(("preset", "least", "most"), [("web_low", 25, 40), ("maximum", 90, 97)])
def test_other_tables_give_the_nearest_quality(
    tmp_path: Path, preset: str, least: int, most: int
) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "x.jpg", quality=preset)
    found = read_jpeg_quality(tmp_path / "x.jpg")
    assert found is not None
    assert not found.standard
    assert least <= found.quality <= most


def test_tables_of_sixteen_bits_are_standard_too() -> None:
    with_limit = quality_of_tables({0: [255] * 64})
    without = quality_of_tables({0: [16 * 50] * 64})
    assert with_limit.quality == without.quality == 1


def test_what_is_no_jpeg_has_no_tables(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
    (tmp_path / "y.jpg").write_bytes(b"\xff\xd8\xff\xdb\x00")
    assert read_jpeg_quality(tmp_path / "x.png") is None
    assert read_jpeg_quality(tmp_path / "y.jpg") is None


@pytest.mark.parametrize("quality", [5, 10, 25, 50, 75, 90, 95])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_pixels_tell_quality_and_grid(photos: list[Tensor], quality: int, subsampling: str) -> None:
    for index, photo in enumerate(photos):
        decoded = jpeg_compress(photo, quality, subsampling=subsampling)  # type: ignore[arg-type]
        row, column = (3 + index) % 8, (6 + quality) % 8
        found = estimate_jpeg_quality(decoded[:, row:, column:])
        assert found is not None
        assert (found.quality, found.standard, found.source) == (quality, True, "pixels")
        assert found.grid == (-row % 8, -column % 8)


def test_the_middle_of_a_large_picture_tells_the_same(
    photos: list[Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = jpeg_compress(photos[1], 70)[:, 5:, 2:]
    whole = estimate_jpeg_quality(decoded)
    monkeypatch.setattr("irae.imaging.analysis.jpeg_quality._SIDE", 100)
    assert estimate_jpeg_quality(decoded) == whole
    assert whole is not None
    assert (whole.quality, whole.grid) == (70, (3, 6))


def test_gray_pixels_tell_it_too(photos: list[Tensor]) -> None:
    found = estimate_jpeg_quality(jpeg_compress(photos[1].mean(0, keepdim=True), 60))
    assert found is not None
    assert (found.quality, found.standard) == (60, True)


@pytest.mark.parametrize("preset", ["low", "web_medium", "web_high"])
def test_pixels_of_other_tables_give_the_nearest(
    photos: list[Tensor], tmp_path: Path, preset: str
) -> None:
    levels = (photos[1] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(tmp_path / "x.jpg", quality=preset)
    by_tables = read_jpeg_quality(tmp_path / "x.jpg")
    by_pixels = estimate_jpeg_quality(read_picture(tmp_path / "x.jpg").pixels)
    assert by_tables is not None
    assert by_pixels is not None
    assert not by_pixels.standard
    assert abs(by_pixels.quality - by_tables.quality) <= 1


def test_pictures_without_traces(photos: list[Tensor]) -> None:
    for photo in photos:
        assert estimate_jpeg_quality(photo) is None
        noisy = add_noise(jpeg_compress(photo, 75), 5, generator(0), clip=True)
        assert estimate_jpeg_quality(noisy) is None
    assert estimate_jpeg_quality(torch.rand(3, 100, 120, generator=generator(1))) is None
    assert estimate_jpeg_quality(torch.zeros(1, 100, 120)) is None
    assert estimate_jpeg_quality(torch.ones(3, 9, 9)) is None
