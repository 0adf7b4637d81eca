"""Sample pictures of a report as data URIs: the same crop of each, with error maps."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from irae.evaluation.report.summary import OURS, Level, Section, scores

Array = np.ndarray[Any, np.dtype[Any]]

# Sides in pixels of the crop that is shown and of the window that is magnified. Pictures are
# cropped, never scaled: scaling would average the noise away.
CROP = 256
WINDOW = 40

ERROR_GAIN = 8
"""The error map is white where restored and clean differ by 255 / 8 = 32 of 255 or more."""

# Limit for all pictures of a page together, in base64. A strip of a noisy 256 x 256 crop (PNG of
# 190 kB) with five restored ones (100 kB each, their maps 40 kB) is about 1.3 MB: some 15 strips.
PAGE_BYTES = 20_000_000


@dataclass(frozen=True)
class Shown:
    """One picture of a strip.

    Attributes:
        name: ``clean``, ``degraded`` or the model's name.
        picture: data URI of a PNG.
        error: data URI of its error map; None for the clean picture.
        psnr: measured PSNR of the whole picture in dB; None if unknown.
    """

    name: str
    picture: str
    error: str | None = None
    psnr: float | None = None

    @property
    def score(self) -> str:
        """The PSNR as text; empty if unknown."""
        return "" if self.psnr is None else f"{self.psnr:.2f} dB"


@dataclass(frozen=True)
class Strip:
    """One picture at one level: clean, degraded, then each model's result.

    Attributes:
        window: left and upper edge of the magnified window, as shares of the crop in [0, 1].
        window_share: width and height of the window, as shares of the crop's.
        size: width and height of the crop in pixels.
    """

    section: Section
    level: Level
    picture: str
    shown: tuple[Shown, ...]
    window: tuple[float, float]
    window_share: tuple[float, float]
    size: tuple[int, int]

    @property
    def title(self) -> str:
        """The title: picture, data set and damage."""
        return f"{self.picture}, {self.section.dataset}, {self.level.name}"

    @property
    def after(self) -> int:
        """Index in `shown` of the picture first compared with the damaged one.

        It is an entry of irae if there is one, else the last.
        """
        names = [shown.name for shown in self.shown]
        ours = {cell["model"] for cell in self.level.cells if cell["network"] in OURS}
        return next((i for i, x in enumerate(names) if i > 1 and x in ours), len(names) - 1)

    @property
    def bytes(self) -> int:
        """Number of bytes that the strip adds to the page."""
        return sum(len(x.picture) + len(x.error or "") for x in self.shown)


def strips(folder: Path, found: Sequence[Section]) -> tuple[list[Strip], int]:
    """Select strips up to `PAGE_BYTES`: the first picture of each level, then the second, ...

    Args:
        folder: folder of the benchmark.
        found: sections of the benchmark.

    Returns:
        The strips in the order of the tables, and the number of those left out. A picture whose
        files cannot be read counts for neither.
    """
    every = [_candidates(section, level) for section in found for level in section.levels]
    in_turn = [each for turn in zip_longest(*every) for each in turn if each is not None]
    chosen: dict[int, Strip] = {}
    size = left_out = 0
    order = [each for group in every for each in group]
    for candidate in in_turn:
        # The first strip that does not fit ends the selection, so that no smaller one is preferred.
        if left_out:
            left_out += 1
            continue
        strip = _strip(folder, *candidate)
        if strip is None:
            continue
        if chosen and size + strip.bytes > PAGE_BYTES:
            left_out += 1
            continue
        size += strip.bytes
        chosen[next(i for i, x in enumerate(order) if x is candidate)] = strip
    return [chosen[place] for place in sorted(chosen)], left_out


def _candidates(section: Section, level: Level) -> list[tuple[Section, Level, str]]:
    names = [str(s["picture"]) for cell in level.cells for s in cell.get("samples") or []]
    return [(section, level, name) for name in dict.fromkeys(names)]


def _strip(folder: Path, section: Section, level: Level, name: str) -> Strip | None:
    clean: Array | None = None
    shown: list[Shown] = []
    box = (0, 0, 0, 0)
    for cell in level.cells:
        sample = next((s for s in cell.get("samples") or [] if str(s["picture"]) == name), None)
        if sample is None:
            continue
        if clean is None:
            whole = _read(folder, sample["clean"])
            degraded = _read(folder, sample["degraded"])
            if whole is None or degraded is None or whole.shape != degraded.shape:
                continue
            box = _crop_box(whole)
            clean = _cut(whole, box)
            before = _psnr(cell, name, "input")
            shown = [
                Shown("clean", _uri(clean)),
                _shown("degraded", _cut(degraded, box), clean, before),
            ]
        restored = _read(folder, sample["restored"])
        if restored is None or _cut(restored, box).shape != clean.shape:
            continue
        after = _psnr(cell, name, "metrics")
        shown.append(_shown(str(cell["model"]), _cut(restored, box), clean, after))
    if clean is None:
        return None
    height, width = clean.shape[:2]
    share = (min(1.0, WINDOW / width), min(1.0, WINDOW / height))
    x, y = _busiest(clean, min(WINDOW, width), min(WINDOW, height))
    return Strip(
        section, level, name, tuple(shown), (x / width, y / height), share, (width, height)
    )


def _psnr(cell: dict[str, Any], name: str, side: str) -> float | None:
    values = scores(cell, "psnr", side)
    names = [str(each) for each in cell["pictures"]]
    return values[names.index(name)] if values and name in names else None


def _shown(name: str, picture: Array, clean: Array, psnr: float | None) -> Shown:
    error = np.abs(picture.astype(np.int16) - clean.astype(np.int16)).mean(-1) * ERROR_GAIN
    return Shown(name, _uri(picture), _uri(error.clip(0, 255).round().astype(np.uint8)), psnr)


def _read(folder: Path, name: str) -> Array | None:
    """Read RGB ``H W 3``; None if there is no such picture inside the folder."""
    path = folder / name
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder)):
        return None
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None


def _crop_box(picture: Array) -> tuple[int, int, int, int]:
    """Return the upper, lower, left and right edge of a crop in the middle."""
    height, width = picture.shape[:2]
    rows, columns = min(CROP, height), min(CROP, width)
    top, left = (height - rows) // 2, (width - columns) // 2
    return top, top + rows, left, left + columns


def _cut(picture: Array, box: tuple[int, int, int, int]) -> Array:
    top, bottom, left, right = box
    return picture[top:bottom, left:right]


def _busiest(clean: Array, width: int, height: int) -> tuple[int, int]:
    """Return the left and upper edge of the window with most detail.

    It is chosen from the clean picture alone, so that it favours no model.
    """
    luma = clean.astype(np.float64).mean(-1)
    rows, columns = np.gradient(luma) if min(luma.shape) > 1 else (luma * 0, luma * 0)
    sums = np.pad(np.abs(rows) + np.abs(columns), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = sums[height:, width:] - sums[:-height, width:]
    inside = inside - sums[height:, :-width] + sums[:-height, :-width]
    y, x = np.unravel_index(int(inside.argmax()), inside.shape)
    return int(x), int(y)


def _uri(picture: Array) -> str:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
