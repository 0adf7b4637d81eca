"""Whole pictures: every format and mode that Pillow writes, and deep TIFFs of other writers."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from PIL import Image, ImageCms

File = tuple[str, str, bytes]

SUFFIXES = {
    "JPEG": ".jpg",
    "JPEG2000": ".jp2",
    "TIFF": ".tif",
    "PALM": ".palm",
    "HDF5": ".h5",
    "SPIDER": ".spider",
}
MODES = (
    *("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr"),
    *("HSV", "LAB", "I", "I;16", "I;16B", "F"),
)
PLAIN = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")
VARIANTS: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("JPEG", ("L", "RGB", "CMYK"), {"progressive": True, "quality": 30}),
    ("JPEG", ("RGB",), {"subsampling": "4:4:4", "quality": 98}),
    ("JPEG", ("RGB",), {"restart_marker_blocks": 2, "keep_rgb": True}),
    ("PNG", ("P",), {"bits": 2}),
    ("PNG", ("P",), {"transparency": 3}),
    ("PNG", ("L", "RGB"), {"transparency": 0}),
    ("GIF", ("L", "P"), {"interlace": True, "transparency": 5}),
    ("WEBP", ("RGB", "RGBA"), {"lossless": True}),
    ("WEBP", ("RGBA",), {"quality": 5, "method": 0}),
    ("JPEG2000", ("L", "RGB", "RGBA"), {"irreversible": True, "tile_size": (16, 16)}),
    ("JPEG2000", ("RGB",), {"no_jp2": True}),
    ("AVIF", ("RGB", "RGBA"), {"quality": 20, "subsampling": "4:2:0", "speed": 10}),
    ("TIFF", ("1",), {"compression": "group3"}),
    ("TIFF", ("1",), {"compression": "group4"}),
    ("TIFF", ("L", "RGB", "CMYK"), {"compression": "jpeg"}),
    *(
        ("TIFF", PLAIN + ("I;16", "F"), {"compression": kind})
        for kind in ("packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "zstd", "lzma")
    ),
    ("BMP", ("RGB", "L"), {"bitmap_format": "bmp"}),
    ("TGA", ("RGB", "L"), {"compression": "tga_rle"}),
    ("ICO", ("RGBA",), {"bitmap_format": "bmp"}),
]


def raster(height: int, width: int, bands: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with some noise, uint8 ``H W bands``; compresses about as a photo does."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (5 + band)) + np.cos(columns / (7 + band)) for band in range(bands)]
    noise = np.random.default_rng(seed).normal(0, 6, (height, width, bands))
    return np.clip(np.stack(waves, -1) * 60 + 128 + noise, 0, 255).astype(np.uint8)


def picture(mode: str, height: int = 30, width: int = 42) -> Image.Image:
    """A small picture of any Pillow mode."""
    if mode in ("LA", "La", "PA"):
        image = Image.frombytes(mode, (width, height), raster(height, width, 2).tobytes())
    elif mode in ("RGBA", "RGBa", "RGBX", "CMYK"):
        image = Image.frombytes(mode, (width, height), raster(height, width, 4).tobytes())
    elif mode in ("LAB", "HSV", "YCbCr"):
        image = Image.frombytes(mode, (width, height), raster(height, width, 3).tobytes())
    elif mode.startswith("I;16"):
        deep = (raster(height, width, 1)[..., 0].astype(np.uint16) * 257).tobytes()
        image = Image.frombytes(mode, (width, height), deep)
    else:
        image = Image.fromarray(raster(height, width, 3)).convert(mode)
    if mode == "PA":
        image.putpalette(raster(16, 16, 3, 1).tobytes())
    return image


def metadata() -> dict[str, Any]:
    """EXIF with sub-directories and an orientation, a profile, XMP and a resolution."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x0110] = 6, "Maker", "Model of a camera"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:02 03:04:05"
    exif.get_ifd(0x8769)[0x927C] = bytes(range(256))
    exif.get_ifd(0x8825)[1] = "N"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a/></x:xmpmeta>'
    return {"exif": exif.tobytes(), "icc_profile": profile, "xmp": packet, "dpi": (300, 72)}


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes | None:
    """The image as a file; None where the format refuses the mode or the option."""
    stream = io.BytesIO()
    # What a format cannot hold, Pillow says with errors of many kinds.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, SystemError, RuntimeError):
        image.save(stream, kind, **options)
        return stream.getvalue()
    return None


