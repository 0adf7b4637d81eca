"""TIFFs of several pages: found, read one by one, joined, and never endless."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from irae.errors import PictureError
from irae.imaging.io.encode import check_writable, encode
from irae.imaging.io.files import open_document, picture_size, read_picture
from irae.imaging.io.picture import Layout, Picture
from irae.imaging.io.tiff_pages import find_pages, join_pages, raw_tag

MODES = {
    "1": (1, 1, 0), "L": (1, 8, 0), "LA": (1, 8, 1), "RGB": (3, 8, 0), "RGBA": (3, 8, 1),
    "CMYK": (4, 8, 0), "I;16": (1, 16, 0), "RGB;16": (3, 16, 0), "RGBA;16": (3, 16, 1),
    "RGB;F": (3, 32, 0), "F": (1, 32, 0),
}  # fmt: skip


def _page(mode: str, height: int, width: int, seed: int, compression: str | None) -> Picture:
    channels, depth, alpha = MODES[mode]
    generator = torch.Generator().manual_seed(seed)
    top = float((1 << min(depth, 16)) - 1)
    raster = (torch.rand(channels + alpha, height, width, generator=generator) * top).round() / top
    exif = Image.Exif()
    exif[0x10F] = f"Scanner {seed}"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    layout = Layout(mode, depth, "TIFF", exif=block, dpi=(300, 300), compression=compression)
    return Picture(raster[:channels], raster[channels:] if alpha else None, layout)


@settings(max_examples=30, deadline=None)
@given(
    modes=st.lists(st.sampled_from(sorted(MODES)), min_size=1, max_size=4),
    compression=st.sampled_from([None, "raw", "tiff_lzw", "group4"]),
    seed=st.integers(0, 1000),
)
def test_joined_pages_come_back(
    modes: list[str], compression: str | None, seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("pages") / "a.tif"
    pages = [
        _page(mode, 3 + 5 * number, 11 - number, seed + number, compression)
        for number, mode in enumerate(modes)
    ]
    path.write_bytes(join_pages([encode(page, ".tif", "page") for page in pages]))
    document = open_document(path)
    back = [read_picture(path)] if document is None else list(document.read())
    assert len(back) == len(pages)
    for page, again in zip(pages, back, strict=True):
        assert torch.equal(again.pixels, page.pixels)
        assert (again.alpha is None) == (page.alpha is None)
        assert again.layout.depth == page.layout.depth
        tags = Image.Exif()
        tags.load(again.layout.exif or b"")
        assert tags[0x10F] == f"Scanner {seed + back.index(again)}"
        assert tags.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    with tifffile.TiffFile(path) as other:
        assert len(other.pages) == len(pages)
    if "RGB;F" not in modes:  # Pillow reads no such pages.
        with Image.open(path) as image:
            assert getattr(image, "n_frames", 1) == len(pages)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_pages_of_other_writers(
    order: str, big: bool, compression: str | None, tmp_path: Path
) -> None:
    if big and order == ">":
        pytest.skip("Pillow reads no such files")
    rng = np.random.default_rng(0)
    rasters = [
        rng.integers(0, 256, (9, 13, 3), np.uint8),
        rng.integers(0, 65536, (5, 7), np.uint16),
        rng.random((6, 8, 1 if big else 3)).astype(np.float32).squeeze(),
    ]
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=order, bigtiff=big) as writer:
        for raster in rasters:
            kind = "rgb" if raster.ndim == 3 else "minisblack"
            writer.write(raster, photometric=kind, compression=compression, metadata=None)
    document = open_document(tmp_path / "a.tif")
    assert document is not None
    for page, raster in zip(document.read(), rasters, strict=True):
        top = 1 if raster.dtype == np.float32 else np.iinfo(raster.dtype).max
        expected = np.moveaxis(raster[..., None] if raster.ndim == 2 else raster, -1, 0) / top
        assert np.allclose(page.pixels.numpy(), expected, atol=1e-6)
    with pytest.raises(PictureError, match="has 3 pages"):
        read_picture(tmp_path / "a.tif")
    # The pixels of all pages, in rows of the first.
    assert picture_size(tmp_path / "a.tif") == (13, 9 + 3 + 4)


@pytest.mark.parametrize("first", [False, True])
def test_thumbnails_and_masks_are_no_pages(first: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pages = [(rng.integers(0, 256, (20, 30, 3), np.uint8), 0)]
    pages.insert(0 if first else 1, (rng.integers(0, 256, (4, 6, 3), np.uint8), 1))
    pages.append((rng.random((20, 30)) > 0.5, 4))
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for raster, kind in pages:
            colours = "rgb" if raster.ndim == 3 else "minisblack"
            writer.write(raster, photometric=colours, subfiletype=kind, metadata=None)
    assert open_document(tmp_path / "a.tif") is None
    picture = read_picture(tmp_path / "a.tif")
    assert (picture.height, picture.width) == (20, 30)
    assert picture.layout.dropped == ("thumbnail page",)


def test_only_a_tiff_holds_pages() -> None:
    page = _page("L", 4, 4, 0, None)
    check_writable(page, ".tiff", "a.tiff", pages=3)
    with pytest.raises(PictureError, match=r"a.png: PNG cannot hold 3 pages; write it as .tif"):
        check_writable(page, ".png", "a.png", pages=3)


def test_pages_together_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [Image.new("L", (100, 100)) for _ in range(5)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    monkeypatch.setenv("IRAE_MAX_PIXELS", "49999")
    with pytest.raises(PictureError, match="5 pages claim 50000 pixels, more than the 49999"):
        open_document(tmp_path / "a.tif")
    monkeypatch.setenv("IRAE_MAX_PIXELS", "50000")
    assert open_document(tmp_path / "a.tif") is not None


def test_directories_without_end_end(tmp_path: Path) -> None:
    stream = io.BytesIO()
    frames = [Image.new("L", (4, 4)) for _ in range(3)]
    frames[0].save(stream, "TIFF", save_all=True, append_images=frames[1:])
    data = bytearray(stream.getvalue())
    pages = find_pages(bytes(data), "a.tif")
    assert len(pages) == 3
    count = struct.unpack_from("<H", data, pages[2].offset)[0]
    struct.pack_into("<I", data, pages[2].offset + 2 + 12 * count, pages[0].offset)
    assert len(find_pages(bytes(data), "a.tif")) == 3
    # Empty directories in a row, of six bytes each.
    links = b"".join(struct.pack("<HI", 0, 8 + 6 * (number + 1)) for number in range(20_000))
    with pytest.raises(PictureError, match="over 10000 pages"):
        find_pages(b"II*\0" + struct.pack("<I", 8) + links, "a.tif")


@settings(max_examples=100, deadline=None)
@given(place=st.integers(0, 700), value=st.binary(max_size=4), cut=st.integers(0, 700))
def test_damaged_directories_stop_nothing(place: int, value: bytes, cut: int) -> None:
    stream = io.BytesIO()
    frames = [Image.new("L", (4, 4)) for _ in range(2)]
    frames[0].save(stream, "TIFF", save_all=True, append_images=frames[1:])
    data = bytearray(stream.getvalue())
    data[place : place + len(value)] = value
    assert len(find_pages(bytes(data[: len(data) - cut]), "a.tif")) <= 3


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]))
def test_any_bytes_after_the_mark_are_survived(rest: bytes, mark: bytes) -> None:
    # Offsets of 64 bits that lie beyond every file among them.
    for content in (mark + rest, mark + b"\x08\0\0\0" + rest, mark + b"\xff" * 12 + rest):
        find_pages(content, "a.tif")
        raw_tag(content, 33723)
