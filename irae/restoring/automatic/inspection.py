"""What is known of a picture and its damage, and the task that restoring it would choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from irae.imaging.analysis.damage import Damage
from irae.imaging.analysis.jpeg_quality import JpegQuality
from irae.imaging.analysis.lossy_file import LossyFile
from irae.imaging.analysis.noise import WHITE_CORRELATION, Noise
from irae.restoring.automatic.rules import better_task, least_gain, suffices
from irae.tasks import DENOISE, PHOTO

LEFT = "left as it is"
"""The words for a picture in which nothing is changed."""

# A JPEG of this quality or better, in which no noise is seen, is left; so is a picture that is
# written with loss if a model changes it by less than this factor times what writing does.
_GOOD_JPEG = 90
_TELLING_JPEG = 75  # Least quality at which noise can be measured beside the marks of JPEG.
_NOISY = 1.5  # Least level of noise that is named.
_CHANGE_OVER_WRITING = 4.0

# Formats of which a larger gain is asked: those that are written with loss, and HEIC, since what
# models do to it is less sure, though its result is a PNG.
_MUST_GAIN_MORE = frozenset({"JPEG", "MPO", "AVIF", "HEIF"})


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
        noise: the noise measured by rules; None if the picture is too small or has few colours.
        measured: the damage by the fitted measure, which sees the noise of cameras better than the
            rules do; None for drawings too.
        denoisable: whether the packaged denoiser was seen to remove white noise and nothing else;
            None if it was not tried.
        few_colours: whether it has so few colours that it was not damaged.
        impulses: share of the values that are salt and pepper.
        tint: for a toned black-and-white picture, the largest deviation from gray as a share of the
            range; None for others.
        gains: gain in dB to rely on of the model of each task; empty if none was tried.
        typical: gain in dB of the model of each task that is as often exceeded as not.
        changes: how far the model of each task changes the picture, over what writing a JPEG does.
        jpeg: quality of the present or an earlier JPEG compression; None if there is no trace.
        lossy: how strongly the file was compressed, if it is a WebP, AVIF or HEIC with loss.
        transparent: number of fully transparent pixels.
        mask: path of a file ``NAME.mask.SUFFIX`` beside the picture, if there is one.
        page: number of the page, from 1, in a file of several pages; None in others.
    """

    path: Path
    format: str
    mode: str
    depth: int
    width: int
    height: int
    profile: str | None = None
    noise: Noise | None = None
    measured: Damage | None = None
    denoisable: bool | None = None
    few_colours: bool = False
    impulses: float = 0.0
    tint: float | None = None
    gains: Mapping[str, float] = field(default_factory=dict)
    typical: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, float] = field(default_factory=dict)
    jpeg: JpegQuality | None = None
    lossy: LossyFile | None = None
    transparent: int = 0
    mask: Path | None = None
    page: int | None = None

    @property
    def sigma(self) -> float | None:
        """Level of the noise in 8-bit units; None if not known."""
        if self.measured is not None and not self._rules_hold():
            return self.measured.sigma
        return None if self.noise is None else self.noise.sigma

    def _rules_hold(self) -> bool:
        """Whether the rules measure best: white noise, noise all channels share, heavy JPEGs."""
        noise = self.noise
        if self.jpeg is not None:
            # Little is left of noise under strong compression, and its marks look like noise.
            return self.jpeg.quality < _TELLING_JPEG
        if noise is None or not noise.sure:
            return False
        return noise.correlation < WHITE_CORRELATION or noise.shared

    def damage(self) -> dict[str, Any]:
        """Return the damage as plain JSON: ``sigma``, ``noise``, ``jpeg`` and so on."""
        jpeg = None if self.jpeg is None else asdict(self.jpeg)
        return {
            "sigma": None if self.sigma is None else round(self.sigma, 2),
            "noise": None if self.noise is None else self.noise.as_json(),
            "measured": None if self.measured is None else self.measured.as_json(),
            "impulses": round(self.impulses, 4),
            "tint": None if self.tint is None else round(self.tint, 3),
            "gains": {task: round(gain, 2) for task, gain in self.gains.items()},
            "typical_gains": {task: round(gain, 2) for task, gain in self.typical.items()},
            "jpeg": None if jpeg is None else {**jpeg, "grid": list(jpeg["grid"])},
            "lossy": None if self.lossy is None else asdict(self.lossy),
            "transparent": self.transparent,
            "mask": None if self.mask is None else str(self.mask),
        }

    def _describe_noise(self) -> str:
        noise, measured = self.noise, self.measured
        if noise is None:
            return "none, there are few colours" if self.few_colours else "unknown"
        if measured is None or self._rules_hold():
            return noise.describe()
        about = f"sigma about {measured.sigma:.1f}"
        about += f", correlation {measured.correlation:.1f}" if measured.sigma >= 1 else ""
        return about if noise.sure else f"{about} (unsure: it may be fine texture)"

    def as_json(self) -> dict[str, Any]:
        """Return everything, and the chosen task with its reason, as plain JSON."""
        task, reason = choose_task(self)
        about = {
            name: getattr(self, name)
            for name in ("format", "mode", "depth", "width", "height", "profile")
        }
        page = {} if self.page is None else {"page": self.page}
        damage = self.damage()
        return {
            "input": str(self.path), **page, **about, **damage, "task": task, "reason": reason
        }  # fmt: skip

    def as_lines(self) -> list[str]:
        """Describe the picture in lines for a person; the first begins with the path."""
        facts = [f"{self.width}x{self.height}", f"{self.format} {self.mode}", f"{self.depth} bits"]
        facts.append(f"profile {self.profile}" if self.profile else "no profile")
        noise = self._describe_noise()
        if self.impulses:
            noise += f"; salt and pepper in {self.impulses:.1%} of the values"
        jpeg = "no trace" if self.jpeg is None else _describe_quality(self.jpeg)
        tone = [] if self.tint is None else [f"  tone: {_describe_tint(self.tint)}"]
        page = "" if self.page is None else f"page {self.page}: "
        return [
            f"{self.path}: {page}{', '.join(facts)}",
            f"  noise: {noise}",
            *tone,
            f"  JPEG: {jpeg}",
            *([] if self.lossy is None else [f"  file: {self.lossy.describe()}"]),
            f"  holes: {_describe_holes(self) or 'none'}",
            f"  restore: {choose_task(self)[1]}",
        ]


