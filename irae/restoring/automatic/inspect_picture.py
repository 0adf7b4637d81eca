"""Inspection of a picture file: measures its damage, and tries what the models would do."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import ImageCms
from torch import Tensor

from irae.imaging.analysis.damage import Damage
from irae.imaging.analysis.impulses import find_impulses
from irae.imaging.analysis.jpeg_quality import JpegQuality, estimate_jpeg_quality, read_jpeg_quality
from irae.imaging.analysis.lossy_file import LossyFile, read_lossy_file
from irae.imaging.analysis.noise import Noise
from irae.imaging.analysis.tone import find_tone
from irae.imaging.degrade import jpeg_compress
from irae.imaging.io.encode import JPEG_QUALITY, PICTURE_SUFFIXES
from irae.imaging.io.files import MASK_MARK, open_document, read_picture
from irae.imaging.io.picture import Picture
from irae.restoring.automatic.gain import Gains, predict_gains
from irae.restoring.automatic.inspection import Inspection
from irae.restoring.automatic.measurements import take_measurements
from irae.restoring.automatic.rules import trained_for
from irae.restoring.automatic.trial import denoiser_suits, features, parts_of, restore_parts


def inspect_picture(path: str | Path) -> Inspection:
    """Inspect a picture file.

    Raises:
        PictureError: the picture cannot be read.
    """
    return inspect_read(Path(path), read_picture(path))


def inspect_pages(path: str | Path) -> Iterator[Inspection]:
    """Inspect a picture file, and each page of a TIFF by itself.

    Raises:
        PictureError: the picture, or the page that comes next, cannot be read.
    """
    document = open_document(path)
    if document is None:
        yield inspect_picture(path)
        return
    for number, page in enumerate(document.read(), 1):
        yield replace(inspect_read(document.path, page), page=number)


def inspect_read(path: Path, picture: Picture) -> Inspection:
    """Inspect a picture that has been read already; its file is still opened for JPEG tables."""
    layout = picture.layout
    visible = None if picture.alpha is None else picture.alpha > 0
    # Of CMYK only the three colours, which are restored as RGB.
    pixels = picture.pixels[:3]
    jpeg = read_jpeg_quality(path) or _earlier_jpeg(picture)
    lossy = read_lossy_file(path, layout.format, picture.width * picture.height)
    # In a picture of two levels the dots are the content, not noise.
    two_levels = layout.depth == 1
    impulses = None if two_levels else find_impulses(pixels)
    found = take_measurements(pixels, visible, jpeg=jpeg is not None, two_levels=two_levels)
    noise = found.noise
    tone = find_tone(pixels) if pixels.shape[0] == 3 else None
    denoisable: bool | None = None
    gains, changes = Gains({}, {}), dict[str, float]()
    if impulses is None:
        seen = _hide_transparent(pixels, visible)
        if noise is not None and found.white:
            denoisable = denoiser_suits(parts_of(seen), noise.sigma)
        if not denoisable:
            gains, changes = _try_models(seen, noise, jpeg, lossy, found.told)
    return Inspection(
        path=path,
        format=layout.format,
        mode=layout.mode,
        depth=layout.depth,
        width=picture.width,
        height=picture.height,
        profile=None if layout.icc is None else _profile_name(layout.icc),
        noise=noise,
        measured=None if noise is None or noise.drawn else found.damage,
        denoisable=denoisable,
        few_colours=found.few_colours,
        impulses=0.0 if impulses is None else float(impulses.float().mean()),
        tint=None if tone is None else tone.tint,
        gains=gains.least,
        typical=gains.typical,
        changes=changes,
        jpeg=jpeg,
        lossy=lossy,
        transparent=0 if visible is None else int((~visible).sum()),
        mask=_mask_beside(path),
    )


def _try_models(
    pixels: Tensor,
    noise: Noise | None,
    jpeg: JpegQuality | None,
    lossy: LossyFile | None,
    damage: Damage | None,
) -> tuple[Gains, dict[str, float]]:
    """Predict the gains by trying the models, and measure the changes; see `Inspection`."""
    if noise is None and jpeg is None:
        return Gains({}, {}), {}
    parts = parts_of(pixels)
    restored = restore_parts(parts, damage)
    quality = None if jpeg is None else jpeg.quality
    changes = {task: _change_over_writing(parts, results) for task, results in restored.items()}
    found = features(parts, restored, noise, quality, damage, lossy)
    return trained_for(predict_gains(found), found, quality), changes


def _hide_transparent(pixels: Tensor, visible: Tensor | None) -> Tensor:
    """Give transparent pixels, which may have any colour, the mean colour of the others."""
    if visible is None or bool(visible.all()) or not bool(visible.any()):
        return pixels
    mean = pixels[:, visible[0]].mean(1)
    return torch.where(visible, pixels, mean[:, None, None])


def _change_over_writing(parts: Sequence[Tensor], restored: Sequence[Tensor]) -> float:
    """Compare the power of a model's change with that of the error of writing its result."""
    change = writing = 0.0
    for part, result in zip(parts, restored, strict=True):
        written = jpeg_compress(result, JPEG_QUALITY, subsampling="4:4:4")
        change += float((part - result).square().sum())
        writing += float((written - result).square().sum())
    return change / max(writing, 1e-9)


def _earlier_jpeg(picture: Picture) -> JpegQuality | None:
    # Only 8-bit pixels without a palette show the traces of 8-bit JPEG decoding.
    layout = picture.layout
    if layout.depth != 8 or layout.palette is not None or picture.pixels.shape[0] == 4:
        return None
    return estimate_jpeg_quality(picture.pixels)


def _mask_beside(path: Path) -> Path | None:
    names = [path.with_name(f"{path.stem}{MASK_MARK}{s}") for s in sorted(PICTURE_SUFFIXES)]
    return next((name for name in names if name.is_file()), None)


def _profile_name(icc: bytes) -> str:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        name = ImageCms.getProfileDescription(profile)
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):
        return "unreadable"
    # The text comes from an untrusted file and is printed.
    printable = "".join(c for c in " ".join(name.split()) if c.isprintable())
    return printable[:80] or "without a name"
