"""What a written file lacks of its original, or changes; and which format changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import JpegImagePlugin

from irae.imaging.io.encode import LOSSY_SUFFIXES, format_of
from irae.imaging.io.kinds import HEIF_SUFFIXES
from irae.imaging.io.picture import Layout, Picture
from irae.imaging.io.pillow import palette_holds
from irae.imaging.metadata.held import fit_metadata

_LOSSLESS = ("PNG", "TIFF", "BMP", "DIB", "PPM", "GIF")


def missing_parts(layout: Layout, suffix: str) -> list[str]:
    """Return what a picture's file holds and a file of this format will not, after "its"."""
    return [*layout.dropped, *fit_metadata(layout, format_of(suffix))[1]]


def describe_missing(
    source: Path, target: Path, missing: Sequence[str], undoable: bool | None = None
) -> str:
    """Say in one line which parts of the source are not in the result.

    Args:
        source: path of the source.
        target: path of the result.
        missing: the parts, in words that follow "its".
        undoable: whether a sidecar keeps them; None if there are no sidecars.
    """
    *most, last = missing
    listed = f"{', '.join(most)} and {last}" if most else last
    verb, them = ("are", "them") if most or last.endswith("s") else ("is", "it")
    line = f"{source}: its {listed} {verb} not in {target.name}"
    if undoable is None:
        return line
    return f"{line}; its sidecar keeps {them}" if undoable else f"{line}; `undoable` keeps {them}"


def describe_loss(picture: Picture, target: Path) -> str | None:
    """Say in one line that a lossy format changes the pixels of a picture that came without loss.

    Args:
        picture: the result.
        target: path of the file that is written.

    Returns:
        The line; None if the format keeps the pixels, or if the source was lossy too.
    """
    if target.suffix.lower() not in LOSSY_SUFFIXES:
        return None
    kind, came = format_of(target.suffix), picture.layout.format
    if kind == "GIF":
        if picture.pixels.shape[0] == 1 or palette_holds(picture, "P"):
            return None
        return f"{target}: a GIF holds 256 colours, fewer than the result; .png keeps them all"
    if came not in _LOSSLESS:
        return None
    return f"{target}: {kind} changes all pixels of this {came} a little; .png keeps them"


def lossless_suffix(source: Path) -> str:
    """Return the suffix of a lossless format for everything that the source's format can hold."""
    if source.suffix.lower() in HEIF_SUFFIXES:
        return ".png"
    if source.suffix.lower() not in LOSSY_SUFFIXES:
        return source.suffix
    try:
        with JpegImagePlugin.JpegImageFile(source) as image:
            return ".tif" if image.mode == "CMYK" else ".png"
    except (OSError, SyntaxError, ValueError):
        return ".png"  # Not a JPEG, hence RGB; a file that is no picture fails when it is read.
