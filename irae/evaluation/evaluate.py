"""Measure one model on one set of pictures, at one or more levels of damage.

Pictures go through the network whole: evaluation is never tiled.

What is compared with the target. *Output*: what the model restored, clipped to [0, 1], not rounded.
*Input*: the damaged picture, neither clipped nor rounded, with the holes at the protocol's fill
value (what a model puts into them before its network runs is part of the restoring). PSNR is taken
per picture over the three channels (known pixels of an inpainted picture included) and then
averaged; so is all else. For JPEG there are also PSNR and PSNR-B of the luma (clipped, not
rounded).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from irae.data.folder import PictureSet
from irae.data.protocols import Damaged, Degradation, Protocol, get_protocol
from irae.errors import ModelError, UsageError
from irae.imaging.metrics import psnr, psnr_b, rgb_to_y
from irae.models.files import LoadedModel

# What is measured: its heading in a table, and the decimals that mean something.
MEASURES: dict[str, tuple[str, int]] = {
    "psnr": ("PSNR", 2),
    "ssim": ("SSIM", 4),
    "psnr_y": ("PSNR-Y", 2),
    "psnr_b": ("PSNR-B", 2),
}

# One number per measure; None is an SSIM of a picture smaller than its window.
Scores = dict[str, float | None]


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
    seed: int
    device: str
    precision: str
    levels: tuple[LevelResult, ...]

    @property
    def _head(self) -> dict[str, Any]:
        names = [field.name for field in fields(self)]
        return {name: getattr(self, name) for name in names if name != "levels"}

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
            "protocol_summary": get_protocol(self.protocol).summary,
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
            f" {self.precision} on {self.device}",
            f"data {self.data}, {self.count} pictures, seed {self.seed}",
            f"protocol {self.protocol}: {get_protocol(self.protocol).summary}",
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
            f"{MEASURES[measure][0]} {side}" for measure in measures for side in ("in", "out")
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


def evaluate(
    model: LoadedModel,
    pictures: PictureSet,
    degradations: Sequence[Degradation],
    *,
    protocol: str = "standard",
    seed: int = 0,
    max_images: int | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure a model.

    Args:
        model: on the device and in the precision to measure it at.
        pictures: the clean pictures.
        degradations: the levels of damage, all of the model's task.
        protocol: ``standard`` or ``authors``.
        seed: of noise, holes, masks and the authors' dequantisation.
        max_images: only the first so many pictures of the set.
        progress: show a bar on stderr, where that is a terminal.

    Raises:
        UsageError: a level of another task, or one that fits not a picture; no level, no picture,
            or too few for one batch of the protocol; pictures of several sizes in one batch.
        DataError: a picture cannot be read. The evaluation stops, since a mean over the rest
            would pass for one over the set.
        ModelError: the model gave a number that is not finite, or ran out of memory.
    """
    rules = get_protocol(protocol)
    _check(model, degradations, rules)
    size = rules.batch_size(model.task)
    wanted, count = _counts(pictures, max_images, size, rules)
    levels = []
    with tqdm(
        total=count * len(degradations), unit="picture", disable=None if progress else True
    ) as bar:
        for degradation in degradations:
            bar.set_description(degradation.describe())
            results: list[PictureResult] = []
            for first in range(0, count, size):
                batch = range(first, first + size)
                results += _evaluate_batch(model, pictures, batch, degradation, rules, seed)
                bar.update(size)
            levels.append(LevelResult(degradation, tuple(results)))
    return Evaluation(
        model=model.name,
        network=model.spec.network,
        parameters=model.parameters,
        task=model.task,
        data=pictures.name,
        count=count,
        dropped=wanted - count,
        protocol=rules.name,
        seed=seed,
        device=str(model.device),
        precision=model.precision,
        levels=tuple(levels),
    )