def _suffix(kind: str) -> str:
    return SUFFIXES.get(kind, "." + kind.lower())


def _frames(kind: str, count: int) -> bytes | None:
    # Anew each time: a save leaves the settings of its encoder on the image.
    frames = [picture("RGB").rotate(90 * number) for number in range(count)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def _animations() -> list[File]:
    kinds = [(kind, 3) for kind in ("GIF", "PNG", "WEBP", "TIFF", "AVIF", "MPO", "PDF")]
    found = []
    for kind, count in (*kinds, ("GIF", 400), ("TIFF", 400)):
        data = _frames(kind, count)
        assert data is not None, kind
        found.append((f"frames-{kind}-{count}", _suffix(kind), data))
    return found


def _deep() -> list[File]:
    """TIFFs that Pillow does not write: 16 bits, floats, planar, tiled, BigTIFF."""
    found = []
    kinds = (np.uint16, np.int16, np.uint32, np.float16, np.float32, np.float64, np.uint8, np.bool_)
    for dtype in kinds:
        for bands in (1, 2, 3, 4, 5):
            values = raster(32, 48, bands) / 255
            if np.issubdtype(dtype, np.integer):
                values = values * np.iinfo(dtype).max
            values = values.astype(dtype)
            photometric = "rgb" if bands in (3, 4) else "minisblack"
            for label, options in {
                "plain": {},
                "tiled": {"tile": (16, 16)},
                "big": {"bigtiff": True},
                "predictor": {"compression": "zlib", "predictor": dtype not in (np.bool_,)},
            }.items():
                stream = io.BytesIO()
                with contextlib.suppress(ValueError, KeyError, NotImplementedError):
                    tifffile.imwrite(stream, values, photometric=photometric, **options)
                    name = f"tifffile-{np.dtype(dtype).name}-{bands}-{label}"
                    found.append((name, ".tif", stream.getvalue()))
    return found


def png(header: tuple[int, ...], raw: bytes | None, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand.

    Args:
        header: width, height, depth, colour type, and where given compression, filter, interlace.
        raw: the lines before compression; None for no IDAT.
        extra: chunks between IHDR and IDAT.
    """
    ihdr = struct.pack(">IIBBBBB", *header, *(0,) * (7 - len(header)))
    chunks = [(b"IHDR", ihdr), *extra]
    if raw is not None:
        chunks.append((b"IDAT", zlib.compress(raw, 6)))
    return png_of([*chunks, (b"IEND", b"")])


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of these chunks, their check sums right."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    for name, content in chunks:
        check = struct.pack(">I", zlib.crc32(name + content))
        parts += [struct.pack(">I", len(content)), name, content, check]
    return b"".join(parts)


def _deep_png() -> list[File]:
    found = []
    for colour, channels in ((0, 1), (2, 3), (4, 2), (6, 4)):
        lines = raster(12, 2 * 10 * channels, 1)[..., 0]
        raw = b"".join(b"\0" + line.tobytes() for line in lines)
        found.append((f"png16-{colour}", ".png", png((10, 12, 16, colour), raw)))
    return found


def files() -> list[File]:
    """Label, suffix and bytes of each."""
    Image.init()
    found: list[File] = []
    for kind in sorted(Image.SAVE):
        for mode in MODES:
            data = encoded(picture(mode), kind)
            if data is not None:
                found.append((f"{kind}-{mode}", _suffix(kind), data))
    for number, (kind, modes, options) in enumerate(VARIANTS):
        for mode in modes:
            data = encoded(picture(mode), kind, **options)
            if data is not None:
                found.append((f"{kind}-{mode}-v{number}", _suffix(kind), data))
    extra = metadata()
    for kind in ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "GIF", "JPEG2000"):
        for mode in ("L", "RGB", "RGBA"):
            options = extra if kind != "TIFF" else {k: v for k, v in extra.items() if k != "xmp"}
            data = encoded(picture(mode), kind, **options)
            if data is not None:
                found.append((f"{kind}-{mode}-metadata", _suffix(kind), data))
    for side in ((1, 1), (1, 300), (300, 1), (7, 3)):
        for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "PPM"):
            data = encoded(picture("RGB", *side), kind)
            if data is not None:
                found.append((f"{kind}-{side[1]}x{side[0]}", _suffix(kind), data))
    found += [*_animations(), *_deep(), *_deep_png()]
    return [(label.replace(";", "_"), suffix, data) for label, suffix, data in found]
