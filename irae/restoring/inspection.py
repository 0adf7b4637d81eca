"""Inspection of a picture: its damage, and the task that restoring it would choose."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import ImageCms

from irae.imaging.analysis.jpeg_quality import JpegQuality, estimate_jpeg_quality, read_jpeg_quality
from irae.imaging.analysis.noise_level import estimate_colour_noise, estimate_noise
from irae.imaging.io.encode import PICTURE_SUFFIXES
from irae.imaging.io.files import MASK_MARK, read_picture
from irae.imaging.io.picture import Picture
from irae.tasks import DENOISE, JPEG

NOISY = 3.0
"""Least sigma at which a picture is denoised; texture alone reaches an estimate of 2.7."""

LOW_QUALITY = 90
"""Highest JPEG quality at which the damage is undone."""

# JPEG compression changes the noise, and the denoiser was trained on white noise. Measured on
# photographs with noise compressed at qualities 40 to 95: where the noise survives in the colours
# (4:4:4), denoising is better by 1 to 2 dB; where chroma was subsampled or the noise is weak,
# undoing the JPEG damage is better, up to an estimated sigma of about 30.
_WHITE_NOISE_IN_JPEG = 8.0
_ANY_NOISE_IN_JPEG = 30.0


@dataclass(frozen=True)
class Inspection:
    """The properties and the damage found in a picture.

    Attributes:
        path: path of the picture's file.
        format: Pillow's name of the file format.
        mode: sample format of the file, as in `Layout`.
        depth: bits per channel.
        width: number of columns as stored.
        height: number of rows as stored.
        profile: name in the colour profile; ``unreadable`` if it is damaged; None if absent.
        sigma: noise level in 8-bit units; None if the picture is too small or has two levels only.
        colour_sigma: level of the noise that the channels do not share; None for gray.
        jpeg: quality of the present or an earlier JPEG compression; None if there is no trace.
        transparent: number of fully transparent pixels.
        mask: path of a file ``NAME.mask.SUFFIX`` beside the picture, if there is one.
    """

    path: Path
    format: str
    mode: str
    depth: int
    width: int
    height: int
    profile: str | None = None
    sigma: float | None = None
    colour_sigma: float | None = None
    jpeg: JpegQuality | None = None
    transparent: int = 0
    mask: Path | None = None

    def damage(self) -> dict[str, Any]:
        """Return the damage as plain JSON: ``sigma``, ``colour_sigma``, ``jpeg`` and so on."""
        jpeg = None if self.jpeg is None else asdict(self.jpeg)
        return {
            "sigma": _rounded(self.sigma),
            "colour_sigma": _rounded(self.colour_sigma),
            "jpeg": None if jpeg is None else {**jpeg, "grid": list(jpeg["grid"])},
            "transparent": self.transparent,
            "mask": None if self.mask is None else str(self.mask),
        }

    def as_json(self) -> dict[str, Any]:
        """Return everything, and the chosen task with its reason, as plain JSON."""
        task, reason = choose_task(self)
        about = {
            name: getattr(self, name)
            for name in ("format", "mode", "depth", "width", "height", "profile")
        }
        return {
            "input": str(self.path), **about, **self.damage(), "task": task, "reason": reason
        }  # fmt: skip

    def as_lines(self) -> list[str]:
        """Describe the picture in lines for a person; the first begins with the path."""
        facts = [f"{self.width}x{self.height}", f"{self.format} {self.mode}", f"{self.depth} bits"]
        facts.append(f"profile {self.profile}" if self.profile else "no profile")
        noise = "unknown" if self.sigma is None else f"sigma about {self.sigma:.1f}"
        jpeg = "no trace" if self.jpeg is None else _describe_quality(self.jpeg)
        return [
            f"{self.path}: {', '.join(facts)}",
            f"  noise: {noise}",
            f"  JPEG: {jpeg}",
            f"  holes: {_describe_holes(self) or 'none'}",
            f"  restore: {choose_task(self)[1]}",
        ]


def inspect_picture(path: str | Path) -> Inspection:
    """Inspect a picture file.

    Raises:
        PictureError: the picture cannot be read.
    """
    return inspect_read(Path(path), read_picture(path))


def inspect_read(path: Path, picture: Picture) -> Inspection:
    """Inspect a picture that has been read already; its file is still opened for JPEG tables."""
    layout = picture.layout
    visible = None if picture.alpha is None else picture.alpha > 0
    # Of CMYK only the three colours, which are restored as RGB.
    pixels = picture.pixels[:3]
    # In a picture of two levels the dots are the content, not noise.
    sigma = None if layout.depth == 1 else estimate_noise(pixels, visible)
    colour = sigma is not None and pixels.shape[0] == 3
    return Inspection(
        path=path,
        format=layout.format,
        mode=layout.mode,
        depth=layout.depth,
        width=picture.width,
        height=picture.height,
        profile=None if layout.icc is None else _profile_name(layout.icc),
        sigma=sigma,
        colour_sigma=estimate_colour_noise(pixels, visible) if colour else None,
        jpeg=read_jpeg_quality(path) or _earlier_jpeg(picture),
        transparent=0 if visible is None else int((~visible).sum()),
        mask=_mask_beside(path),
    )


def choose_task(inspection: Inspection) -> tuple[str | None, str]:
    """Choose the task that `irae restore` does if the user names none.

    Holes are filled only on request, because most transparent pixels are meant to be transparent.

    Returns:
        ``denoise``, ``jpeg``, or None if nothing is done; and the reason in one line.
    """
    task, why = _choose(inspection)
    holes = _describe_holes(inspection)
    line = f"{why} -> {task}" if task else why
    return task, f"{line}; holes: {holes}" if holes else line


def explain(inspection: Inspection) -> str:
    """Explain the choice in one line that begins with the file's path."""
    return f"{inspection.path}: {choose_task(inspection)[1]}"