def _check(model: LoadedModel, degradations: Sequence[Degradation], rules: Protocol) -> None:
    if not degradations:
        raise UsageError("there is nothing to evaluate; give at least one level of damage")
    for degradation in degradations:
        if degradation.task != model.task:
            raise UsageError(
                f"model {model.name!r} is for {model.task}, not for {degradation.task};"
                " choose a model and levels for the same task"
            )
        rules.check(degradation)


def _counts(
    pictures: PictureSet, max_images: int | None, size: int, rules: Protocol
) -> tuple[int, int]:
    """Pictures asked for, and those of them in full batches of ``size``."""
    if max_images is not None and max_images < 1:
        raise UsageError(f"max_images is {max_images}; use at least 1")
    wanted = len(pictures) if max_images is None else min(max_images, len(pictures))
    count = wanted - wanted % size
    if not count:
        raise UsageError(
            f"{pictures.name}: {wanted} pictures leave no full batch of {size}, and protocol"
            f" {rules.name} drops the last; use more pictures or protocol standard"
        )
    return wanted, count


def _evaluate_batch(
    model: LoadedModel,
    pictures: PictureSet,
    batch: range,
    degradation: Degradation,
    rules: Protocol,
    seed: int,
) -> Iterator[PictureResult]:
    targets: list[Tensor] = []
    inputs: list[Damaged] = []
    for index in batch:
        path = pictures.paths[index]
        target = rules.clean(pictures.load(index), seed, index)
        if targets and target.shape != targets[0].shape:
            raise UsageError(
                f"{path} is {target.shape[-1]}x{target.shape[-2]} and {pictures.paths[batch[0]]} is"
                f" {targets[0].shape[-1]}x{targets[0].shape[-2]}; protocol {rules.name} needs"
                " pictures of one size"
            )
        try:
            inputs.append(rules.damage(target, degradation, seed, index))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        targets.append(target)
    clean = torch.stack(targets)
    damaged = torch.stack([each.pixels for each in inputs])
    masks = [each.mask for each in inputs if each.mask is not None]
    try:
        restored = model.restore(damaged, torch.stack(masks) if masks else None)
    except ModelError as error:
        raise ModelError(f"{pictures.paths[batch[0]]}: {error}") from None
    except torch.OutOfMemoryError:
        raise ModelError(
            f"{pictures.paths[batch[0]]}: {clean.shape[-1]}x{clean.shape[-2]} pixels do not fit the"
            f" memory of {model.device}, and evaluation is never tiled; use --device cpu"
        ) from None
    # Compared on the CPU, so that the device changes a score only through the network.
    restored = restored.float().cpu().clamp(0, 1)
    before = _scores(damaged, clean, model.task, rules)
    after = _scores(restored, clean, model.task, rules)
    for place, index in enumerate(batch):
        mask = inputs[place].mask
        yield PictureResult(
            path=pictures.paths[index],
            height=clean.shape[-2],
            width=clean.shape[-1],
            input=before[place],
            output=after[place],
            mask=inputs[place].mask_path,
            hole_fraction=None if mask is None else mask.double().mean().item(),
        )


def _scores(pixels: Tensor, clean: Tensor, task: str, rules: Protocol) -> list[Scores]:
    """One entry per picture of a batch ``B 3 H W``."""
    columns: dict[str, list[float] | list[None]] = {"psnr": rules.psnr(pixels, clean).tolist()}
    fits = min(clean.shape[-2:]) >= rules.ssim_side
    columns["ssim"] = rules.ssim(pixels, clean).tolist() if fits else [None] * len(clean)
    if task == "jpeg":
        luma, clean_luma = rgb_to_y(pixels), rgb_to_y(clean)
        columns["psnr_y"] = psnr(luma, clean_luma).tolist()
        columns["psnr_b"] = psnr_b(luma, clean_luma).tolist()
    return [{key: column[place] for key, column in columns.items()} for place in range(len(clean))]


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
    return "-" if value is None else f"{value:.{MEASURES[measure][1]}f}"


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
