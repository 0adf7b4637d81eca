"""What a browser can show of a picture: any region of it, at full size or reduced."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from irae.imaging.io.picture import Picture, codes, to_upright
from irae.ui.errors import RefusedError

SMALLEST_LEVEL = 256
"""Side in pixels below which no smaller copy of a picture is kept."""

_CHECKER = 8


def upright_size(picture: Picture) -> tuple[int, int]:
    """Return width and height of the picture as it is looked at."""
    size = picture.width, picture.height
    return size if picture.orientation < 5 else (size[1], size[0])


def make_preview(picture: Picture) -> Image.Image:
    """Convert a picture of any layout to 8-bit RGB, upright; a checkerboard lies under alpha."""
    pixels = picture.pixels
    if pixels.shape[0] == 4:  # CMYK, as 1 - ink.
        pixels = pixels[:3] * pixels[3:]
    image = _image(to_upright(pixels, picture.orientation).expand(3, -1, -1))
    if picture.alpha is not None:
        alpha = _image(to_upright(picture.alpha, picture.orientation))
        image = Image.composite(image, _checkerboard(*image.size), alpha)
    return image


@dataclass(frozen=True)
class Region:
    """A part of the upright picture, in its pixels, and the factor by which it is reduced."""

    x: int
    y: int
    width: int
    height: int
    scale: float


class Preview:
    """A picture for the browser, on disk at its full size and in halves of it.

    Any region is read without the rest of the picture, which stays out of memory.

    Attributes:
        width: number of columns of the upright picture.
        height: number of its rows.
    """

    def __init__(self, folder: Path, width: int, height: int, levels: int, icc: bytes | None):
        self.width, self.height = width, height
        self._folder, self._levels, self._icc = folder, levels, icc

    @classmethod
    def save(cls, picture: Picture, folder: Path) -> Preview:
        """Write the preview of a picture into a folder, which is created."""
        profile = picture.layout.icc
        icc = profile if profile is not None and profile[16:20] == b"RGB " else None
        return cls.save_image(make_preview(picture), folder, icc)

    @classmethod
    def save_image(cls, image: Image.Image, folder: Path, icc: bytes | None = None) -> Preview:
        """Write the preview of an image, RGB or RGBA, with a colour profile if it has one."""
        folder.mkdir()
        width, height = image.size
        levels = 0
        while True:
            np.save(folder / f"{levels}.npy", np.asarray(image))
            levels += 1
            if max(image.size) <= SMALLEST_LEVEL:
                break
            image = image.reduce(2)
        return cls(folder, width, height, levels, icc)

    def png(self, region: Region) -> bytes:
        """Return a region as a PNG with the picture's colour profile.

        At a scale of 1 these are the pixels of the preview themselves.

        Raises:
            RefusedError: the region leaves the picture, or the scale is not above 0 and up to 1.
        """
        self._check(region)
        level = min(self._levels - 1, math.floor(-math.log2(region.scale) + 1e-9))
        step = 2**level
        raster = np.load(self._folder / f"{level}.npy", mmap_mode="r")
        left, top = region.x // step, region.y // step
        right = min(raster.shape[1], -(-(region.x + region.width) // step))
        bottom = min(raster.shape[0], -(-(region.y + region.height) // step))
        image = Image.fromarray(np.array(raster[top:bottom, left:right]))
        size = (
            max(1, round(region.width * region.scale)),
            max(1, round(region.height * region.scale)),
        )
        if size != image.size:
            box = (
                region.x / step - left,
                region.y / step - top,
                min(image.width, (region.x + region.width) / step - left),
                min(image.height, (region.y + region.height) / step - top),
            )
            image = image.resize(size, Image.Resampling.LANCZOS, box=box)
        stream = io.BytesIO()
        # Hardly compressed, because it only goes to this machine's browser.
        image.save(stream, "PNG", compress_level=1, icc_profile=self._icc)
        return stream.getvalue()

    def _check(self, region: Region) -> None:
        inside = (
            0 <= region.x < region.x + region.width <= self.width
            and 0 <= region.y < region.y + region.height <= self.height
        )
        if not inside:
            raise RefusedError(
                422, f"the region leaves the picture, which has {self.width} × {self.height} pixels"
            )
        # A scale below this would give no pixel of the largest picture.
        if not 1e-5 <= region.scale <= 1:
            raise RefusedError(422, "the scale must be above 0 and at most 1")


def _image(planes: torch.Tensor) -> Image.Image:
    values = codes(planes, 8).movedim(0, 2).contiguous().numpy()
    return Image.fromarray(values if values.shape[2] == 3 else values[:, :, 0])


def _checkerboard(width: int, height: int) -> Image.Image:
    rows, columns = np.arange(height) // _CHECKER, np.arange(width) // _CHECKER
    light = (rows[:, None] + columns[None, :]) % 2 == 0
    return Image.fromarray(np.where(light, 255, 204).astype(np.uint8)).convert("RGB")