def choose_task(inspection: Inspection) -> tuple[str | None, str]:
    """Choose the task that `irae restore` does if the user names none.

    Holes are filled only on request, because most transparent pixels are meant to be transparent.

    Returns:
        ``denoise``, ``jpeg``, ``photo``, or None if nothing is done; and the reason in one line.
    """
    task, why = _choose(inspection)
    line = f"{why} -> {task}" if task else why
    return task, f"{line}{_with_mask(inspection)}"


def explain(inspection: Inspection) -> str:
    """Explain the choice in one line that begins with the file's path."""
    return f"{inspection.path}: {choose_task(inspection)[1]}"


def _choose(inspection: Inspection) -> tuple[str | None, str]:
    noise, jpeg = inspection.noise, inspection.jpeg
    if inspection.impulses:
        return PHOTO, f"salt and pepper in {inspection.impulses:.1%} of the values"
    if noise is None and jpeg is None:
        if inspection.depth == 1:
            return None, f"black and white only, {LEFT}; --task restores it all the same"
        if inspection.few_colours:
            return None, "looks clean; nothing to do"
        return None, f"too small to judge, {LEFT}; --task restores it all the same"
    found = _describe_damage(inspection)
    if inspection.denoisable:
        return DENOISE, found
    if not inspection.gains:
        return None, "looks clean; nothing to do"
    cautious = inspection.format in _MUST_GAIN_MORE
    least = least_gain(None if jpeg is None else jpeg.quality, cautious=cautious)
    task = better_task(inspection.gains, inspection.typical, least)
    gain = inspection.gains[task]
    quiet = inspection.sigma is None or inspection.sigma < _NOISY
    if jpeg is not None and jpeg.quality >= _GOOD_JPEG and quiet:
        return None, f"{found}, and no noise to be seen; {LEFT}"
    if cautious and inspection.changes.get(task, _CHANGE_OVER_WRITING) < _CHANGE_OVER_WRITING:
        return None, f"{found}, too little to be worth saving it again; {LEFT}"
    typical = inspection.typical.get(task, gain)
    if suffices(gain, typical, least):
        return task, f"{found}, about {max(gain, typical):.1f} dB to gain"
    if gain > 0 and cautious:
        return None, f"{found}, too little to be worth saving it again; {LEFT}"
    if quiet and jpeg is None and inspection.lossy is None:
        return None, "looks clean; nothing to do"
    why = f"{found}, which no model is sure to improve; {LEFT}"
    return None, why if quiet else f"{why}; --task photo restores it all the same"


def _describe_damage(inspection: Inspection) -> str:
    found = []
    sigma, noise = inspection.sigma, inspection.noise
    if sigma is not None and sigma >= _NOISY:
        what = "noise" if noise is None or noise.sure else "noise or fine texture,"
        found.append(f"{what} sigma about {sigma:.0f}")
    if inspection.jpeg is not None:
        found.append(f"JPEG {_describe_quality(inspection.jpeg)}")
    if inspection.lossy is not None:
        found.append(inspection.lossy.describe())
    return " and ".join(found) or "weak noise, if any"


def _describe_tint(tint: float) -> str:
    if tint < 0.005:
        return "black and white, stored as colour"
    return f"black and white with a tint of up to {tint:.0%}"


def _describe_quality(jpeg: JpegQuality) -> str:
    """Describe the quality, such as ``quality 75 by its pixels, saved again since``."""
    where = "tables" if jpeg.source == "tables" else "pixels, saved again since"
    if jpeg.standard:
        return f"quality {jpeg.quality} by its {where}"
    return f"quality nearest to {jpeg.quality} (not a standard table) by its {where}"


def _describe_holes(inspection: Inspection) -> str:
    if inspection.mask is not None:
        return f"mask {inspection.mask}; --mask {inspection.mask} fills them"
    if inspection.transparent:
        count = inspection.transparent
        pixels = "transparent pixel" if count == 1 else "transparent pixels"
        return f"{count} {pixels}; --mask MASK fills what is white in MASK"
    return ""


def _with_mask(inspection: Inspection) -> str:
    """Say what `irae restore` would do with a mask, after what it does without one."""
    if inspection.mask is not None:
        return f"; with --mask {inspection.mask} it fills the holes"
    if inspection.transparent:
        return "; transparent pixels stay, and with --mask MASK it fills what is white in MASK"
    return ""
