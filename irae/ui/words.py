"""What the page says of a picture, in plain words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from irae.imaging.io.changes import describe_loss, missing_parts
from irae.imaging.io.masks import MOST_MARKED, marked_share
from irae.imaging.io.picture import Picture
from irae.restoring.automatic.inspection import Inspection, choose_task
from irae.restoring.options import RestoreOptions
from irae.tasks import DENOISE, JPEG, PHOTO, get_task

LEFT_AS_IT_IS = "Nothing was changed; the picture is left as it is."

# Level of noise and JPEG qualities that the page speaks of.
_NOISY, _MEDIUM_QUALITY, _LOW_QUALITY = 3.0, 90, 60

_PLANS = {
    DENOISE: "its noise will be removed",
    JPEG: "its JPEG damage will be undone",
    PHOTO: "it will be restored as a photo",
}


def describe_damage(found: Inspection) -> str:
    """Say in one sentence what a picture suffers from, and what Automatic will do about it."""
    task, _ = choose_task(found)
    looks, other = _looks(found), _other_choice(found)
    if task is None and other is not None:
        sentence = (
            f"{looks}, but restoring is not sure to help: it will be left as it is, unless you"
            f" choose {other}."
        )
    else:
        sentence = f"{looks}; {_plan(task)}."
    if found.transparent:
        sentence += " Transparent parts are kept; to fill them, choose Holes."
    return sentence


def _is_noisy(found: Inspection) -> bool:
    return bool(found.impulses) or (found.sigma is not None and found.sigma >= _NOISY)


def _is_damaged(found: Inspection) -> bool:
    return found.jpeg is not None and found.jpeg.quality <= _MEDIUM_QUALITY


def _other_choice(found: Inspection) -> str | None:
    """Name the choice that restores a damaged picture if Automatic does not."""
    if _is_noisy(found):
        # Noise in a JPEG, and noise that the rules cannot tell from texture, is not white.
        other = found.jpeg is not None or found.noise is None or not found.noise.sure
        return "Photo" if other else "Noise"
    return "JPEG" if _is_damaged(found) else None


def _looks(found: Inspection) -> str:
    damaged = _is_damaged(found)
    if _is_noisy(found):
        return "Looks noisy and was saved as a JPEG" if damaged else "Looks noisy"
    if found.jpeg is not None and damaged:
        quality = "low" if found.jpeg.quality <= _LOW_QUALITY else "medium"
        return f"Was saved as a JPEG of {quality} quality"
    if found.depth == 1:
        return "Is black and white only"
    if found.noise is None and not found.few_colours:
        return "Is too small to judge"
    return "Looks clean"


def _plan(task: str | None) -> str:
    if task is None:
        return "it will be left as it is"
    return _PLANS.get(task) or f"restored by “{get_task(task).label}”"


def describe_result(task: str | None, options: RestoreOptions, *, changed: bool) -> str:
    """Say in one sentence what was done."""
    if options.strength == 0:
        return "The strength is 0; the picture is left as it is."
    if task is None or not changed:
        return LEFT_AS_IT_IS
    if options.find_damage and get_task(task).needs_mask:
        return "Damage filled."
    return f"{get_task(task).done}."


def notes_on(
    about: dict[str, Any], picture: Picture, target: Path, mask: Tensor | None
) -> list[str]:
    """Say what a user should know of a result, in one sentence each.

    Args:
        about: what was said of the picture when it was brought.
        picture: the restored picture.
        target: the file in which it is saved.
        mask: the mask by which it was filled, if it was.
    """
    came, saved = about["format"], target.suffix[1:].upper().replace("TIF", "TIFF")
    notes = []
    if mask is not None and float(mask.float().mean()) > MOST_MARKED:
        share = marked_share(mask)
        notes.append(
            f"{share[:1].upper()}{share[1:]} of the picture was painted over; Invert, under Mask,"
            " fills the other part."
        )
    if came == "HEIC":
        notes.append(f"It is saved as a {saved}, because irae does not write HEIC.")
    elif mask is not None and Path(about["saved_as"]).suffix != target.suffix:
        notes.append(
            f"It is saved as a {saved}, because a {came} would change all pixels and not the"
            " holes alone."
        )
    elif describe_loss(picture, target) is not None:
        notes.append(
            f"A {saved} holds 256 colours, fewer than the result; to keep all, save it as a PNG."
        )
    missing = dict.fromkeys([*about["missing"], *missing_parts(picture.layout, target.suffix)])
    if missing:
        *most, last = missing
        verb = "are" if most or last.endswith("s") else "is"
        listed = f"{', '.join(most)} and {last}" if most else last
        notes.append(f"Its {listed} {verb} not in the result.")
    return notes


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
