"""Validation, which chooses the best weights on pictures whose scores are never reported."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any, TypedDict

import torch
from torch import Tensor

from irae.config import RunConfig
from irae.data.registry import data_root
from irae.errors import DataError
from irae.imaging.metrics import psnr
from irae.models.loaded import LoadedModel
from irae.tasks import get_task
from irae.tasks.base import Damaged
from irae.tasks.protocols import get_protocol
from irae.training.batches.collection import Collection, open_collection
from irae.training.dead_units import Firing, UnitCounts, either, watch_units
from irae.training.distributed import ALONE, Ranks

MOST_PSNR = 100.0
"""What the PSNR of a picture counts at most in a validation, in dB. That of a hole in a black
picture is infinite from the start, and would make the mean infinite for ever."""


@dataclass(frozen=True)
class _Case:
    level: str
    clean: Tensor
    damaged: Damaged

    def inputs(self) -> tuple[Tensor, Tensor | None]:
        """Return the damaged picture and its mask as batches of one."""
        mask = self.damaged.mask
        return self.damaged.pixels[None], None if mask is None else mask[None]

    def restored(self, model: LoadedModel) -> Tensor:
        """Restore the picture: ``3 H W`` in host memory, not clipped."""
        return model.restore(*self.inputs(), sigma=self.damaged.sigma)[0].cpu()


class _Inputs(TypedDict):
    """Arguments that the methods of `LoadedModel` have in common."""

    degraded: Tensor
    mask: Tensor | None
    filled: bool


@dataclass(frozen=True)
class Score(UnitCounts):
    """The score of one validation.

    Attributes:
        levels: mean PSNR in dB of the input and of the output, by level; in the masked region, if
            there is one.
        round_trip: largest error of degraded → restored → degraded in float32, in 8-bit units.
        firing: hidden units of each layer that were positive on any of the pictures.
    """

    levels: dict[str, tuple[float, float]]
    round_trip: float | None
    firing: Firing = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Mean output PSNR over the levels in dB, by which checkpoints are ranked."""
        return sum(output for _, output in self.levels.values()) / len(self.levels)

    def record(self) -> dict[str, Any]:
        """Return the figures for the log."""
        return {
            "validation_psnr": self.mean,
            "validation": self.levels,
            "round_trip": self.round_trip,
            "dead_units": self.dead,
        }

    def describe(self) -> str:
        """Describe the score in one phrase."""
        levels = ", ".join(f"{k} {b:.2f} → {a:.2f} dB" for k, (b, a) in self.levels.items())
        trip = "" if self.round_trip is None else f"; round trip {self.round_trip:.4f}/255"
        return f"{levels}; mean {self.mean:.3f}{trip}"

    def card(self) -> dict[str, Any]:
        """Return what the card of the validated model states."""
        return {}


