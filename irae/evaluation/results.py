"""The results of an evaluation, and their output as JSON, CSV rows and a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from irae.tasks import all_tasks
from irae.tasks.base import Degradation
from irae.tasks.protocols import get_protocol

# For each measure its heading in a table, and the number of significant decimals.
_MEASURES: dict[str, tuple[str, int]] = {
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "bits_per_dim": ("bits/dim", 4),
}

_FEWER_IS_BETTER = {"bits_per_dim"}
_WITHOUT_UNIT = {"ssim", "bits_per_dim"}

# Addition to the protocol's summary for scores of the luma.
_ON_LUMA = (
    "but on luma: target is the 8-bit Y (BT.601, full range), damaged as a gray picture, every"
    " score of that channel"
)

# One number per measure; None is the SSIM of a picture smaller than its window.
Scores = dict[str, float | None]


def measures() -> dict[str, tuple[str, int]]:
    """Return the heading and the number of significant decimals of every measure of all tasks."""
    found = dict(_MEASURES)
    for task in all_tasks():
        found |= task.measures
    return found


def heading(measure: str) -> str:
    """Return the heading of a measure in a table."""
    return measures()[measure][0]


def unit(measure: str) -> str:
    """Return the unit of a measure as it follows the heading, such as `` (dB)``, or nothing."""
    return "" if measure in _WITHOUT_UNIT else " (dB)"


def sign(measure: str) -> int:
    """Return 1 for a measure of which more is better, -1 for one of which less is."""
    return -1 if measure in _FEWER_IS_BETTER else 1


def decimals(measure: str) -> int:
    """Return the number of significant decimals of a measure."""
    return measures()[measure][1]


@dataclass(frozen=True)
class PictureResult:
    """The scores of one picture at one level.

    Attributes:
        path: path of the picture.
        height, width: size in pixels, as evaluated.
        input: scores of the damaged picture against the target.
        output: scores of the restored picture against the target.
        mask: path of the mask file, if the mask is from a file.
        hole_fraction: masked share of the picture, in [0, 1]; None without a mask.
        empty_masks: mask files that were passed over because they mark nothing.
    """

    path: Path
    height: int
    width: int
    input: Scores
    output: Scores
    mask: Path | None = None
    hole_fraction: float | None = None
    empty_masks: tuple[Path, ...] = ()


@dataclass(frozen=True)
class LevelResult:
    """The scores of all pictures at one level of damage."""

    degradation: Degradation
    pictures: tuple[PictureResult, ...]

    @property
    def input(self) -> Scores:
        """Mean scores of the damaged pictures; see `output`."""
        return _mean([picture.input for picture in self.pictures])

    @property
    def output(self) -> Scores:
        """Mean scores of the restored pictures.

        A mean is None if any picture lacks the measure: a mean over fewer pictures than the table
        states would be false.
        """
        return _mean([picture.output for picture in self.pictures])


@dataclass(frozen=True)
class Evaluation:
    """A model's scores on a set, with everything needed to reproduce them.

    Attributes:
        model: name or path of the model.
        network: name of the network.
        parameters: number of trained parameters.
        task: name of the task.
        data: name of the set.
        count: number of pictures evaluated at each level.
        dropped: number of pictures left out because the protocol drops an incomplete last batch.
        protocol: name of the protocol.
        measured_on: ``RGB``, or ``Y`` if target, damage and scores are of the luma alone.
        seed: seed of all randomness.
        device: device of the network.
        precision: precision of the network.
        ensemble: whether restored pictures are averaged over eight orientations.
        levels: one entry per level of damage.
    """

    model: str
    network: str
    parameters: int
    task: str
    data: str
    count: int
    dropped: int
    protocol: str
    measured_on: str
    seed: int
    device: str
    precision: str
    ensemble: bool
    levels: tuple[LevelResult, ...]

    @property
    def _head(self) -> dict[str, Any]:
        names = [field.name for field in fields(self)]
        return {name: getattr(self, name) for name in names if name != "levels"}

    @property
    def _summary(self) -> str:
        summary = get_protocol(self.protocol).summary
        return f"{summary}; {_ON_LUMA}" if self.measured_on == "Y" else summary

    @property
    def without_ssim(self) -> list[Path]:
        """Paths of the pictures that are too small for an SSIM."""
        if not self.levels:
            return []
        pictures = self.levels[0].pictures
        return [picture.path for picture in pictures if picture.output["ssim"] is None]

    @property
    def empty_masks(self) -> list[Path]:
        """Paths of the mask files that were left out because they mark nothing."""
        found = (
            path for level in self.levels for each in level.pictures for path in each.empty_masks
        )
        return list(dict.fromkeys(found))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a dict for ``json.dumps``.

        JSON has no infinity: the PSNR of equal pictures is the string ``"inf"``. An undefined
        measure is null.
        """
        levels = [
            {
                "level": level.degradation.describe(),
                "degradation": _plain(asdict(level.degradation)),
                "input": _plain(level.input),
                "output": _plain(level.output),
                "pictures": [_plain(asdict(picture)) for picture in level.pictures],
            }
            for level in self.levels
        ]
        return {
            **self._head,
            "protocol_summary": self._summary,
            "levels": levels,
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return one flat row per level and picture, for a CSV file."""
        return [
            {
                **self._head,
                "level": level.degradation.describe(),
                "picture": str(picture.path),
                "height": picture.height,
                "width": picture.width,
                "mask": picture.mask,
                "hole_fraction": picture.hole_fraction,
                **{f"input_{key}": value for key, value in picture.input.items()},
                **{f"output_{key}": value for key, value in picture.output.items()},
            }
            for level in self.levels
            for picture in level.pictures
        ]

    def describe(self) -> str:
        """Describe the measurement, followed by a Markdown table that is aligned as plain text."""
        lines = [
            f"model {self.model} ({self.network}, {self.parameters:,} parameters, {self.task}),"
            f" {self.precision} on {self.device}{', self-ensemble' if self.ensemble else ''}",
            f"data {self.data}, {self.count} pictures, seed {self.seed}",
            f"protocol {self.protocol}: {self._summary}",
        ]
        if self.dropped:
            lines.append(f"{self.dropped} pictures of the last, incomplete batch left out")
        if small := self.without_ssim:
            side = get_protocol(self.protocol).ssim_side
            lines.append(
                f"no SSIM: {len(small)} of {self.count} pictures are smaller than {side} pixels,"
                f" first {small[0]}"
            )
        if empty := self.empty_masks:
            lines.append(f"left out, masks without a hole: {', '.join(map(str, empty))}")
        measures = list(self.levels[0].output)
        header = ["level"] + [
            f"{heading(measure)} {side}" for measure in measures for side in ("in", "out")
        ]
        body = [
            [level.degradation.describe()]
            + [
                format_score(measure, scores[measure])
                for measure in measures
                for scores in (level.input, level.output)
            ]
            for level in self.levels
        ]
        return "\n".join([*lines, "", markdown_table(header, body)])


def _mean(scores: Sequence[Scores]) -> Scores:
    means: Scores = {}
    for measure in scores[0]:
        values = [each[measure] for each in scores]
        known = [value for value in values if value is not None]
        means[measure] = math.fsum(known) / len(known) if len(known) == len(values) else None
    return means


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Convert values to plain JSON, also nested ones: paths and infinities become text."""
    plain: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            plain[key] = _plain(value)
        elif isinstance(value, tuple):
            plain[key] = [str(each) for each in value]
        elif isinstance(value, Path) or (isinstance(value, float) and math.isinf(value)):
            plain[key] = str(value)
        else:
            plain[key] = value
    return plain


def format_score(measure: str, value: float | None) -> str:
    """Format a score with its significant decimals; ``-`` if it is undefined."""
    return "-" if value is None else f"{value:.{decimals(measure)}f}"


def markdown_table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Format a Markdown table that is aligned as plain text: first column left, others right."""
    columns = [[heading, *cells] for heading, *cells in zip(header, *body, strict=True)]
    widths = [max(3, *map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join([line(header), line(rule), *(line(cells) for cells in body)])
