"""Degrading picture files in one known way: by noise, JPEG or holes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from irae.batch.jobs import Job
from irae.batch.outcome import Outcome
from irae.errors import UsageError, for_command_line
from irae.imaging.degrade import apply_mask
from irae.imaging.io.changes import describe_missing, missing_parts
from irae.imaging.io.encode import encode
from irae.imaging.io.files import MASK_MARK, read_picture, write_picture
from irae.imaging.io.masks import read_mask
from irae.imaging.io.picture import Layout, Picture, to_upright
from irae.tasks.base import Degradation
from irae.writing import folder_for

_JPEG_SUFFIXES = frozenset({".jpg", ".jpeg"})


def degrade_file(
    job: Job,
    degradation: Degradation | None,
    seeds: tuple[int, ...],
    *,
    overwrite: bool = False,
    resize_mask: bool = False,
) -> Outcome:
    """Read, degrade and write one picture, and its mask if holes were made.

    Args:
        job: the picture, its target, and its mask if any.
        degradation: the damage; None cuts out the white part of the job's mask.
        seeds: seeds of the noise and of random boxes.
        overwrite: whether existing files may be replaced.
        resize_mask: scale a mask file of another size instead of refusing it.

    Raises:
        PictureError: the picture cannot be read or written, or the mask does not fit.
        UsageError: the hole does not fit the picture.
    """
    begin = time.perf_counter()
    picture = read_picture(job.source)
    with folder_for(job.target):
        if degradation is None:
            _cut_out(picture, job, overwrite, resize_mask)
        elif degradation.jpeg_options and job.target.suffix.lower() in _JPEG_SUFFIXES:
            _write_compressed(job.target, picture, degradation.jpeg_options, overwrite)
        else:
            damaged = degradation.degrade(picture.pixels, seeds)
            spoilt = picture.with_pixels(damaged.pixels.clamp(0, 1))
            if damaged.mask is None:
                write_picture(job.target, spoilt, overwrite=overwrite)
            else:
                _write_with_mask(job.target, spoilt, damaged.mask, overwrite)
    missing = missing_parts(picture.layout, job.target.suffix)
    notes = [describe_missing(job.source, job.target, missing)] if missing else []
    notes = [*job.notes, *notes]
    return Outcome(
        input=str(job.source),
        output=str(job.target),
        seconds=round(time.perf_counter() - begin, 3),
        width=picture.width,
        height=picture.height,
        notes=tuple(map(for_command_line, notes)),
    )


def mask_path(target: Path) -> Path:
    """Return where the mask of a degraded picture is written: ``NAME.mask.png`` beside it."""
    return target.with_name(f"{target.stem}{MASK_MARK}.png")


def _cut_out(picture: Picture, job: Job, overwrite: bool, resize_mask: bool) -> None:
    """Write the picture, black where the job's mask is white."""
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


def _write_with_mask(target: Path, cut: Picture, mask: Tensor, overwrite: bool) -> None:
    """Write a picture and its mask (upright, as masks are read), both or neither."""
    upright = to_upright(mask.float(), cut.orientation)
    write_picture(mask_path(target), Picture(upright, None, Layout(mode="L")), overwrite=overwrite)
    try:
        write_picture(target, cut, overwrite=overwrite)
    except BaseException:
        mask_path(target).unlink(missing_ok=True)
        raise


def _write_compressed(
    target: Path, picture: Picture, jpeg: dict[str, Any], overwrite: bool
) -> None:
    """Write a JPEG file in one compression, so that the picture is damaged only once."""
    # JPEG has 8 bits, and the picture is to be damaged anyway.
    picture = replace(picture, layout=replace(picture.layout, depth=8))
    encoded = encode(picture, target.suffix, str(target), **jpeg)
    write_picture(target, picture, overwrite=overwrite, encoded=encoded)
