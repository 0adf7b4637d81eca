"""Pictures come back as they came: mode, depth, alpha, palette, profile, EXIF, resolution."""

from __future__ import annotations

import dataclasses
import io
import os
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps
from skimage import data

from irae.errors import PictureError
from irae.imaging.io.encode import LOSSY_SUFFIXES, PICTURE_SUFFIXES
from irae.imaging.io.files import encode_picture, read_picture, write_picture
from irae.imaging.io.find import find_pictures
from irae.imaging.io.palettes import reduce_colours
from irae.imaging.io.picture import Layout, Picture, quantise, upright
from irae.imaging.io.pillow import picture_from_pil, picture_to_pil

SHARED = Path(os.environ.get("IRAE_SHARED", Path(__file__).resolve().parents[3].parent / "shared"))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LOSSLESS = sorted(PICTURE_SUFFIXES - LOSSY_SUFFIXES)
PLAIN_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")
DEEP_MODES = {"I;16": (1, 0), "LA;16": (1, 1), "RGB;16": (3, 0), "RGBA;16": (3, 1)}
# Modes a format gives back under their own name.
KEEPS = {
    ".png": {"1", "L", "LA", "P", "RGB", "RGBA", *DEEP_MODES},
    ".tif": {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", *DEEP_MODES, "CMYK;16"},
    ".bmp": {"1", "L", "P", "RGB"},
    ".webp": {"RGB", "RGBA"},
    ".ppm": {"1", "L", "RGB", "I;16", "RGB;16"},
    ".pgm": {"L", "I;16"},
}


def _exif(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    return b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")


def _noise(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _image(mode: str, height: int, width: int, seed: int = 0) -> Image.Image:
    """A random Pillow image; its first alpha value is 0, so that its alpha counts."""
    if mode == "1":
        return Image.fromarray(_noise(seed, height, width) > 127)
    if mode in ("P", "PA"):
        bands = 2 if mode == "PA" else 1
        raster = _noise(seed, height, width, bands)
        if mode == "PA":
            raster[0, 0, 1] = 0
        image = Image.frombytes(mode, (width, height), raster.tobytes())
        image.putpalette(_noise(seed + 1, 768).tobytes())
        return image
    raster = _noise(seed, height, width, {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode])
    if mode in ("LA", "RGBA"):
        raster[0, 0, -1] = 0
    return Image.frombytes(mode, (width, height), raster.tobytes())


def _deep(mode: str, height: int, width: int, seed: int = 0) -> Picture:
    """A random 16-bit picture."""
    colours, alphas = {**DEEP_MODES, "CMYK;16": (4, 0)}[mode]
    raster = np.random.default_rng(seed).integers(0, 65536, (colours + alphas, height, width))
    planes = torch.from_numpy(raster).float() / 65535
    if alphas:
        planes[-1, 0, 0] = 0.5
        planes[-1] = quantise(planes[-1], 16)
    layout = Layout(mode=mode, depth=16)
    return Picture(planes[:colours], planes[colours:] if alphas else None, layout)


def _same(one: Picture, other: Picture) -> None:
    assert torch.equal(one.pixels, other.pixels)
    assert (one.alpha is None) == (other.alpha is None)
    if one.alpha is not None and other.alpha is not None:
        assert torch.equal(one.alpha, other.alpha)


def _through(picture: Picture, suffix: str, folder: Path) -> Picture:
    path = folder / f"picture{suffix}"
    write_picture(path, picture, overwrite=True)
    return read_picture(path)


def _png(header: tuple[int, int, int, int], raw: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand: width, height, depth, colour type; scan lines without filter."""
    body = b"\x89PNG\r\n\x1a\n"
    ihdr = struct.pack(">IIBBBBB", *header, 0, 0, 0)
    for name, content in ((b"IHDR", ihdr), *extra, (b"IDAT", zlib.compress(raw)), (b"IEND", b"")):
        body += struct.pack(">I", len(content)) + name + content
        body += struct.pack(">I", zlib.crc32(name + content))
    return body


# --- round trips -------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", PLAIN_MODES)
@settings(max_examples=15, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 1 << 20))
def test_any_mode_round_trips_in_memory(mode: str, height: int, width: int, seed: int) -> None:
    image = _image(mode, height, width, seed)
    back = picture_to_pil(picture_from_pil(image))
    assert back.mode == mode
    assert back.tobytes() == image.tobytes()
    if mode in ("P", "PA"):
        assert back.getpalette() == image.getpalette()


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("mode", [*PLAIN_MODES, *DEEP_MODES, "CMYK;16"])
@settings(max_examples=8, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 1 << 20))
def test_lossless_files_are_bit_exact_or_refused(
    mode: str, suffix: str, height: int, width: int, seed: int
) -> None:
    deep = mode in DEEP_MODES or mode == "CMYK;16"
    picture = (
        _deep(mode, height, width, seed)
        if deep
        else picture_from_pil(_image(mode, height, width, seed))
    )
    path = Path(f"x{suffix}")
    try:
        encoded = encode_picture(picture, suffix)
    except PictureError as error:
        assert mode not in KEEPS.get(suffix, set()), path
        assert "write it as ." in str(error)
        remedy = "." + str(error).split("write it as .")[1]
        assert encode_picture(picture, remedy)
        return
    back = _decode(encoded)
    if back.pixels.shape[0] == 3 and picture.pixels.shape[0] == 1:
        back = Picture(back.pixels[:1], back.alpha, back.layout)
    _same(back, picture)
    if mode in KEEPS.get(suffix.replace("tiff", "tif"), set()):
        assert back.layout.mode == mode
        assert back.layout.depth == picture.layout.depth


def _decode(encoded: bytes) -> Picture:
    import tempfile

    with tempfile.NamedTemporaryFile() as stream:
        stream.write(encoded)
        stream.flush()
        return read_picture(stream.name)


@pytest.mark.parametrize("depth", [1, 8, 16])
def test_quantise_is_exact_on_its_grid(depth: int) -> None:
    top = (1 << depth) - 1
    grid = torch.arange(top + 1, dtype=torch.float32) / top
    assert torch.equal(quantise(grid, depth), grid)
    assert torch.equal((quantise(grid, depth) * top).round().long(), torch.arange(top + 1))


def test_quantise_clips_and_rounds_half_up() -> None:
    values = torch.tensor([-1.0, 0.0, 0.5, 1.0, 7.0])
    assert quantise(values).mul(255).round().tolist() == [0, 0, 128, 255, 255]
    before = values.clone()
    quantise(values)
    assert torch.equal(values, before)


def test_all_16_bit_levels_survive_a_png(tmp_path: Path) -> None:
    levels = torch.arange(65536, dtype=torch.float32).reshape(1, 256, 256) / 65535
    picture = Picture(levels, None, Layout(mode="I;16", depth=16))
    _same(_through(picture, ".png", tmp_path), picture)
    assert np.array_equal(
        np.asarray(Image.open(tmp_path / "picture.png")).reshape(-1), np.arange(65536)
    )


@pytest.mark.parametrize("mode", sorted(DEEP_MODES))
def test_16_bit_files_agree_with_other_readers(mode: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    picture = _deep(mode, 33, 21)
    planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
    expected = (torch.cat(planes).permute(1, 2, 0) * 65535).round().numpy().astype(np.uint16)
    write_picture(tmp_path / "a.tif", picture)
    assert np.array_equal(tifffile.imread(tmp_path / "a.tif").reshape(expected.shape), expected)
    write_picture(tmp_path / "a.png", picture)
    if mode in ("I;16", "RGB;16", "RGBA;16"):
        seen = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
        order = {"I;16": [0], "RGB;16": [2, 1, 0], "RGBA;16": [2, 1, 0, 3]}[mode]
        assert np.array_equal(seen.reshape(33, 21, -1)[..., order], expected)


def test_16_bit_photograph_keeps_every_level(tmp_path: Path) -> None:
    photo = torch.from_numpy(data.astronaut()).permute(2, 0, 1).float() / 255
    photo = quantise(torch.nn.functional.avg_pool2d(photo, 3, 1), 16)
    picture = Picture(photo, None, Layout(mode="RGB;16", depth=16, icc=SRGB, exif=_exif(6)))
    for suffix in (".png", ".tif", ".ppm"):
        if suffix == ".ppm":
            _same(_through(picture, suffix, tmp_path), upright(picture))
        else:
            _same(_through(picture, suffix, tmp_path), picture)


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_interlaced_16_bit_png(colour_type: int, tmp_path: Path) -> None:
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    for height, width in ((1, 1), (3, 2), (13, 11)):
        raster = np.random.default_rng(0).integers(0, 65536, (height, width, channels))
        raw = b""
        for top, left, down, across in (
            (0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
            (1, 0, 2, 1),
        ):  # fmt: skip
            part = raster[top::down, left::across]
            raw += b"".join(b"\0" + row.astype(">u2").tobytes() for row in part if row.size)
        encoded = bytearray(_png((width, height, 16, colour_type), raw))
        encoded[28] = 1
        encoded[29:33] = struct.pack(">I", zlib.crc32(encoded[12:29]))
        (tmp_path / "a.png").write_bytes(encoded)
        picture = read_picture(tmp_path / "a.png")
        planes = [picture.pixels] if picture.alpha is None else [picture.pixels, picture.alpha]
        seen = (torch.cat(planes) * 65535).round().permute(1, 2, 0).numpy()
        assert np.array_equal(seen, raster)


# --- metadata ----------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_profile_exif_and_resolution_are_kept(
    suffix: str, orientation: int, tmp_path: Path
) -> None:
    if suffix not in PICTURE_SUFFIXES:
        pytest.skip(f"this Pillow has no {suffix}")
    source = tmp_path / f"source{suffix}"
    kind = {} if suffix != ".webp" else {"lossless": True}
    Image.fromarray(data.coffee()[:60, :40]).save(
        source, exif=_exif(orientation), icc_profile=SRGB, dpi=(300, 300), **kind
    )
    picture = read_picture(source)
    assert (picture.height, picture.width) == (60, 40), "pixels stay as stored"
    assert picture.orientation == orientation
    assert picture.layout.icc == SRGB
    back = _through(picture, suffix, tmp_path)
    assert back.layout.icc == SRGB
    assert back.layout.exif == picture.layout.exif
    assert back.orientation == orientation
    assert back.layout.dpi == picture.layout.dpi
    if suffix in (".png", ".jpg", ".tif"):
        assert back.layout.dpi == pytest.approx((300, 300), abs=0.01)
    exif = Image.Exif()
    exif.load(back.layout.exif)
    assert exif[0x010F] == "Maker"
    assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    if suffix not in LOSSY_SUFFIXES:
        _same(back, picture)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_metadata_is_kept(suffix: str, tmp_path: Path) -> None:
    layout = Layout(
        mode="RGB;16", depth=16, icc=SRGB, exif=_exif(6), xmp=b"<x/>", dpi=(300.0, 150.0),
        orientation=6,
    )  # fmt: skip
    picture = Picture(_deep("RGB;16", 5, 9).pixels, None, layout)
    back = _through(picture, suffix, tmp_path)
    _same(back, picture)
    assert back.layout.icc == SRGB
    assert back.layout.xmp == b"<x/>"
    assert back.layout.dpi == pytest.approx((300, 150), abs=0.02)
    assert back.orientation == 6
    exif = Image.Exif()
    exif.load(back.layout.exif)
    assert exif[0x010F] == "Maker"
    assert exif.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".bmp", ".ppm", ".gif"])
def test_formats_without_exif_get_upright_pixels(
    suffix: str, orientation: int, tmp_path: Path
) -> None:
    image = _image("P", 4, 7) if suffix == ".gif" else _image("RGB", 4, 7)
    image.save(tmp_path / "a.png", exif=_exif(orientation))
    back = _through(read_picture(tmp_path / "a.png"), suffix, tmp_path)
    expected = ImageOps.exif_transpose(Image.open(tmp_path / "a.png")).convert("RGB")
    assert back.orientation == 1
    assert np.array_equal(np.asarray(picture_to_pil(back).convert("RGB")), np.asarray(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiff_pixels_stay_as_stored(orientation: int, tmp_path: Path) -> None:
    image = _image("RGB", 4, 7)
    image.save(tmp_path / "a.tif", exif=_exif(orientation))
    picture = read_picture(tmp_path / "a.tif")
    assert np.array_equal(np.asarray(picture_to_pil(picture)), np.asarray(image))
    _same(_through(picture, ".tif", tmp_path), picture)
    _same(_through(picture, ".png", tmp_path), picture)


def test_damaged_profile_is_passed_on(tmp_path: Path) -> None:
    _image("RGB", 4, 4).save(tmp_path / "a.png", icc_profile=b"not a profile")
    back = _through(read_picture(tmp_path / "a.png"), ".jpg", tmp_path)
    assert back.layout.icc == b"not a profile"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize(
    "block", [b"garbage", b"MM\0*\0\0\0\x08\0\x02\1\x12", b"II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_stops_nothing(block: bytes, deep: bool, tmp_path: Path) -> None:
    plain = picture_from_pil(_image("L", 4, 4))
    picture = _deep("I;16", 4, 4) if deep else plain
    layout = dataclasses.replace(picture.layout, exif=b"Exif\0\0" + block)
    picture = Picture(picture.pixels, None, layout)
    for suffix in (".png", ".tif") if deep else sorted(PICTURE_SUFFIXES):
        _through(picture, suffix, tmp_path)
    assert _through(picture, ".png", tmp_path).layout.exif == b"Exif\0\0" + block


def test_gray_profile_is_not_put_on_colour(tmp_path: Path) -> None:
    profile = bytearray(SRGB)
    profile[16:20] = b"GRAY"
    _image("L", 4, 4).save(tmp_path / "a.png", icc_profile=bytes(profile))
    picture = read_picture(tmp_path / "a.png")
    assert _through(picture, ".tif", tmp_path).layout.icc == bytes(profile)
    assert _through(picture, ".webp", tmp_path).layout.icc is None


def test_png_colour_chunks_are_kept(tmp_path: Path) -> None:
    gamma = (b"gAMA", struct.pack(">I", 100000))
    for depth in (8, 16):
        raw = b"\0" + bytes(range(2 * depth // 8))
        (tmp_path / "a.png").write_bytes(_png((2, 1, depth, 0), raw, gamma))
        back = _through(read_picture(tmp_path / "a.png"), ".png", tmp_path)
        assert back.layout.chunks == (gamma,)


# --- palettes and transparency -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif"])
def test_unchanged_palette_is_kept_exactly(suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(data.coffee()[:64, :80]).quantize(40)
    image.save(tmp_path / f"a{suffix}")
    stored = Image.open(tmp_path / f"a{suffix}")
    back = tmp_path / f"b{suffix}"
    write_picture(back, read_picture(tmp_path / f"a{suffix}"))
    again = Image.open(back)
    assert again.mode == "P"
    assert again.tobytes() == stored.tobytes()
    assert again.getpalette()[:120] == stored.getpalette()[:120]


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_palette_transparency_is_kept(suffix: str, tmp_path: Path) -> None:
    image = Image.fromarray(data.coffee()[:64, :80]).quantize(40)
    image.save(tmp_path / f"a{suffix}", transparency=7)
    picture = read_picture(tmp_path / f"a{suffix}")
    assert picture.alpha is not None
    assert torch.equal(picture.alpha[0] == 0, torch.from_numpy(np.asarray(image) == 7))
    back = _through(picture, suffix, tmp_path)
    _same(back, picture)
    assert back.layout.mode == "P"
    changed = _through(picture.with_pixels(picture.pixels.flip(-1) * 0.9), suffix, tmp_path)
    assert changed.layout.mode == "P"
    assert torch.equal(changed.alpha, picture.alpha), "restoring never changes alpha"


def test_partial_palette_transparency_survives_a_change(tmp_path: Path) -> None:
    image = Image.fromarray(data.coffee()[:64, :80]).quantize(40)
    image.save(tmp_path / "a.png", transparency=bytes(range(0, 160, 4)))
    picture = read_picture(tmp_path / "a.png")
    noisy = picture.pixels + 0.1 * torch.rand(picture.pixels.shape)
    back = _through(picture.with_pixels(noisy), ".png", tmp_path)
    assert back.layout.mode == "RGBA", "too many colours for a palette"
    assert torch.equal(back.alpha, picture.alpha)
    with pytest.raises(PictureError, match=r"cannot hold partial transparency; write it as \.png"):
        write_picture(tmp_path / "b.gif", picture)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp", ".gif"])
@pytest.mark.parametrize("mode", ["P", "PA"])
def test_a_changed_palette_picture_is_written_in_a_mode_that_holds_its_colours(
    suffix: str, mode: str, tmp_path: Path
) -> None:
    photo = Image.fromarray(data.coffee()[:64, :96])
    image = photo.quantize(256)
    if mode == "PA":
        raster = np.stack([np.asarray(image), np.full((64, 96), 255, np.uint8)], axis=-1)
        palette = image.getpalette()
        image = Image.frombytes("PA", image.size, raster.tobytes())
        image.putpalette(palette)
    picture = picture_from_pil(image)
    restored = torch.from_numpy(np.asarray(photo).copy()).permute(2, 0, 1).float() / 255
    hole = torch.zeros(64, 96, dtype=torch.bool)
    hole[20:40, 30:60] = True
    # As inpainting leaves it: new colours in the hole, the known ones all around it.
    filled = picture.with_pixels(torch.where(hole, restored, picture.pixels))
    back = _through(filled, suffix, tmp_path)
    if suffix == ".gif":
        assert back.layout.mode == "P"
        assert 10 * torch.log10(1 / (back.pixels - filled.pixels).square().mean()) > 36
    else:
        assert back.layout.mode in ("RGB", "RGBA")
        assert torch.equal(quantise(back.pixels), quantise(filled.pixels))
    in_memory = picture_from_pil(picture_to_pil(filled))
    assert torch.equal(in_memory.pixels, quantise(filled.pixels))
    # One colour less in the hole, and there is room for all.
    flat = picture.with_pixels(torch.where(hole, picture.pixels[:, :1, :1], picture.pixels))
    back = _through(flat, suffix, tmp_path)
    assert torch.equal(back.pixels, flat.pixels)
    assert back.layout.mode in ("P", "PA") or (mode, suffix) in {("PA", ".png"), ("PA", ".bmp")}


@settings(max_examples=20, deadline=None)
@given(colours=st.integers(1, 256), levels=st.integers(1, 6), seed=st.integers(0, 1 << 20))
def test_a_palette_with_alpha_keeps_every_colour_that_fits(
    colours: int, levels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    entries = rng.integers(0, 256, (colours, 4), np.uint8)
    entries[:, 3] = rng.choice([0, 255, 128, 3, 200, 77][:levels], colours)
    chosen = entries[rng.integers(0, colours, (9, 31))]
    indices, palette, alphas = reduce_colours(
        np.ascontiguousarray(chosen[..., :3]), np.ascontiguousarray(chosen[..., 3])
    )
    table = np.frombuffer(palette, np.uint8).reshape(-1, 3)
    assert np.array_equal(table[indices], chosen[..., :3])
    assert np.array_equal(np.frombuffer(alphas, np.uint8)[indices], chosen[..., 3])


def test_several_transparent_entries_become_one_in_a_gif(tmp_path: Path) -> None:
    image = Image.fromarray(data.coffee()[:64, :80]).quantize(40)
    image.save(tmp_path / "a.png", transparency=bytes([0, 0, 255, 0] + [255] * 36))
    picture = read_picture(tmp_path / "a.png")
    back = _through(picture, ".gif", tmp_path)
    assert torch.equal(back.alpha, picture.alpha)
    assert torch.equal(back.pixels * back.alpha, picture.pixels * picture.alpha)


@pytest.mark.parametrize(("suffix", "mode"), [(".gif", "P"), (".png", "RGBA"), (".tif", "PA")])
def test_palette_with_alpha_beside_it(suffix: str, mode: str, tmp_path: Path) -> None:
    raster = _noise(0, 9, 7, 2)
    raster[..., 1] = (raster[..., 1] > 127) * 255
    image = Image.frombytes("PA", (7, 9), raster.tobytes())
    image.putpalette(_noise(1, 768).tobytes())
    picture = picture_from_pil(image)
    back = _through(picture, suffix, tmp_path)
    assert back.layout.mode == mode
    assert torch.equal(back.alpha, picture.alpha)
    assert torch.equal(back.pixels * back.alpha, picture.pixels * picture.alpha)


def test_transparent_colour_becomes_alpha(tmp_path: Path) -> None:
    cases = (
        ((4, 1, 8, 0), b"\0\x00\x07\x09\xff", b"\0\x07", [1, 0, 1, 1]),
        ((4, 1, 4, 0), b"\0\x07\x9f", b"\0\x07", [1, 0, 1, 1]),
        ((4, 1, 1, 0), b"\0\x50", b"\0\x01", [1, 0, 1, 0]),
        ((2, 1, 8, 2), b"\0\1\2\3\4\5\6", b"\0\4\0\5\0\6", [1, 0]),
        ((2, 1, 16, 0), b"\0\1\2\3\4", b"\3\4", [1, 0]),
        ((2, 1, 16, 2), b"\0\1\2\3\4\5\6\1\2\3\4\5\7", b"\1\2\3\4\5\7", [1, 0]),
    )
    for header, raw, key, alpha in cases:
        (tmp_path / "a.png").write_bytes(_png(header, raw, (b"tRNS", key)))
        picture = read_picture(tmp_path / "a.png")
        assert picture.alpha is not None
        assert picture.alpha.flatten().tolist() == alpha, header
        _same(_through(picture, ".png", tmp_path), picture)


def test_colour_under_transparent_pixels_survives_webp(tmp_path: Path) -> None:
    raster = _noise(0, 16, 16, 4)
    raster[..., 3] = 0
    picture = picture_from_pil(Image.fromarray(raster))
    _same(_through(picture, ".webp", tmp_path), picture)


# --- formats -----------------------------------------------------------------------------------


def test_cmyk_jpeg_keeps_ink(tmp_path: Path) -> None:
    photo = Image.fromarray(data.coffee()[:64, :80]).convert("CMYK")
    photo.save(tmp_path / "a.jpg", quality=95, subsampling=0)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.layout.mode == "CMYK"
    decoded = np.asarray(Image.open(tmp_path / "a.jpg")).transpose(2, 0, 1)
    assert torch.equal(picture.pixels, torch.from_numpy(255 - decoded).float() / 255)
    _same(_through(picture, ".tif", tmp_path), picture)
    again = _through(picture, ".jpg", tmp_path)
    assert again.layout.mode == "CMYK"
    assert (again.pixels - picture.pixels).abs().mean() < 0.01


def test_jpeg_is_written_at_full_chroma(tmp_path: Path) -> None:
    photo = picture_from_pil(Image.fromarray(data.astronaut()))
    write_picture(tmp_path / "a.jpg", photo)
    with Image.open(tmp_path / "a.jpg") as image:
        assert [part[1:3] for part in image.layer] == [(1, 1)] * 3


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"])
def test_tiff_compression_is_kept(compression: str, tmp_path: Path) -> None:
    _image("RGB", 20, 20).save(tmp_path / "a.tif", compression=compression)
    write_picture(tmp_path / "b.tif", read_picture(tmp_path / "a.tif"))
    with Image.open(tmp_path / "b.tif") as image:
        assert image.info["compression"] == compression


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_16_bit_tiff_variants(
    order: str, planar: str, tile: tuple[int, int] | None, compression: str | None, tmp_path: Path
) -> None:
    shape = (40, 23, 3) if planar == "contig" else (3, 40, 23)
    raster = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", raster, byteorder=order, photometric="rgb", planarconfig=planar,
        tile=tile, compression=compression, predictor=compression is not None,
    )  # fmt: skip
    expected = raster if planar == "contig" else raster.transpose(1, 2, 0)
    picture = read_picture(tmp_path / "a.tif")
    assert picture.layout.mode == "RGB;16"
    samples = (picture.pixels * 65535).round().permute(1, 2, 0).numpy().astype(np.uint16)
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize("compression", [5, 32773])
@pytest.mark.parametrize("predictor", [False, True])
def test_16_bit_tiff_under_lzw(compression: int, predictor: bool, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    if predictor and compression != 5:
        pytest.skip("PackBits has no predictor")
    raster = (data.astronaut().astype(np.uint16) * 257)[:200, :111]
    raster += np.random.default_rng(0).integers(0, 200, raster.shape, dtype=np.uint16)
    flags = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, 1 + predictor]
    assert cv2.imwrite(str(tmp_path / "a.tif"), raster[..., ::-1].copy(), flags)
    picture = read_picture(tmp_path / "a.tif")
    samples = (picture.pixels * 65535).round().permute(1, 2, 0).numpy().astype(np.uint16)
    assert np.array_equal(samples, raster)


def test_white_is_zero_tiff_is_inverted(tmp_path: Path) -> None:
    raster = np.array([[0, 65535, 1000]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", raster, photometric="miniswhite")
    picture = read_picture(tmp_path / "a.tif")
    assert (picture.pixels * 65535).round().flatten().tolist() == [65535, 0, 64535]


def test_float_tiff_in_range_is_kept_and_out_of_range_refused(tmp_path: Path) -> None:
    raster = np.random.default_rng(0).random((6, 5, 3), dtype=np.float32)
    tifffile.imwrite(tmp_path / "a.tif", raster, photometric="rgb")
    picture = read_picture(tmp_path / "a.tif")
    assert torch.equal(picture.pixels, torch.from_numpy(raster).permute(2, 0, 1))
    _same(_through(picture, ".tif", tmp_path), picture)
    tifffile.imwrite(tmp_path / "b.tif", raster * 300, photometric="rgb")
    with pytest.raises(PictureError, match="outside 0 to 1"):
        read_picture(tmp_path / "b.tif")


def test_32_bit_integers_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 3), 100000, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(PictureError, match="16"):
        read_picture(tmp_path / "a.tif")


def test_mpo_is_read_as_the_photograph_it_holds(tmp_path: Path) -> None:
    first, second = Image.fromarray(data.coffee()[:32, :40]), Image.fromarray(data.coffee()[:8, :8])
    first.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[second])
    picture = read_picture(tmp_path / "a.jpg")
    assert (picture.height, picture.width, picture.layout.format) == (32, 40, "JPEG")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_frames_are_counted_and_refused(suffix: str, tmp_path: Path) -> None:
    frames = [_image("RGB", 8, 8, seed) for seed in range(3)]
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError, match="has 3 pages" if suffix == ".tif" else "of 3 frames"):
        read_picture(tmp_path / f"a{suffix}")


# --- refusals ----------------------------------------------------------------------------------


def _one_line(caught: pytest.ExceptionInfo[PictureError], path: Path) -> str:
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("mode", "suffix", "words"),
    [
        ("RGBA", ".jpg", "transparency; write it as .png"),
        ("RGBA", ".bmp", "transparency; write it as .png"),
        ("LA", ".ppm", "transparency; write it as .png"),
        ("RGB;16", ".jpg", "16 bits per channel; write it as .png"),
        ("RGBA;16", ".webp", "16 bits per channel; write it as .png"),
        ("CMYK", ".png", "CMYK colour; write it as .tif"),
        ("CMYK;16", ".jpg", "16 bits per channel; write it as .tif"),
        ("RGB", ".pgm", "colour; write it as .png"),
        ("RGB", ".xyz", "unknown suffix '.xyz'"),
        ("RGB", "", "unknown suffix ''"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(
    mode: str, suffix: str, words: str, tmp_path: Path
) -> None:
    picture = _deep(mode, 4, 4) if ";" in mode else picture_from_pil(_image(mode, 4, 4))
    path = tmp_path / f"out{suffix}"
    with pytest.raises(PictureError) as caught:
        write_picture(path, picture)
    assert words in _one_line(caught, path)
    assert list(tmp_path.iterdir()) == []


def test_opaque_alpha_may_go(tmp_path: Path) -> None:
    picture = picture_from_pil(Image.fromarray(data.coffee()[:8, :8]).convert("RGBA"))
    assert _through(picture, ".jpg", tmp_path).alpha is None
    assert _through(picture, ".png", tmp_path).layout.mode == "RGBA"


def test_unreadable_inputs_are_named(tmp_path: Path) -> None:
    whole = encode_picture(picture_from_pil(Image.fromarray(data.coffee())), ".png")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    for name, words in (
        ("missing.png", "no such file"),
        ("empty.png", "empty"),
        ("text.png", "not a picture"),
        ("cut.png", "truncated"),
    ):
        with pytest.raises(PictureError) as caught:
            read_picture(tmp_path / name)
        assert words in _one_line(caught, tmp_path / name)
    with pytest.raises(PictureError, match="is a folder"):
        read_picture(tmp_path)


def test_no_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    _image("L", 2, 2).save(path)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PictureError, match="no permission"):
        read_picture(path)


@pytest.mark.parametrize("suffix", sorted(PICTURE_SUFFIXES))
@pytest.mark.parametrize("deep", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_damage_anywhere_is_a_picture_error_or_harmless(
    suffix: str, deep: bool, tmp_path: Path
) -> None:
    if deep and suffix not in (".png", ".tif", ".ppm"):
        pytest.skip("no 16-bit form")
    gray = suffix == ".pgm"
    photo = Image.fromarray(data.coffee()[:40, :50])
    plain = picture_from_pil(photo.convert("L" if gray else "RGB"))
    whole = encode_picture(_deep("RGB;16", 40, 50) if deep else plain, suffix)
    path = tmp_path / f"a{suffix}"
    random = np.random.default_rng(0)
    for trial in range(60):
        damaged = bytearray(whole)
        if trial < 25:
            damaged = damaged[: int(random.integers(1, len(whole)))]
        else:
            for at in random.integers(0, min(len(whole), 400), 4):
                damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read_picture(path)
        except PictureError as error:
            assert "\n" not in str(error)
            assert str(path) in str(error)


def test_bombs_are_refused_and_large_photographs_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for depth in (8, 16):
        (tmp_path / "a.png").write_bytes(_png((40000, 40000, depth, 2), b"\0" * 100))
        with pytest.raises(PictureError, match="40000x40000"):
            read_picture(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    _image("L", 30, 30).save(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").height == 30
    assert Image.MAX_IMAGE_PIXELS == 100


@pytest.mark.slow
def test_a_picture_above_pillows_limit(tmp_path: Path) -> None:
    side = 13_500
    Image.new("1", (side, side), 1).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels.shape == (1, side, side)
    assert bool((picture.pixels == 1).all())


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    picture = picture_from_pil(_image("RGB", 3, 3))
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")
    with pytest.raises(PictureError, match="`overwrite`"):
        write_picture(path, picture)
    assert path.read_bytes() == b"precious"
    write_picture(path, picture, overwrite=True)
    _same(read_picture(path), picture)
    with pytest.raises(PictureError, match="does not exist; create it first"):
        write_picture(tmp_path / "no" / "a.png", picture)


@pytest.mark.process
def test_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    script = (
        "import resource, sys\n"
        "from irae.errors import PictureError\n"
        "from irae.imaging.io.files import write_picture\n"
        "from irae.imaging.io.pillow import picture_from_pil\n"
        "from PIL import Image\n"
        "picture = picture_from_pil(Image.effect_noise((300, 300), 90))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "try:\n"
        "    write_picture(sys.argv[1], picture)\n"
        "except PictureError as error:\n"
        "    sys.stdout.write(str(error))\n"
    )
    path = tmp_path / "a.png"
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert str(path) in done.stdout
    assert "cannot be written" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("code", "words"), [(28, "disk is full"), (13, "no permission")])
def test_write_errors_name_the_remedy(
    code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, "refused")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PictureError, match=words):
        write_picture(tmp_path / "a.png", picture_from_pil(_image("L", 2, 2)))
    assert list(tmp_path.iterdir()) == []


def test_written_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_picture(tmp_path / "a.png", picture_from_pil(_image("L", 2, 2)))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o644


def test_pixels_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    picture = picture_from_pil(_image("RGB", 3, 3))
    for value in (float("nan"), float("inf")):
        pixels = picture.pixels.clone()
        pixels[0, 0, 0] = value
        with pytest.raises(PictureError, match="not finite"):
            write_picture(tmp_path / "a.png", picture.with_pixels(pixels))


def test_with_pixels_wants_the_same_shape() -> None:
    with pytest.raises(ValueError, match="pixels are"):
        picture_from_pil(_image("L", 3, 3)).with_pixels(torch.zeros(3, 3, 3))


# --- searching ---------------------------------------------------------------------------------


def test_find_pictures(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "notes.txt", "sub/c.tif", "odd[1].png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "none").mkdir()

    def names(*inputs: str, recursive: bool = False) -> list[str]:
        found = find_pictures([tmp_path / entry for entry in inputs], recursive=recursive)
        return [str(path.relative_to(tmp_path)) for path in found]

    assert names(".") == ["a.JPG", "b.png", "odd[1].png"]
    assert names(".", recursive=True) == ["a.JPG", "b.png", "odd[1].png", "sub/c.tif"]
    assert names("notes.txt", "b.png", "b.png") == ["notes.txt", "b.png"]
    assert names("*") == ["a.JPG", "b.png", "odd[1].png"]
    assert names("**/*.tif") == ["sub/c.tif"]
    assert names("odd[1].png") == ["odd[1].png"]
    for entry, words in (
        ("none", "no pictures found"),
        ("gone.png", "no such file"),
        ("*.webp", "check the pattern"),
    ):
        with pytest.raises(PictureError, match=words):
            names(entry)
    faults = []
    found = find_pictures(
        [tmp_path / "gone.png", tmp_path / "b.png"],
        on_error=lambda entry, error: faults.append((entry, str(error))),
    )
    assert [path.name for path in found] == ["b.png"]
    assert [entry for entry, _ in faults] == [tmp_path / "gone.png"]
    assert "no such file" in faults[0][1]


def test_shared_photographs_round_trip(tmp_path: Path) -> None:
    folder = SHARED / "data" / "testsets"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    for path in find_pictures([folder], recursive=True)[::40]:
        picture = read_picture(path)
        _same(_through(picture, ".png", tmp_path), picture)
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            assert (image.height, image.width) == (picture.height, picture.width)


def test_what_macos_leaves_is_no_picture_and_a_linked_picture_is_one(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")
    inside = tmp_path / "scans"
    inside.mkdir()
    (inside / "._b.png").write_bytes(b"\0\5\x16\7")
    (inside / "b.png").symlink_to(tmp_path / "a.png")
    found = find_pictures([tmp_path], recursive=True)
    assert [path.name for path in found] == ["a.png", "b.png"]
