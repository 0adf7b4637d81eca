"""Validation: what decides which weights are the best, on pictures that are never reported."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from irae.config import RunConfig
from irae.data.protocols import get_protocol
from irae.data.registry import open_data
from irae.imaging.degrade import add_noise, apply_mask, center_mask, irregular_mask, jpeg_compress
from irae.imaging.metrics import psnr
from irae.models.files import LoadedModel
from irae.runtime import generator


@dataclass(frozen=True)
class _Case:
    level: str
    clean: Tensor
    degraded: Tensor
    mask: Tensor | None = None


@dataclass(frozen=True)
class Score:
    """One validation.

    Attributes:
        levels: level → (PSNR of the input, PSNR of the output) in dB, means over the pictures.
        round_trip: largest error of degraded → restored → degraded in float32, in 8-bit units.
    """

    levels: dict[str, tuple[float, float]]
    round_trip: float | None

    @property
    def mean(self) -> float:
        """Mean output PSNR over the levels, in dB: the number that ranks checkpoints."""
        return sum(output for _, output in self.levels.values()) / len(self.levels)


class Validation:
    """A fixed set of degraded pictures; its randomness does not depend on the run's seed."""

    def __init__(self, config: RunConfig) -> None:
        section = config.data.validation
        root = None if config.data.root is None else Path(config.data.root)
        rules = get_protocol(config.data.protocol)
        pictures = open_data(section.source, root=root, split="val", protocol=config.data.protocol)
        self._cases: list[_Case] = []
        for index in range(min(section.images, len(pictures))):
            clean = _centre(rules.clean(pictures.load(index), 0, index), section.crop)
            self._cases += _cases(config, clean, index)

    def samples(self, count: int) -> list[_Case]:
        """The first ``count`` cases, for pictures to look at."""
        return self._cases[:count]

    def score(self, model: LoadedModel) -> Score:
        """Validate, leaving the model's precision as it was."""
        sums: dict[str, list[tuple[float, float]]] = {}
        for case in self._cases:
            mask = None if case.mask is None else case.mask[None]
            restored = model.restore(case.degraded[None], mask).clamp(0, 1).cpu()
            before = float(psnr(case.degraded[None], case.clean[None]))
            after = float(psnr(restored, case.clean[None]))
            sums.setdefault(case.level, []).append((before, after))
        levels = {
            level: (sum(b for b, _ in pairs) / len(pairs), sum(a for _, a in pairs) / len(pairs))
            for level, pairs in sums.items()
        }
        return Score(levels, self._round_trip(model) if model.invertible else None)

    def _round_trip(self, model: LoadedModel) -> float:
        precision = model.precision
        model.to(model.device, "fp32")
        largest = 0.0
        for case in self._cases[:: max(1, len(self._cases) // 6)]:
            mask = None if case.mask is None else case.mask[None]
            given, _, recovered = model.round_trip(case.degraded[None], mask)
            largest = max(largest, float((given - recovered).abs().max()) * 255)
        model.to(model.device, precision)
        return largest


def _centre(picture: Tensor, side: int) -> Tensor:
    height, width = picture.shape[1:]
    # Multiples of 8 keep the JPEG grid of a lightly compressed original where it was.
    top = max(0, (height - side) // 2) // 8 * 8
    left = max(0, (width - side) // 2) // 8 * 8
    return picture[:, top : top + side, left : left + side]


def _cases(config: RunConfig, clean: Tensor, index: int) -> list[_Case]:
    section = config.data.validation
    if config.task == "denoise":
        return [
            _Case(f"sigma {sigma:g}", clean, add_noise(clean, sigma, generator(index)))
            for sigma in section.sigma
        ]
    if config.task == "jpeg":
        return [_Case(f"quality {q}", clean, jpeg_compress(clean, q)) for q in section.quality]
    height, width = clean.shape[1:]
    masks = {
        "irregular": irregular_mask(height, width, generator(index)),
        "center": center_mask(height, width, min(height, width) // 4),
    }
    return [_Case(kind, clean, apply_mask(clean, mask), mask) for kind, mask in masks.items()]


def side_by_side(model: LoadedModel, case: _Case) -> Tensor:
    """Clean, degraded and restored in a row, ``3 H 3W`` in [0, 1]."""
    mask = None if case.mask is None else case.mask[None]
    restored = model.restore(case.degraded[None], mask)[0].cpu()
    return torch.cat([case.clean, case.degraded, restored], 2).clamp(0, 1)