class Validation:
    """A fixed set of degraded pictures; its randomness does not depend on the run's seed.

    Args:
        config: config of the run.
        collection: pictures of the run; opened from the config if None.

    Attributes:
        left_out: a line for each picture that cannot be read.

    Raises:
        DataError: no picture can be read, or a pair cannot.
    """

    def __init__(self, config: RunConfig, collection: Collection | None = None) -> None:
        collection = collection or open_collection(config.data)
        rules = get_protocol(config.data.protocol)
        self._config = config
        self._cases: list[_Case] = []
        self.left_out: list[str] = []
        for index, (pictures, number) in enumerate(collection.validation):
            try:
                whole = pictures.load(number)
            except DataError as error:
                self.left_out.append(str(error))
                continue
            clean = rules.clean(whole, 0, index)
            self._cases += _cases(config, centre(clean, config.data.validation.crop), index)
        pairs = get_task(config.task).validation_pairs(
            config.data.validation, data_root(config.data.root)
        )
        self._cases += [_Case(*pair) for pair in pairs]
        self._pairs = len(pairs)
        self._filled: dict[int, Tensor] = {}
        self._fingerprint: str | None = None
        if not self._cases:
            raise DataError(self.left_out[0])

    def fingerprint(self) -> str:
        """Return a hash of all on which a score depends besides the model.

        Where the pictures lie is no part of it, nor are damaged pixels, which other versions of
        libraries may compute differently; of real pairs, which are files, they are.
        """
        if self._fingerprint is not None:
            return self._fingerprint
        section = self._config.data.validation
        said = section.model_dump(mode="json", exclude={*section.folders, "max_round_trip"})
        found = hashlib.sha256(json.dumps([said, self._config.data.protocol]).encode())
        for number, case in enumerate(self._cases):
            found.update(f"{case.level} {tuple(case.clean.shape)}".encode())
            found.update(_bytes(case.clean))
            if number >= len(self._cases) - self._pairs:
                found.update(_bytes(case.damaged.pixels))
        self._fingerprint = found.hexdigest()[:16]
        return self._fingerprint

    def samples(self, count: int) -> list[_Case]:
        """Return the first ``count`` cases, which are saved as sample pictures."""
        return self._cases[:count]

    def score(self, model: LoadedModel, ranks: Ranks = ALONE) -> Score:
        """Validate a model; its precision is the same afterwards.

        Args:
            model: the model, with equal weights in every process.
            ranks: the processes, among which the pictures are divided.

        Raises:
            ModelError: an output is not finite.
        """
        mine = range(ranks.rank, len(self._cases), ranks.count)
        measured = ranks.together(lambda: {i: self._measure(model, i) for i in mine})
        firing = ranks.together(lambda: self.firing(model, mine))
        trips = ranks.together(lambda: self._round_trips(model, ranks)) if model.invertible else []
        # Summed in the order of the cases, so that the score does not depend on their division.
        found = {i: pair for part in ranks.gather(measured) for i, pair in part.items()}
        pairs: dict[str, list[tuple[float, float]]] = {}
        for i, case in enumerate(self._cases):
            pairs.setdefault(case.level, []).append(found[i])
        levels = {
            level: (sum(b for b, _ in each) / len(each), sum(a for _, a in each) / len(each))
            for level, each in pairs.items()
        }
        largest = [trip for part in ranks.gather(trips) for trip in part]
        return Score(levels, max(largest) if largest else None, either(ranks.gather(firing)))

    def _inputs(self, model: LoadedModel, index: int) -> _Inputs:
        """Return what a model's methods are given of a case, its holes filled."""
        case = self._cases[index]
        given, mask = case.inputs()
        if mask is None or getattr(model.network, "hole_fill", None) is not None:
            return {"degraded": given, "mask": mask, "filled": False}
        if index not in self._filled:
            # The same before every validation: filling does not depend on weights.
            on_device = (each.to(model.device) for each in (given, mask))
            self._filled[index] = model.fill(*on_device).cpu()
        return {"degraded": self._filled[index], "mask": mask, "filled": True}

    def _measure(self, model: LoadedModel, index: int) -> tuple[float, float]:
        case = self._cases[index]
        clean, sigma = case.clean[None], case.damaged.sigma
        restored = model.restore(**self._inputs(model, index), sigma=sigma).cpu().clamp(0, 1)
        # Of an inpainted picture only the masked region can be better or worse.
        given, mask = case.inputs()
        before, after = (float(psnr(each, clean, mask)) for each in (given, restored))
        return min(before, MOST_PSNR), min(after, MOST_PSNR)

    def firing(self, model: LoadedModel, numbers: range | None = None) -> Firing:
        """Record which hidden units fire on the cases with these numbers; on all if None.

        Once all units have fired, no further case is looked at.
        """
        with watch_units(model.network) as firing:
            for index in range(len(self._cases)) if numbers is None else numbers:
                sigma = self._cases[index].damaged.sigma
                model.run_network(**self._inputs(model, index), sigma=sigma)
                if all(bool(fires.all()) for fires in firing.values()):
                    break
        return firing

    def _round_trips(self, model: LoadedModel, ranks: Ranks) -> list[float]:
        precision = model.precision
        model.to(model.device, "fp32")
        few = range(0, len(self._cases), max(1, len(self._cases) // 6))
        errors = []
        for index in few[ranks.rank :: ranks.count]:
            given, _, recovered = model.round_trip(**self._inputs(model, index))
            error = float((given - recovered).abs().max()) * 255
            # NaN fails every comparison, whereas infinity exceeds every limit.
            errors.append(error if math.isfinite(error) else math.inf)
        model.to(model.device, precision)
        return errors


def _bytes(pixels: Tensor) -> bytes:
    return (pixels * 65535).round().to(torch.int32).numpy().tobytes()


def centre(picture: Tensor, side: int) -> Tensor:
    """Cut the middle of ``C H W``, at most ``side`` in each direction."""
    height, width = picture.shape[1:]
    # Multiples of 8 keep the JPEG grid of a lightly compressed original in place.
    top = max(0, (height - side) // 2) // 8 * 8
    left = max(0, (width - side) // 2) // 8 * 8
    return picture[:, top : top + side, left : left + side]


def _cases(config: RunConfig, clean: Tensor, index: int) -> list[_Case]:
    sections = config.data.validation, config.degradation
    levels = get_task(config.task).validation_levels(*sections, *clean.shape[1:])
    damaged = {name: level.degrade(clean, (index,)) for name, level in levels.items()}
    return [_Case(name, clean, each) for name, each in damaged.items()]


def side_by_side(model: LoadedModel, case: _Case) -> Tensor:
    """Return clean, degraded and restored picture in a row, ``3 H 3W`` in [0, 1]."""
    return torch.cat([case.clean, case.damaged.pixels, case.restored(model)], 2).clamp(0, 1)
