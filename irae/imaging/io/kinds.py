"""Kinds of files that are recognised but not read, and HEIC, which needs another package."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from irae.imaging.io.limits import check_size
from irae.imaging.io.picture import Layout, Picture
from irae.imaging.io.pillow import exif_orientation, normal_exif, picture_from_pil
from irae.imaging.io.sixteen_bit import Samples

HEAD = 512
"""Number of bytes by which the kind of a file is recognised."""

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
"""Suffixes of HEIF files with HEVC pictures, which are read where pillow-heif is installed."""

_FOREIGN_SUFFIXES = frozenset(
    (".jxl", ".psd", ".psb", ".xcf", ".exr", ".hdr", ".jxr", ".svg", ".qoi", ".djvu")
    + (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw")
)

_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_VIDEO_BRANDS = {b"isom", b"iso2", b"mp41", b"mp42", b"qt  ", b"M4V ", b"avc1", b"3gp4", b"3gp5"}

_EXPORT = "export it as PNG or TIFF"
_RAW = "a raw file of a camera, which irae does not read; develop it to TIFF or PNG first"
# Beginnings of files, and what these files are.
_BEGINNINGS = (
    (b"\xff\x0a", f"a JPEG XL picture, which irae does not read; {_EXPORT}"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", f"a JPEG XL picture, which irae does not read; {_EXPORT}"),
    (b"8BPS", f"a Photoshop document, which irae does not read; {_EXPORT}"),
    (b"gimp xcf", f"a GIMP document, which irae does not read; {_EXPORT}"),
    (b"%PDF", "a PDF, which irae does not read; extract its pages as PNG or TIFF"),
    (b"%!PS", f"a PostScript file, which irae does not read; {_EXPORT}"),
    (b"AT&TFORM", "a DjVu document, which irae does not read; extract its pages as TIFF"),
    (b"v/1\x01", f"an OpenEXR picture, which irae does not read; {_EXPORT}"),
    (b"#?RADIANCE", f"a Radiance picture, which irae does not read; {_EXPORT}"),
    (b"II\xbc\x01", f"a JPEG XR picture, which irae does not read; {_EXPORT}"),
    (b"BPG\xfb", f"a BPG picture, which irae does not read; {_EXPORT}"),
    (b"qoif", f"a QOI picture, which irae does not read; {_EXPORT}"),
    (b"DDS ", f"a DDS texture, which irae does not read; {_EXPORT}"),
    (b"SIMPLE  =", f"a FITS picture, which irae does not read; {_EXPORT}"),
    (b"FUJIFILMCCD-RAW", _RAW),
    (b"IIRO", _RAW),
    (b"IIRS", _RAW),
    (b"MMOR", _RAW),
    (b"IIU\0", _RAW),
    (b"FOVb", _RAW),
)


def can_read_heif() -> bool:
    """Whether pillow-heif is installed."""
    return find_spec("pillow_heif") is not None


def foreign_suffixes() -> frozenset[str]:
    """Return the suffixes of pictures that cannot be read here."""
    return _FOREIGN_SUFFIXES if can_read_heif() else _FOREIGN_SUFFIXES | HEIF_SUFFIXES


def is_heif(head: bytes) -> bool:
    """Whether a file that begins with these bytes holds HEVC pictures in HEIF."""
    return bool(_brands(head) & _HEVC_BRANDS)


def foreign_kind(head: bytes) -> str | None:
    """Say what a file that irae does not read is, with the remedy; None for all other files.

    Args:
        head: the first bytes of the file, at least 64 of them if it has as many.
    """
    for beginning, kind in _BEGINNINGS:
        if head.startswith(beginning):
            return kind
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        return _RAW
    brands = _brands(head)
    if b"crx " in brands:
        return _RAW
    if brands & _HEVC_BRANDS:
        return None if can_read_heif() else (
            "a HEIC picture, which needs another package; pip install 'irae[heif]'"
        )  # fmt: skip
    if b"avif" not in brands and brands & _VIDEO_BRANDS:
        return "a video, which irae does not read; extract its frames as PNG"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in head):
        return f"an SVG drawing, which irae does not read; {_EXPORT}"
    return None


def _brands(head: bytes) -> set[bytes]:
    """Return the brands in the first box of a file of the ISO base media format."""
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def decode_heif(data: bytes, name: str) -> Picture:
    """Decode the main picture of a HEIF file upright; 10 and 12 bits become 16.

    Raises:
        PictureError: the picture is too large.
    """
    import pillow_heif

    # Up to 12 bits are given as 16-bit samples; the way by Pillow's plugin would give 8.
    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    width, height = file.size
    check_size(width, height, name)
    main: Any = file[file.primary_index]
    # The decoder has turned the picture upright.
    pillow_heif.set_orientation(main.info)
    exif = normal_exif(main.info.get("exif"))
    if ";16" in main.mode:
        picture = _from_samples(_samples(main))
    else:
        picture = picture_from_pil(main.to_pillow(), name=name)
    layout = replace(
        picture.layout,
        format="HEIF",
        icc=main.info.get("icc_profile") or None,
        exif=exif,
        xmp=main.info.get("xmp") or None,
        orientation=exif_orientation(exif),
        dropped=tuple(_dropped(file, main)),
    )
    return replace(picture, layout=layout)


def _samples(main: Any) -> Samples:
    bits = main.info.get("bit_depth", 16)
    raw = np.asarray(main).astype(np.uint32) >> (16 - bits)
    raster = (raw * 65535 + (1 << (bits - 1))) // ((1 << bits) - 1)
    samples: Samples = raster.reshape(main.size[1], main.size[0], -1).astype(np.uint16)
    return samples


def _from_samples(samples: Samples) -> Picture:
    import torch

    planes = torch.from_numpy(samples.astype(np.float32)).permute(2, 0, 1).div_(65535.0)
    channels = planes.shape[0]
    colours = 3 if channels >= 3 else 1
    mode = {1: "I;16", 2: "LA;16", 3: "RGB;16", 4: "RGBA;16"}[channels]
    alpha = planes[colours:].contiguous() if channels > colours else None
    return Picture(planes[:colours].contiguous(), alpha, Layout(mode=mode, depth=16))


def _dropped(file: Any, main: Any) -> list[str]:
    """Name what the file holds beside its main picture."""
    aux = main.info.get("aux") or {}
    dropped = ["gain map"] if any("hdrgainmap" in str(kind).lower() for kind in aux) else []
    if main.info.get("depth_images"):
        dropped.append("depth map")
    if len(file) > 1:
        more = len(file) - 1
        dropped.append("second picture" if more == 1 else f"{more} further pictures")
    return dropped
