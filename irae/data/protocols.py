"""The two test protocols: how a clean picture is prepared, damaged and compared.

``standard`` is how the field measures; ``authors`` is what the published code of the paper did,
bugs included, and serves only to stand beside the paper's tables. Numbers of one say nothing about
numbers of the other.

All randomness is a function of the seed and the picture's place in its set: noise, holes and the
choice of an irregular mask come from ``generator(seed, index)``, so that a picture gets the same
noise pattern at every level and whatever else is in the set; the order of the masks of a folder
comes from ``generator(seed)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from irae.data.folder import ProtocolName, find_in_folder
from irae.errors import DataError, UsageError
from irae.imaging import metrics
from irae.imaging.degrade import (
    Subsampling,
    add_noise,
    apply_mask,
    box_mask,
    center_mask,
    integer,
    jpeg_compress,
)
from irae.imaging.files import read_mask
from irae.runtime import generator

# Distinguishes the stream that blurs the grey levels of a clean picture from that of its noise.
_DEQUANTISE = 1


@dataclass(frozen=True)
class Noise:
    """White Gaussian noise of ``sigma`` in 8-bit units; ``clipped`` as in a real 8-bit file."""

    sigma: float
    clipped: bool = False
    task: ClassVar[str] = "denoise"

    def describe(self) -> str:
        """For a table: one short phrase."""
        return f"sigma {self.sigma:g}" + (", clipped" if self.clipped else "")


@dataclass(frozen=True)
class Jpeg:
    """Pillow's JPEG at ``quality`` 1 to 100."""

    quality: int
    subsampling: Subsampling = "4:2:0"
    task: ClassVar[str] = "jpeg"

    def describe(self) -> str:
        """For a table: one short phrase."""
        return f"quality {self.quality}, {self.subsampling}"


@dataclass(frozen=True)
class Hole:
    """A square hole of ``side`` pixels, in the centre or anywhere (``box``)."""

    place: Literal["center", "box"]
    side: int
    task: ClassVar[str] = "inpaint"

    def describe(self) -> str:
        """For a table: one short phrase."""
        return f"{self.place} {self.side}"


@dataclass(frozen=True)
class MaskFolder:
    """Mask files (white = hole), sorted; each is scaled to its picture by nearest neighbour."""

    folder: Path
    paths: tuple[Path, ...]
    task: ClassVar[str] = "inpaint"

    @classmethod
    def open(cls, folder: Path) -> MaskFolder:
        """All mask files of a folder and below.

        Raises:
            DataError: it is no folder or holds no pictures.
        """
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder; give a folder of mask files")
        paths = find_in_folder(folder)
        if not paths:
            raise DataError(f"{folder} has no mask files")
        return cls(folder, tuple(paths))

    def describe(self) -> str:
        """For a table: one short phrase."""
        return f"masks {self.folder.name or self.folder}"


Degradation = Noise | Jpeg | Hole | MaskFolder


@dataclass(frozen=True)
class Damaged:
    """What a model is given.

    Attributes:
        pixels: float32 ``3 H W``; unclipped noise passes [0, 1].
        mask: bool ``1 H W``, True in the holes; None where there are none to fill.
        mask_path: the file the mask is from.
    """

    pixels: Tensor
    mask: Tensor | None = None
    mask_path: Path | None = None


class Protocol(ABC):
    """How a test is carried out.

    Attributes:
        name: what to call it.
        summary: one line for the head of a table.
        ssim_side: pictures with a shorter side have no SSIM.
    """

    name: ClassVar[ProtocolName]
    summary: ClassVar[str]
    ssim_side: ClassVar[int]

    def batch_size(self, task: str) -> int:
        """Pictures restored at a time; a last batch of fewer is left out."""
        del task
        return 1

    def check(self, degradation: Degradation) -> None:
        """Raise UsageError if the protocol has no such degradation."""
        del degradation

    @abstractmethod
    def clean(self, pixels: Tensor, seed: int, index: int) -> Tensor:
        """The target, float32 ``3 H W`` in [0, 1], of an 8-bit picture (uint8 ``3 H W``)."""

    @abstractmethod
    def damage(self, clean: Tensor, degradation: Degradation, seed: int, index: int) -> Damaged:
        """Damage the target of picture ``index``.

        Raises:
            UsageError: the degradation does not fit the picture.
            DataError: no mask file is fit.
            PictureError: a mask file cannot be read.
        """

    @abstractmethod
    def psnr(self, a: Tensor, b: Tensor) -> Tensor:
        """PSNR in dB of ``B 3 H W`` against the target: ``B``."""

    @abstractmethod
    def ssim(self, a: Tensor, b: Tensor) -> Tensor:
        """SSIM of ``B 3 H W``, H and W at least ``ssim_side``, against the target: ``B``."""


