"""Files that irae does not read are called what they are; HEIC is read where it can be."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage import data

from irae.errors import PictureError
from irae.imaging.io import kinds
from irae.imaging.io.encode import check_writable
from irae.imaging.io.files import read_picture, suffix_of_content
from irae.imaging.io.find import find_pictures
from irae.imaging.io.picture import Layout, Picture

RNG = np.random.default_rng(0)
PHOTO = Image.fromarray(data.coffee()[:48, :64])


def _boxes(major: bytes, *brands: bytes) -> bytes:
    body = b"ftyp" + major + bytes(4) + b"".join(brands)
    return struct.pack(">I", 4 + len(body)) + body + bytes(64)


FOREIGN = {
    "a.jxl": (b"\xff\x0a" + bytes(64), "JPEG XL"),
    "b.jxl": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(64), "JPEG XL"),
    "c.psd": (b"8BPS\0\1" + bytes(64), "Photoshop document"),
    "d.xcf": (b"gimp xcf v011" + bytes(64), "GIMP document"),
    "e.pdf": (b"%PDF-1.7\n" + bytes(64), "PDF"),
    "f.exr": (b"v/1\x01" + bytes(64), "OpenEXR"),
    "g.cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(64), "raw file of a camera"),
    "h.cr3": (_boxes(b"crx ", b"crx "), "raw file of a camera"),
    "i.raf": (b"FUJIFILMCCD-RAW 0201" + bytes(64), "raw file of a camera"),
    "j.mp4": (_boxes(b"isom", b"mp42"), "video"),
    "k.mov": (_boxes(b"qt  "), "video"),
    "l.svg": (b"<?xml version='1.0'?>\n<svg xmlns='x'/>" + bytes(64), "SVG"),
    # Under the suffix of a picture, too.
    "m.jpg": (b"8BPS\0\1" + bytes(64), "Photoshop document"),
    "n.png": (b"\xff\x0a" + bytes(64), "JPEG XL"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_files_are_called_what_they_are(name: str, tmp_path: Path) -> None:
    content, kind = FOREIGN[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PictureError) as caught:
        read_picture(tmp_path / name)
    message = str(caught.value)
    assert kind in message
    assert "damaged" not in message
    assert message.startswith(f"{tmp_path / name}: is a")
    assert "\n" not in message and "; " in message


SAMPLES = {
    "LAB of 8 bits": (RNG.integers(0, 255, (8, 8, 3), np.uint8), "cielab", "has LAB colours"),
    "LAB of 16 bits": (RNG.integers(0, 9, (8, 8, 3), np.uint16), "cielab", "has LAB colours"),
    "ICC LAB": (RNG.integers(0, 255, (8, 8, 3), np.uint8), "icclab", "has LAB colours"),
    "half floats": (RNG.random((8, 8)).astype(np.float16), "minisblack", "floats of 16 bits"),
    "half floats in colour": (RNG.random((8, 8, 3)).astype(np.float16), "rgb", "floats of 16 bits"),
    "doubles": (RNG.random((8, 8)), "minisblack", "floats of 64 bits"),
    "large floats": (RNG.random((8, 8, 3)).astype("f4") * 300, "rgb", "lie outside 0 to 1"),
    "NaN": (np.full((8, 8), np.nan, np.float32), "minisblack", "are no numbers"),
    "infinity": (np.full((8, 8, 3), np.inf, np.float32), "rgb", "are no numbers"),
    "signed bytes": (np.full((8, 8), -3, np.int8), "minisblack", "signed integers of 8 bits"),
    "signed": (np.full((8, 8, 3), -3, np.int16), "rgb", "signed integers of 16 bits"),
    "32 bits": (np.full((8, 8), 9, np.uint32), "minisblack", "integers of 32 bits"),
    "five channels": (np.full((8, 8, 5), 9, np.uint8), "minisblack", "has 5 channels"),
    "mosaic": (np.full((8, 8), 9, np.uint16), "cfa", "raw file of a camera"),
}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_samples_that_cannot_be_handled_are_named(
    name: str, compression: str | None, tmp_path: Path
) -> None:
    raster, photometric, words = SAMPLES[name]
    options = {"planarconfig": "contig"} if raster.ndim == 3 else {}
    tifffile.imwrite(
        tmp_path / "a.tif", raster, photometric=photometric, compression=compression, **options
    )
    with pytest.raises(PictureError, match=words) as caught:
        read_picture(tmp_path / "a.tif")
    assert "damaged" not in str(caught.value)
    assert "; " in str(caught.value)


def test_lab_of_pillow_is_named(tmp_path: Path) -> None:
    PHOTO.convert("LAB").save(tmp_path / "a.tif")
    with pytest.raises(PictureError, match="has LAB colours, which cannot be handled; convert"):
        read_picture(tmp_path / "a.tif")


def test_ycbcr_is_read_if_compressed_and_named_if_not(tmp_path: Path) -> None:
    # Pillow writes the latter but does not read them.
    PHOTO.convert("YCbCr").save(tmp_path / "a.tif", compression="raw")
    with pytest.raises(PictureError, match="YCbCr colours without compression, which cannot be"):
        read_picture(tmp_path / "a.tif")
    PHOTO.convert("YCbCr").save(tmp_path / "b.tif", compression="jpeg")
    assert read_picture(tmp_path / "b.tif").pixels.shape == (3, PHOTO.height, PHOTO.width)


# --- HEIC --------------------------------------------------------------------------------------


def _heic(image: Image.Image, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    pillow_heif.register_heif_opener()
    stream = io.BytesIO()
    image.save(stream, "HEIF", quality=-1, **options)
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("name", ["a.heic", "a.HEIF", "a.hif", "a.jpg"])
def test_heic_is_read(mode: str, name: str, tmp_path: Path) -> None:
    image = PHOTO.convert(mode)
    if mode == "RGBA":
        image.putalpha(100)
    (tmp_path / name).write_bytes(_heic(image))
    picture = read_picture(tmp_path / name)
    assert (picture.layout.format, picture.layout.mode) == ("HEIF", mode)
    expected = np.moveaxis(np.asarray(PHOTO.convert("L" if mode == "L" else "RGB")), -1, 0)
    expected = expected if mode != "L" else np.asarray(PHOTO.convert("L"))[None]
    assert np.abs(picture.pixels.numpy() * 255 - expected).mean() < 4
    assert (picture.alpha is None) == (mode != "RGBA")
    assert find_pictures([tmp_path]) == [tmp_path / name]
    assert suffix_of_content((tmp_path / name).read_bytes()) == ".heic"


def test_heic_of_ten_bits_is_read_in_sixteen(tmp_path: Path) -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    levels = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    raster = np.repeat(levels[..., None], 3, axis=2)
    file = pillow_heif.from_bytes("RGB;16", (64, 64), raster.tobytes())
    file.save(tmp_path / "a.heic", quality=-1)
    picture = read_picture(tmp_path / "a.heic")
    assert (picture.layout.mode, picture.layout.depth) == ("RGB;16", 16)
    assert np.abs(picture.pixels.numpy() - np.moveaxis(raster, -1, 0) / 65535).max() < 0.01
    assert len(picture.pixels[1].unique()) > 700, "more levels than 8 bits have"
    assert float(picture.pixels.max()) == 1.0, "white is white"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_read_upright_with_its_metadata(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112], exif[0x10F] = orientation, "Phone"
    image = PHOTO.copy()
    image.info["exif"] = exif.tobytes()
    image.info["xmp"] = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"
    (tmp_path / "a.heic").write_bytes(_heic(image))
    picture = read_picture(tmp_path / "a.heic")
    assert picture.orientation == 1
    turned = orientation >= 5
    assert (picture.width, picture.height) == ((48, 64) if turned else (64, 48))
    tags = Image.Exif()
    tags.load(picture.layout.exif or b"")
    assert tags[0x10F] == "Phone"
    assert picture.layout.xmp is not None


def test_without_the_package_heic_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "find_spec", lambda name: None)
    (tmp_path / "a.heic").write_bytes(_boxes(b"mif1", b"mif1", b"heic"))
    with pytest.raises(PictureError, match=r"is a HEIC picture, which needs .* 'irae\[heif\]'"):
        read_picture(tmp_path / "a.heic")
    with pytest.raises(PictureError, match="no pictures found"):
        find_pictures([tmp_path])


def test_a_damaged_heic_is_an_error_of_one_line(tmp_path: Path) -> None:
    content = _heic(PHOTO)
    for cut in (40, 200, len(content) // 2):
        (tmp_path / "a.heic").write_bytes(content[:cut])
        with pytest.raises(PictureError, match="damaged or truncated"):
            read_picture(tmp_path / "a.heic")


def test_a_heic_above_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.heic").write_bytes(_heic(PHOTO))
    monkeypatch.setenv("IRAE_MAX_PIXELS", "1000")
    with pytest.raises(PictureError, match="64x48 pixels, more than the 1000 allowed"):
        read_picture(tmp_path / "a.heic")


@pytest.mark.parametrize(
    ("suffix", "side"), [(".webp", 16383), (".jpg", 65500), (".gif", 65535), (".avif", 65536)]
)
@pytest.mark.parametrize("upright", [False, True])
def test_sizes_that_a_format_cannot_hold_are_found(suffix: str, side: int, upright: bool) -> None:
    def picture(length: int) -> Picture:
        shape = (3, length, 1) if upright else (3, 1, length)
        return Picture(torch.zeros(shape), None, Layout("RGB"))

    check_writable(picture(side), suffix, "out")
    with pytest.raises(PictureError, match=rf"but {side} a side at most; write it as \.\w+"):
        check_writable(picture(side + 1), suffix, "out")
