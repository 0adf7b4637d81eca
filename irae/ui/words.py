"""What the page says of a picture, in plain words."""

from __future__ import annotations

from irae.imaging.io.picture import Picture
from irae.restoring.inspection import Inspection, choose_task
from irae.tasks import DENOISE, JPEG, PHOTO, get_task

LEFT_AS_IT_IS = "Nothing was changed; the picture is left as it is."

# Level of noise and JPEG quality that the page speaks of.
_NOISY, _LOW_QUALITY = 3.0, 90

_PLANS = {
    DENOISE: "its noise will be removed",
    JPEG: "its JPEG damage will be undone",
    PHOTO: "it will be restored as a photo",
}


def describe_damage(found: Inspection) -> str:
    """Say in one sentence what a picture suffers from, and what Automatic will do about it."""
    task, _ = choose_task(found)
    sentence = f"{_looks(found)}; {_plan(task)}."
    if found.transparent:
        sentence += " Transparent parts are kept; to fill them, choose Holes."
    return sentence


def _looks(found: Inspection) -> str:
    noisy = bool(found.impulses) or (found.noise is not None and found.noise.sigma >= _NOISY)
    damaged = found.jpeg is not None and found.jpeg.quality <= _LOW_QUALITY
    if noisy:
        return "Looks noisy and was saved as a JPEG" if damaged else "Looks noisy"
    if damaged:
        return "Was saved as a JPEG of low quality"
    if found.noise is None:
        return "Is black and white only" if found.depth == 1 else "Is too small to judge"
    return "Looks clean"


def _plan(task: str | None) -> str:
    if task is None:
        return "it will be left as it is"
    return _PLANS.get(task) or f"restored by “{get_task(task).label}”"


def describe_result(task: str | None, *, changed: bool) -> str:
    """Say in one sentence what was done."""
    if task is None or not changed:
        return LEFT_AS_IT_IS
    return f"{get_task(task).done}."


def kept(picture: Picture, alpha: bool) -> list[str]:
    """List what a result keeps of a picture beside its pixels.

    Args:
        picture: the picture as read.
        alpha: whether it has transparent parts.
    """
    layout = picture.layout
    words = [
        ("16 bits", layout.depth == 16),
        ("float samples", layout.depth == 32),
        ("CMYK", picture.pixels.shape[0] == 4),
        ("gray", picture.pixels.shape[0] == 1),
        ("transparency", alpha),
        ("EXIF", layout.exif is not None),
        ("colour profile", layout.icc is not None),
    ]
    return [word for word, there in words if there]
