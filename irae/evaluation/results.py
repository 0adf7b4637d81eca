"""What an evaluation found, and how it is written down: JSON, CSV rows, a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from irae.tasks import all_tasks
from irae.tasks.base import Degradation
from irae.tasks.protocols import get_protocol

# What is measured: its heading in a table, and the decimals that mean something.
_MEASURES: dict[str, tuple[str, int]] = {"psnr": ("PSNR", 2), "ssim": ("SSIM", 4)}

# What replaces "over RGB" for gray networks.
_ON_LUMA = (
    "but on luma: target is the 8-bit Y (BT.601, full range), damaged as a gray picture, every"
    " score of that channel"
)

# One number per measure; None is an SSIM of a picture smaller than its window.
Scores = dict[str, float | None]


def measures() -> dict[str, tuple[str, int]]:
    """All that is measured of any task: its heading in a table, and the decimals that count."""
    found = dict(_MEASURES)
    for task in all_tasks():
        found |= task.measures
    return found


def heading(measure: str) -> str:
    """What a measure is called in a table."""
    return measures()[measure][0]


def decimals(measure: str) -> int:
    """How many decimals of a measure mean something."""
    return measures()[measure][1]


@dataclass(frozen=True)
class PictureResult:
    """One picture at one level.

    Attributes:
        path: the file.
        height, width: in pixels, as evaluated.
        input: the damaged picture against the target.
        output: the restored picture against the target.
        mask: the mask file, where the holes came from one.
        hole_fraction: share of the picture that is hole, in [0, 1]; None without holes.
    """

    path: Path
    height: int
    width: int
    input: Scores
    output: Scores
    mask: Path | None = None
    hole_fraction: float | None = None


@dataclass(frozen=True)
class LevelResult:
    """All pictures at one level of damage."""

    degradation: Degradation
    pictures: tuple[PictureResult, ...]

    @property
    def input(self) -> Scores:
        """Means over all pictures of the damaged pictures' scores; see `output`."""
        return _mean([picture.input for picture in self.pictures])

    @property
    def output(self) -> Scores:
        """Means over all pictures of the restored pictures' scores.

        None where a single picture lacks the measure: a mean over fewer pictures than the table
        states would be a false number.
        """
        return _mean([picture.output for picture in self.pictures])


@dataclass(frozen=True)
class Evaluation:
    """A model's scores on a set, with all that is needed to get them again.

    Attributes:
        model: name or path it was loaded by.
        network: its kind.
        parameters: number of trained numbers.
        task: what it restores.
        data: name of the set.
        count: pictures evaluated, at each level.
        dropped: pictures of the set left out because the protocol drops an incomplete last batch.
        protocol, seed, device, precision: as given.
        ensemble: whether restored pictures are means over eight orientations.
        measured_on: ``RGB``, or ``Y`` where target, damage and scores are of the luma alone.
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
        """Pictures too small for an SSIM."""
        if not self.levels:
            return []
        pictures = self.levels[0].pictures
        return [picture.path for picture in pictures if picture.output["ssim"] is None]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for ``json.dumps``.

        JSON knows no infinity: the PSNR of equal pictures is the string ``"inf"``. A measure that
        is not defined is null.
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
        """One flat row per level and picture, for a CSV file."""
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
        """What was measured and how, then a table in Markdown, as plain aligned text."""
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
    """Values JSON can hold: paths and infinities as text, nested tables likewise."""
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
    """A score with the decimals that mean something; ``-`` where it is not defined."""
    return "-" if value is None else f"{value:.{decimals(measure)}f}"


def markdown_table(header: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is also aligned as plain text: first column left, others right."""
    columns = [[heading, *cells] for heading, *cells in zip(header, *body, strict=True)]
    widths = [max(3, *map(len, column)) for column in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [cells[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * widths[0]] + ["-" * (width - 1) + ":" for width in widths[1:]]
    return "\n".join([line(header), line(rule), *(line(cells) for cells in body)])
