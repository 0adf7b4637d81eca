"""What is refused before a decoder sees it, and a tag that libtiff refuses to write."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from corpus_hand import tiff
from corpus_whole import encoded, picture, png
from PIL import Image

from irae.errors import PictureError, UsageError
from irae.imaging.io.files import read_picture, write_picture
from irae.imaging.io.limits import MAX_PIXELS, max_pixels


def refused(path: Path, *words: str) -> None:
    began = time.process_time()
    with pytest.raises(PictureError) as caught:
        read_picture(path)
    assert time.process_time() - began < 2
    said = str(caught.value)
    assert said.isprintable()
    for word in (str(path), *words):
        assert word in said


@pytest.mark.parametrize("depth", [8, 16])
def test_a_header_over_the_limit(depth: int, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png((20001, 20000, depth, 2), bytes(100)))
    refused(path, "claims 20001x20000 pixels", "400 million", "IRAE_MAX_PIXELS")


def test_the_limit_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    Image.new("L", (100, 100)).save(path)
    assert max_pixels() == MAX_PIXELS
    monkeypatch.setenv("IRAE_MAX_PIXELS", "9999")
    refused(path, "claims 100x100 pixels", "9999")
    monkeypatch.setenv("IRAE_MAX_PIXELS", "10000")
    assert read_picture(path).width == 100
    monkeypatch.setenv("IRAE_MAX_PIXELS", "")
    assert max_pixels() == MAX_PIXELS
    for wrong in ("many", "0", "-5", "1e9", "9" * 5000):
        monkeypatch.setenv("IRAE_MAX_PIXELS", wrong)
        with pytest.raises(UsageError, match="IRAE_MAX_PIXELS"):
            read_picture(path)


def test_a_file_longer_than_any_picture_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    refused(path, "1048576 MiB")


def test_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    os.mkfifo(path)
    refused(path, "no regular file")
    path.unlink()
    path.symlink_to("/dev/zero")
    refused(path, "no regular file")


def test_a_jpeg_of_thousands_of_scans(tmp_path: Path) -> None:
    whole = encoded(picture("RGB"), "JPEG", progressive=True)
    assert whole is not None
    last = whole.rindex(b"\xff\xda")
    path = tmp_path / "a.jpg"
    path.write_bytes(whole[:-2] + whole[last:-2] * 5 + whole[-2:])
    assert read_picture(path).width == 42
    path.write_bytes(whole[:-2] + whole[last:-2] * 5000 + whole[-2:])
    refused(path, "scans")


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ({277: (3, [60000]), 258: (3, [16])}, ""),
        ({32997: (4, [10**9]), 258: (3, [16])}, "layers"),
        ({258: (3, [16]), 322: (4, [65536]), 323: (4, [65536]), 324: (4, [8]), 325: (4, [9])}, ""),
    ],
    ids=["channels", "layers", "tile"],
)
def test_rasters_of_a_tiff_larger_than_its_picture(
    tags: dict[int, tuple[int, list[int]]], word: str, tmp_path: Path
) -> None:
    plain = {256: (4, [8]), 257: (4, [8]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1])}
    plain |= {273: (4, [8]), 277: (3, [1]), 278: (4, [8]), 279: (4, [128])}
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(plain | tags, bytes(128)))
    refused(path, word)


def test_large_tiles_of_a_small_picture_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)
    tifffile.imwrite(path, values, tile=(512, 512))
    assert read_picture(path).width == 30


def test_a_tag_that_libtiff_refuses_stops_nothing(tmp_path: Path) -> None:
    path, out = tmp_path / "a.tif", tmp_path / "b.tif"
    data = bytearray(encoded(picture("L"), "TIFF", dpi=(300, 300)) or b"")
    entry = data.index(struct.pack("<HHI", 296, 3, 1))
    struct.pack_into("<H", data, entry + 8, 755)
    path.write_bytes(data)
    read = read_picture(path)
    write_picture(out, read)
    assert torch.equal(read_picture(out).pixels, read.pixels)
