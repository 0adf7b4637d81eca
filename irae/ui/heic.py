"""HEIC, the format of telephones, as a PNG with the same pixels, EXIF and colour profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from irae.errors import PictureError, UsageError, first_line
from irae.imaging.io.files import write_picture
from irae.imaging.io.pillow import picture_from_pil

_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1")
_ORIENTATION = 274
_DEEP_MODES = {"L": "I;16", "LA": "LA;16", "RGB": "RGB;16", "RGBA": "RGBA;16"}


def is_heic(path: Path) -> bool:
    """Whether a file begins as a HEIC does (ISO/IEC 23008-12); AVIF has other brands."""
    with path.open("rb") as stream:
        head = stream.read(32)
    return head[4:8] == b"ftyp" and head[8:12] in _BRANDS and b"avif" not in head


def heic_size(path: Path) -> tuple[int, int]:
    """Return width and height from the header; (0, 0) if it cannot be read."""
    try:
        size: tuple[int, int] = _library().open_heif(path).size
    except (ValueError, OSError, EOFError):
        return 0, 0
    return size


def convert_heic(path: Path, target: Path) -> None:
    """Write the picture of a HEIC as a PNG, of 16 bits per channel if it has more than 8.

    Raises:
        PictureError: the file is damaged.
        UsageError: pillow-heif is not installed.
    """
    library = _library()
    try:
        file = library.open_heif(path, convert_hdr_to_8bit=False)
        image = file[file.primary_index]
        raster = np.array(image)
    except (ValueError, OSError, EOFError, RuntimeError) as error:
        raise PictureError(
            f"{path.name}: damaged or truncated picture ({first_line(error)}); fetch the file again"
        ) from None
    bits = int(image.info.get("bit_depth") or 8)
    deep = raster.dtype == np.uint16
    shown = Image.fromarray((raster >> 8).astype(np.uint8) if deep else raster)
    shown.info.update(_metadata(image.info))
    picture = picture_from_pil(shown)
    if deep:
        # The decoder puts the bits at the top of 16.
        values = (raster >> (16 - bits)).astype(np.float32) / (2**bits - 1)
        planes = torch.from_numpy(values.reshape(*raster.shape[:2], -1)).movedim(2, 0)
        colours = picture.pixels.shape[0]
        picture = replace(
            picture,
            pixels=planes[:colours].contiguous(),
            alpha=None if picture.alpha is None else planes[colours:].contiguous(),
            layout=replace(picture.layout, mode=_DEEP_MODES[shown.mode], depth=16),
        )
    write_picture(target, picture)


def _metadata(info: dict[str, Any]) -> dict[str, bytes]:
    """Return EXIF and profile; the decoder has turned the picture upright already."""
    kept = {"icc_profile": info["icc_profile"]} if info.get("icc_profile") else {}
    if info.get("exif"):
        exif = Image.Exif()
        exif.load(info["exif"])
        exif[_ORIENTATION] = 1
        kept["exif"] = exif.tobytes()
    return kept


def _library() -> Any:
    try:
        import pillow_heif
    except ImportError:
        raise UsageError("HEIC pictures need pillow-heif; pip install 'irae[ui]'") from None
    return pillow_heif