def _choose(inspection: Inspection) -> tuple[str | None, str]:
    sigma, jpeg = inspection.sigma, inspection.jpeg
    if sigma is None and (jpeg is None or jpeg.quality > LOW_QUALITY):
        if inspection.depth == 1:
            return None, "black and white only, left as it is; --task restores it all the same"
        return None, "too small to judge, left as it is; --task restores it all the same"
    noise = f"noise sigma about {sigma or 0:.0f}"
    if jpeg is None or jpeg.quality > LOW_QUALITY:
        if (sigma or 0) >= NOISY:
            return DENOISE, noise
        return None, "looks clean; nothing to do"
    damage = f"JPEG {_describe_quality(jpeg)}"
    if (sigma or 0) < NOISY:
        return JPEG, damage
    if _noise_is_heavier(inspection):
        return DENOISE, f"{noise}, heavier than {damage}"
    return JPEG, f"{damage}, heavier than {noise}"


def _noise_is_heavier(inspection: Inspection) -> bool:
    sigma = inspection.sigma or 0.0
    white = sigma if inspection.colour_sigma is None else min(sigma, inspection.colour_sigma)
    return white >= _WHITE_NOISE_IN_JPEG or sigma >= _ANY_NOISE_IN_JPEG


def _describe_quality(jpeg: JpegQuality) -> str:
    """Describe the quality, such as ``quality 75 by its pixels, saved again since``."""
    where = "tables" if jpeg.source == "tables" else "pixels, saved again since"
    if jpeg.standard:
        return f"quality {jpeg.quality} by its {where}"
    return f"quality nearest to {jpeg.quality} (not a standard table) by its {where}"


def _describe_holes(inspection: Inspection) -> str:
    if inspection.mask is not None:
        return f"mask {inspection.mask}; --task inpaint --mask {inspection.mask} fills them"
    if inspection.transparent:
        count = inspection.transparent
        pixels = "transparent pixel" if count == 1 else "transparent pixels"
        return f"{count} {pixels}; --task inpaint --mask MASK fills what is white in MASK"
    return ""


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


def _rounded(sigma: float | None) -> float | None:
    return None if sigma is None else round(sigma, 2)
