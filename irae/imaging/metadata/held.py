"""The metadata that each file format can hold."""

from __future__ import annotations

import sys
from dataclasses import replace

from irae.imaging.io.picture import Layout
from irae.imaging.metadata.jpeg import LONGEST
from irae.imaging.metadata.photoshop import iptc_of

# By Pillow's names of the formats, and as far as Pillow or this package writes them.
_HOLDS = {
    "PNG": {"icc", "exif", "xmp", "photoshop", "comments", "chunks", "dpi"},
    "JPEG": {"icc", "exif", "xmp", "photoshop", "comments", "dpi"},
    "TIFF": {"icc", "exif", "xmp", "photoshop", "dpi"},
    "WEBP": {"icc", "exif", "xmp"},
    "AVIF": {"icc", "exif", "xmp"},
    "GIF": {"comments"},
    "JPEG2000": {"comments"},
    "PPM": {"comments"},
    "BMP": {"dpi"},
}
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
# Values of the resolution that say nothing about the picture: programs write them by default.
_USUAL_DPI = (1, 72, 96)
# Length of the mark that begins XMP in the segment of a JPEG.
_XMP_MARK = 29


def fit_metadata(layout: Layout, format_name: str) -> tuple[Layout, list[str]]:
    """Drop from a layout what a format cannot hold.

    Args:
        layout: the layout of the picture to write.
        format_name: Pillow's name of the format.

    Returns:
        The layout, and what was dropped, in words that follow "its".
    """
    holds = _HOLDS.get(format_name, set())
    dropped: list[str] = []
    if layout.icc is not None and "icc" not in holds:
        layout, dropped = replace(layout, icc=None), [*dropped, "colour profile"]
    longest = LONGEST if format_name == "JPEG" else sys.maxsize
    if layout.exif is not None and ("exif" not in holds or len(layout.exif) > longest):
        layout, dropped = replace(layout, exif=None), [*dropped, "EXIF"]
    if layout.xmp is not None and ("xmp" not in holds or len(layout.xmp) > longest - _XMP_MARK):
        layout, dropped = replace(layout, xmp=None), [*dropped, "XMP"]
    if layout.photoshop is not None and "photoshop" not in holds:
        name = "Photoshop resources" if iptc_of(layout.photoshop) is None else "IPTC record"
        layout, dropped = replace(layout, photoshop=None), [*dropped, name]
    comments = _fitting_comments(layout.comments, format_name, holds)
    if comments != layout.comments:
        layout, dropped = replace(layout, comments=comments), [*dropped, "comment"]
    if "chunks" not in holds:
        dropped += _dropped_chunks(layout)
        layout = replace(layout, chunks=())
    if layout.dpi is not None and "dpi" not in holds:
        known = layout.exif is not None or round(layout.dpi[0]) in _USUAL_DPI
        layout, dropped = replace(layout, dpi=None), [*dropped, *([] if known else ["resolution"])]
    return layout, dropped


def _fitting_comments(
    comments: tuple[bytes, ...], format_name: str, holds: set[str]
) -> tuple[bytes, ...]:
    if "comments" not in holds:
        return ()
    if format_name == "JPEG":
        return tuple(comment for comment in comments if len(comment) <= LONGEST)
    return comments


def _dropped_chunks(layout: Layout) -> list[str]:
    names = {name for name, _ in layout.chunks}
    dropped = ["text"] if names & set(_TEXTS) else []
    # A profile, or the statement that the colours are sRGB, makes the other chunks superfluous.
    if layout.icc is None and b"sRGB" not in names and names & {b"gAMA", b"cHRM", b"cICP"}:
        dropped.append("colour chunks")
    return dropped
