"""What is wrong with a picture, and what restoring it would do."""

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
"""Sigma from which a picture is denoised. Photographs without noise reach 2.7 by their texture."""

LOW_QUALITY = 90
"""JPEG quality up to which the damage is undone."""

# In a JPEG, compression has changed the noise, which the denoiser knows as white only. Measured
# on photographs with noise compressed at qualities 40 to 95: where the noise is still there in
# the colours (4:4:4), denoising is better by 1 to 2 dB; where chroma was subsampled or the noise
# is weak, undoing the JPEG is, up to an estimated sigma of some 30.
_WHITE_NOISE_IN_JPEG = 8.0
_ANY_NOISE_IN_JPEG = 30.0


@dataclass(frozen=True)
class Inspection:
    """What was found out about a picture.

    Attributes:
        path: the file.
        format: Pillow's name of the file format.
        mode: how the file holds its samples, as in `Layout`.
        depth: bits per channel.
        width: columns as stored.
        height: rows as stored.
        profile: the colour profile's own name; ``unreadable`` if it is damaged; none without.
        sigma: noise in 8-bit units; none where the picture is too small or of two levels only.
        colour_sigma: of the noise that the channels do not share; none for gray.
        jpeg: the quality it was saved at as JPEG, now or earlier; none if it shows no trace.
        transparent: pixels that are fully transparent.
        mask: a file ``NAME.mask.SUFFIX`` beside it.
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
        """What is wrong, as plain JSON: ``sigma``, ``jpeg_quality`` and the like."""
        jpeg = None if self.jpeg is None else asdict(self.jpeg)
        return {
            "sigma": _rounded(self.sigma),
            "colour_sigma": _rounded(self.colour_sigma),
            "jpeg": None if jpeg is None else {**jpeg, "grid": list(jpeg["grid"])},
            "transparent": self.transparent,
            "mask": None if self.mask is None else str(self.mask),
        }

    def as_json(self) -> dict[str, Any]:
        """All of it, and the task with its reason, as plain JSON."""
        task, reason = choose_task(self)
        about = {
            name: getattr(self, name)
            for name in ("format", "mode", "depth", "width", "height", "profile")
        }
        return {
            "input": str(self.path), **about, **self.damage(), "task": task, "reason": reason
        }  # fmt: skip

    def as_lines(self) -> list[str]:
        """What a person wants to read of it; the first line begins with the path."""
        facts = [f"{self.width}x{self.height}", f"{self.format} {self.mode}", f"{self.depth} bits"]
        facts.append(f"profile {self.profile}" if self.profile else "no profile")
        noise = "not to be told" if self.sigma is None else f"sigma about {self.sigma:.1f}"
        jpeg = "no trace" if self.jpeg is None else _describe_quality(self.jpeg)
        return [
            f"{self.path}: {', '.join(facts)}",
            f"  noise: {noise}",
            f"  JPEG: {jpeg}",
            f"  holes: {_describe_holes(self) or 'none'}",
            f"  restore: {choose_task(self)[1]}",
        ]


def inspect_picture(path: str | Path) -> Inspection:
    """Look at a picture file.

    Raises:
        PictureError: it cannot be read.
    """
    return inspect_read(Path(path), read_picture(path))


def inspect_read(path: Path, picture: Picture) -> Inspection:
    """As `inspect_picture`, of a picture that is read already; its file is still looked at."""
    layout = picture.layout
    visible = None if picture.alpha is None else picture.alpha > 0
    # Of CMYK the three colours, as they are restored.
    pixels = picture.pixels[:3]
    # The dots of a picture in black and white are what it is made of.
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
    """What `irae restore` does to a picture when it is not told.

    Holes are not filled without being asked for: most transparent pixels are meant to be so.

    Returns:
        ``denoise``, ``jpeg``, or none where it is left as it is; and why, in one line.
    """
    task, why = _choose(inspection)
    holes = _describe_holes(inspection)
    line = f"{why} -> {task}" if task else why
    return task, f"{line}; holes: {holes}" if holes else line


def explain(inspection: Inspection) -> str:
    """The choice in one line that begins with the file's name."""
    return f"{inspection.path}: {choose_task(inspection)[1]}"


def _choose(inspection: Inspection) -> tuple[str | None, str]:
    sigma, jpeg = inspection.sigma, inspection.jpeg
    if sigma is None and (jpeg is None or jpeg.quality > LOW_QUALITY):
        if inspection.depth == 1:
            return None, "black and white only, left as it is; --task restores it all the same"
        return None, "too small to tell, left as it is; --task restores it all the same"
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
    """Such as ``quality 75 by its pixels, saved again since``."""
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
    # Traces of 8-bit decoding are in 8-bit pixels only, and in no palette's.
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
    # A stranger's text, which is printed.
    printable = "".join(c for c in " ".join(name.split()) if c.isprintable())
    return printable[:80] or "without a name"


def _rounded(sigma: float | None) -> float | None:
    return None if sigma is None else round(sigma, 2)