class Standard(Protocol):
    """How the field measures.

    The target is the 8-bit picture. Noise is not clipped (unless `Noise.clipped`), so the input's
    PSNR is that of its sigma. Holes are 0. A folder's masks are shuffled by the seed and dealt out
    in turn.
    """

    name = "standard"
    summary = (
        "8-bit targets, noise seeded per picture and not clipped unless stated,"
        " output clipped to [0, 1], PSNR over RGB, SSIM 11x11 Gaussian sigma 1.5 range 1"
    )
    ssim_side = metrics.SSIM_WINDOW

    def clean(self, pixels: Tensor, seed: int, index: int) -> Tensor:
        """See `Protocol.clean`."""
        return pixels.to(torch.float32) / 255

    def damage(self, clean: Tensor, degradation: Degradation, seed: int, index: int) -> Damaged:
        """See `Protocol.damage`."""
        random = generator(seed, index)
        height, width = clean.shape[-2:]
        match degradation:
            case Noise(sigma, clipped):
                return Damaged(add_noise(clean, sigma, random, clip=clipped))
            case Jpeg(quality, subsampling):
                return Damaged(jpeg_compress(clean, quality, subsampling=subsampling))
            case Hole("center", side):
                mask = center_mask(height, width, side)
                return Damaged(apply_mask(clean, mask), mask)
            case Hole(_, side):
                mask = box_mask(height, width, side, random)
                return Damaged(apply_mask(clean, mask), mask)
            case MaskFolder(_, paths):
                order = torch.randperm(len(paths), generator=generator(seed))
                path = paths[int(order[index % len(paths)])]
                mask = read_mask(path, height=height, width=width, resize=True)
                return Damaged(apply_mask(clean, mask), mask, path)

    def psnr(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Protocol.psnr`."""
        return metrics.psnr(a, b)

    def ssim(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Protocol.ssim`."""
        return metrics.ssim(a, b)


class Authors(Protocol):
    """What the published code did.

    The target is floor(x / 8) / 32 + U(0, 1/32): five bits, dequantised. Nothing that knows only
    the picture can predict the uniform part, so no restorer passes about 40.9 dB. The mean squared
    error is bounded below by 1e-8, hence PSNR by 80 dB. Batches of 100 whose last is dropped;
    single pictures for inpainting.

    Its "centre" hole is a random box of 128x128 whose upper and lower side are both moved inwards
    by a random 0 to 16 pixels, and its left and right side by another, filled with 1. A box of
    another side is shrunk in proportion, by up to an eighth. Irregular masks are drawn until one
    has at least 10 and less than 50 % holes; they are filled with 0.

    Source: ``fetch_dataloader``, ``denoise``, ``random_bbox``, ``bbox2mask``, ``batchPSNR`` and
    ``batchSSIM`` of github.com/Lillian1082/IRAE_pytorch.
    """

    name = "authors"
    summary = (
        "as published with the paper: 5-bit dequantised targets (PSNR below about 40.9 dB),"
        " SSIM window 3 over channel and row, range 2; not comparable with standard"
    )
    ssim_side = metrics.AUTHORS_SSIM_WINDOW

    def batch_size(self, task: str) -> int:
        """See `Protocol.batch_size`."""
        return 1 if task == "inpaint" else 100

    def check(self, degradation: Degradation) -> None:
        """See `Protocol.check`."""
        match degradation:
            case Noise(_, True):
                raise UsageError("protocol authors has no clipped noise; use protocol standard")
            case Hole("box", _):
                raise UsageError(
                    "protocol authors has no hole 'box', its 'center' is a random box; use center"
                )

    def clean(self, pixels: Tensor, seed: int, index: int) -> Tensor:
        """See `Protocol.clean`."""
        return dequantise(pixels, generator(seed, index, _DEQUANTISE))

    def damage(self, clean: Tensor, degradation: Degradation, seed: int, index: int) -> Damaged:
        """See `Protocol.damage`."""
        random = generator(seed, index)
        match degradation:
            case Noise(sigma, _):
                return Damaged(add_noise(clean, sigma, random))
            case Jpeg(quality, subsampling):
                return Damaged(jpeg_compress(clean, quality, subsampling=subsampling))
            case Hole(_, side):
                mask = _shrunk_box(clean.shape[-2], clean.shape[-1], side, random)
                return Damaged(apply_mask(clean, mask, fill=1.0), mask)
            case MaskFolder():
                mask, path = _mask_of_some_holes(
                    degradation, clean.shape[-2], clean.shape[-1], random
                )
                return Damaged(apply_mask(clean, mask), mask, path)

    def psnr(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Protocol.psnr`."""
        return metrics.psnr(a, b).clamp(max=80.0)

    def ssim(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Protocol.ssim`."""
        return metrics.ssim_authors(a, b)


def dequantise(pixels: Tensor, random: torch.Generator) -> Tensor:
    """The published code's clean picture: floor(x / 8) / 32 + U(0, 1/32) of 8-bit ``pixels``."""
    return (pixels // 8).to(torch.float32) / 32 + torch.rand(pixels.shape, generator=random) / 32


def _shrunk_box(height: int, width: int, side: int, random: torch.Generator) -> Tensor:
    # The published code never puts the box against the lower or right border, and so needs a
    # picture larger than the box.
    if not 1 <= side < min(height, width):
        raise UsageError(
            f"a random box of {side} pixels does not fit a picture of {width}x{height}"
            " in the authors' protocol; use a smaller hole"
        )
    top = integer(random, 0, height - side - 1)
    left = integer(random, 0, width - side - 1)
    rows, columns = integer(random, 0, side // 8), integer(random, 0, side // 8)
    mask = torch.zeros(1, height, width, dtype=torch.bool)
    mask[:, top + rows : top + side - rows, left + columns : left + side - columns] = True
    return mask


def _mask_of_some_holes(
    masks: MaskFolder, height: int, width: int, random: torch.Generator
) -> tuple[Tensor, Path]:
    for number in torch.randperm(len(masks.paths), generator=random).tolist():
        mask = read_mask(masks.paths[number], height=height, width=width, resize=True)
        if 0.1 <= mask.double().mean() < 0.5:
            return mask, masks.paths[number]
    raise DataError(f"{masks.folder} has no mask with 10 to 50 % holes, as the authors' need")


PROTOCOLS: dict[str, Protocol] = {each.name: each for each in (Standard(), Authors())}


def get_protocol(name: str) -> Protocol:
    """The protocol called ``name``.

    Raises:
        UsageError: there is none.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"protocol {name!r} is unknown; use {' or '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
