"""Named lists of picture files, also made from plain folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from irae.errors import DataError, PictureError, first_line
from irae.imaging.io.decode import DECODER_FAULTS
from irae.imaging.io.encode import PICTURE_SUFFIXES
from irae.imaging.io.files import read_picture
from irae.imaging.io.find import walk_pictures
from irae.imaging.io.picture import to_upright

Split = Literal["train", "val", "test"]
ProtocolName = Literal["standard", "authors"]

SUFFIXES = PICTURE_SUFFIXES | {".mpo"}
"""Suffixes of the pictures in data sets: besides those that are written, the JPEGs of cameras that
hold previews or a second view (MPO), of which the first picture counts."""


@dataclass(frozen=True)
class WorkingSize:
    """The conversion of a picture to a square: crop (optional), resize, centre crop.

    Attributes:
        side: height and width of the result in pixels.
        crop: side of a first square centre crop, as a share in (0, 1] of the picture's shorter
            side; None for no such crop.
    """

    side: int = 64
    crop: float | None = None

    def __call__(self, image: Image.Image) -> Image.Image:
        """Crop and scale one picture, with the rounding of torchvision's Resize and CenterCrop."""
        if self.crop is not None:
            image = _centre_crop(image, max(1, round(self.crop * min(image.size))))
        shorter = min(image.size)
        if shorter != self.side:
            width, height = (
                self.side if edge == shorter else int(self.side * edge / shorter)
                for edge in image.size
            )
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        return _centre_crop(image, self.side)


def _centre_crop(image: Image.Image, side: int) -> Image.Image:
    width, height = image.size
    left, top = round((width - side) / 2), round((height - side) / 2)
    return image.crop((left, top, left + side, top + side))


@dataclass(frozen=True)
class PictureSet:
    """A named list of picture files, read one at a time.

    Attributes:
        name: name of the set in tables and messages.
        paths: paths of the files, in a fixed order.
        working_size: conversion of each picture to a square; None leaves its size unchanged.
        folder: the folder from which the set was made; None for a registered set.
    """

    name: str
    paths: list[Path]
    working_size: WorkingSize | None = None
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def load(self, index: int) -> Tensor:
        """Read picture ``index``.

        Gray is repeated over the channels, 16 bits and floating-point samples in [0, 1] are rounded
        to 8 bits, an alpha channel is dropped (the colours under it are kept) and an EXIF rotation
        is applied.

        Returns:
            uint8 ``3 H W``, RGB.

        Raises:
            DataError: the file is missing or damaged, or its samples do not convert to 8 bits.
        """
        path = self.paths[index]
        try:
            upright = _read(path)
        except (*DECODER_FAULTS, PictureError, Image.DecompressionBombError) as error:
            reason = first_line(error).removeprefix(f"{path}: ")
            raise DataError(
                f"{path} cannot be read as a picture ({reason}); replace or remove it"
            ) from None
        if self.working_size is not None:
            upright = self.working_size(upright)
        return torch.from_numpy(np.array(upright)).permute(2, 0, 1).contiguous()


def _read(path: Path) -> Image.Image:
    """Read a picture, upright and in 8 bits."""
    try:
        with Image.open(path) as image:
            if not _is_deep(image):
                return _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        # Pillow knows no TIFF of floating-point colours, for example.
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise
    # The reader of `irae restore`, for what Pillow cannot read or would truncate to 8 bits.
    picture = read_picture(path)
    pixels = to_upright(picture.pixels, picture.orientation)
    if len(pixels) == 4:  # CMYK
        pixels = pixels[:3] * pixels[3:]
    eight = (pixels.expand(3, -1, -1) * 255).round().to(torch.uint8)
    return Image.fromarray(eight.permute(1, 2, 0).contiguous().numpy())


def _is_deep(image: Image.Image) -> bool:
    if image.mode == "F":
        return True
    if image.mode in ("RGB", "RGBA", "LA", "CMYK"):
        depths = getattr(image, "tag_v2", {}).get(258, (8,))
        raw = [str(tile[3]) for tile in getattr(image, "tile", [])]
        return any(depth > 8 for depth in depths) or any(";16" in each for each in raw)
    return False


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;"):
        # Pillow would clip these instead of scaling them to 8 bits.
        samples = np.asarray(image).astype(np.int64)
        if samples.size and (samples.min() < 0 or samples.max() > 65535):
            raise ValueError("samples go beyond 16 bits")
        image = Image.fromarray(((samples * 255 + 32767) // 65535).astype(np.uint8))
    return image.convert("RGB")


def find_in_folder(folder: Path) -> list[Path]:
    """Find every picture in ``folder`` and its subfolders, sorted by relative path.

    Linked folders are followed (once each). Names that begin with a dot are left out, because
    macOS writes a file ``._photo.jpg`` beside a picture, which is not a picture.
    """
    found = walk_pictures(
        folder, recursive=True, hidden=False, follow_links=True, suffixes=SUFFIXES
    )
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def open_folder(folder: Path) -> PictureSet:
    """Open all pictures of a folder, at their own size.

    Raises:
        DataError: the folder does not exist or has no pictures.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give a folder of pictures")
    paths = find_in_folder(folder)
    if not paths:
        suffixes = " ".join(sorted(SUFFIXES))
        raise DataError(
            f"{folder} has no pictures, which are files named {suffixes}; give another folder"
        )
    return PictureSet(folder.resolve().name or str(folder), paths, folder=folder)
