"""Named lists of picture files, also made from plain folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from irae.errors import DataError, first_line
from irae.imaging.io.decode import DECODER_FAULTS
from irae.imaging.io.encode import PICTURE_SUFFIXES
from irae.imaging.io.files import walk_pictures

Split = Literal["train", "val", "test"]
ProtocolName = Literal["standard", "authors"]


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

        Gray is repeated over the channels, 16 bits are rounded to 8, an alpha channel is dropped
        (the colours under it are kept) and an EXIF rotation is applied.

        Returns:
            uint8 ``3 H W``, RGB.

        Raises:
            DataError: the file is missing or damaged, or its samples do not convert to 8 bits.
        """
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                upright = _to_rgb(ImageOps.exif_transpose(image))
        except (*DECODER_FAULTS, Image.DecompressionBombError) as error:
            raise DataError(
                f"{path} cannot be read as a picture ({first_line(error)}); replace or remove it"
            ) from None
        if self.working_size is not None:
            upright = self.working_size(upright)
        return torch.from_numpy(np.array(upright)).permute(2, 0, 1).contiguous()


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point samples have no fixed range")
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
    found = walk_pictures(folder, recursive=True, hidden=False, follow_links=True)
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
        raise DataError(
            f"{folder} has no pictures; suffixes read are {' '.join(sorted(PICTURE_SUFFIXES))}"
        )
    return PictureSet(folder.resolve().name or str(folder), paths, folder=folder)
