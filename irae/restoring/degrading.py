"""Spoiling picture files in one known way: noise, JPEG, or holes."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from irae.errors import PictureError, UsageError
from irae.imaging.degrade import (
    Subsampling,
    add_noise,
    apply_mask,
    box_mask,
    center_mask,
    jpeg_compress,
)
from irae.imaging.files import read_mask, read_picture, write_picture
from irae.imaging.picture import Layout, Picture, codes, to_upright
from irae.restoring.outcome import Outcome
from irae.restoring.planning import MASK_MARK, Job
from irae.runtime import generator
from irae.writing import write_atomically

_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})


@dataclass(frozen=True)
class Noise:
    """White Gaussian noise of deviation ``sigma`` in 8-bit units."""

    sigma: float


@dataclass(frozen=True)
class Jpeg:
    """JPEG at a quality of 1 to 100."""

    quality: int
    subsampling: Subsampling = "4:2:0"


@dataclass(frozen=True)
class Hole:
    """A black square of ``side`` pixels, centred or anywhere."""

    centred: bool
    side: int


@dataclass(frozen=True)
class MaskFile:
    """Black wherever the job's mask is white."""


Degradation = Noise | Jpeg | Hole | MaskFile


def choose_degradation(
    *,
    sigma: float | None = None,
    quality: int | None = None,
    hole: str | None = None,
    mask: Path | None = None,
    subsampling: Subsampling = "4:2:0",
) -> Degradation:
    """The one degradation that the options ask for.

    Raises:
        UsageError: none or several are asked for, or a value is out of range.
    """
    given = {"--sigma": sigma, "--quality": quality, "--hole": hole, "--mask": mask}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        said = " and ".join(named) if named else "none"
        raise UsageError(f"give exactly one of {', '.join(given)}; here: {said}")
    if sigma is not None:
        if not 0 <= sigma <= 255:
            raise UsageError(f"--sigma {sigma:g} is out of range; it is in 8-bit units, 0 to 255")
        return Noise(sigma)
    if quality is not None:
        if not 1 <= quality <= 100:
            raise UsageError(f"--quality {quality} is out of range; it is 1 to 100")
        return Jpeg(quality, subsampling)
    if hole is not None:
        kind, _, side = hole.partition(":")
        # Nine digits: Python refuses to read numbers of thousands.
        number = side.isascii() and side.isdecimal() and len(side) <= 9
        if kind not in ("center", "box") or not number:
            raise UsageError(f"--hole {hole!r} is unknown; use center:N or box:N, N in pixels")
        return Hole(kind == "center", int(side))
    if mask is not None and not mask.exists():
        raise UsageError(f"{mask}: no such mask file or folder")
    return MaskFile()


def degrade_file(
    job: Job,
    degradation: Degradation,
    seeds: tuple[int, ...],
    *,
    overwrite: bool = False,
    resize_mask: bool = False,
) -> Outcome:
    """Read, degrade and write one picture; for a `Hole` its mask too.

    Args:
        job: the picture, its target, and for `MaskFile` its mask.
        degradation: what to do to it.
        seeds: what noise and boxes are drawn from.
        overwrite: whether existing files may be replaced.
        resize_mask: scale a mask file of another size instead of refusing it.

    Raises:
        PictureError: it cannot be read or written, or the mask does not fit.
        UsageError: the hole does not fit the picture.
    """
    begin = time.perf_counter()
    picture = read_picture(job.source)
    job.target.parent.mkdir(parents=True, exist_ok=True)
    match degradation:
        case Noise(sigma):
            noisy = add_noise(picture.pixels, sigma, generator(*seeds))
            write_picture(job.target, picture.with_pixels(noisy.clamp(0, 1)), overwrite=overwrite)
        case Jpeg():
            _write_compressed(job.target, picture, degradation, overwrite)
        case Hole():
            mask = _cut_hole(picture, degradation, seeds)
            cut = picture.with_pixels(apply_mask(picture.pixels, mask))
            _write_with_mask(job.target, cut, mask, overwrite)
        case MaskFile():
            if job.mask is None:
                raise UsageError(f"{job.source}: no mask for it; give --mask")
            mask = read_mask(
                job.mask,
                height=picture.height,
                width=picture.width,
                orientation=picture.orientation,
                resize=resize_mask,
            )
            cut = picture.with_pixels(apply_mask(picture.pixels, mask))
            write_picture(job.target, cut, overwrite=overwrite)
    return Outcome(
        input=str(job.source),
        output=str(job.target),
        seconds=round(time.perf_counter() - begin, 3),
        width=picture.width,
        height=picture.height,
    )


def mask_path(target: Path) -> Path:
    """Where the mask of a picture with a hole is written: ``NAME.mask.png`` beside it."""
    return target.with_name(f"{target.stem}{MASK_MARK}.png")


def _cut_hole(picture: Picture, hole: Hole, seeds: tuple[int, ...]) -> Tensor:
    if hole.centred:
        return center_mask(picture.height, picture.width, hole.side)
    return box_mask(picture.height, picture.width, hole.side, generator(*seeds))


def _write_with_mask(target: Path, cut: Picture, mask: Tensor, overwrite: bool) -> None:
    """Write a picture and, upright as masks are drawn and read, its mask; both or neither."""
    upright = to_upright(mask.float(), cut.orientation)
    write_picture(mask_path(target), Picture(upright, None, Layout(mode="L")), overwrite=overwrite)
    try:
        write_picture(target, cut, overwrite=overwrite)
    except BaseException:
        mask_path(target).unlink(missing_ok=True)
        raise


def _write_compressed(target: Path, picture: Picture, jpeg: Jpeg, overwrite: bool) -> None:
    """A JPEG file keeps the very bytes of the encoder; any other holds the decoded pixels."""
    if target.suffix.lower() not in _JPEG_SUFFIXES:
        parts = [part for part in (picture.pixels[:3], picture.pixels[3:]) if len(part)]
        decoded = [
            jpeg_compress(part, jpeg.quality, subsampling=jpeg.subsampling) for part in parts
        ]
        write_picture(target, picture.with_pixels(torch.cat(decoded)), overwrite=overwrite)
        return
    if picture.alpha is not None:
        raise PictureError(f"{target}: JPEG cannot hold the transparency of the picture; use .png")
    if target.exists() and not overwrite:
        raise PictureError(f"{target}: exists already; use --overwrite to replace it")
    encoded = _encode(picture, jpeg)
    write_atomically(target, lambda temporary: temporary.write_bytes(encoded))


def _encode(picture: Picture, jpeg: Jpeg) -> bytes:
    levels = codes(picture.pixels, 8).movedim(0, 2).numpy()
    if levels.shape[2] == 4:
        image = Image.fromarray(255 - levels, "CMYK")
    else:
        image = Image.fromarray(levels if levels.shape[2] == 3 else levels[:, :, 0])
    layout = picture.layout
    options = {"icc_profile": layout.icc, "exif": layout.exif, "dpi": layout.dpi}
    buffer = io.BytesIO()
    image.save(
        buffer,
        "JPEG",
        quality=jpeg.quality,
        subsampling=jpeg.subsampling,
        **{name: value for name, value in options.items() if value},
    )
    return buffer.getvalue()
