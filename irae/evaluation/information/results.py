"""The results of a measurement of information loss, and their output."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from irae.errors import UsageError
from irae.evaluation.information.probes import DECODER
from irae.evaluation.results import markdown_table
from irae.writing import write_atomically

JSON_NAME = "information.json"
"""Name of the results file, which the report of a benchmark also reads."""

CROPS = 2
"""Number of square crops from each picture."""


@dataclass(frozen=True)
class Settings:
    """The settings of the measurement.

    Attributes:
        sigma: level of the noise that degrades the pictures, in 8-bit units.
        noise: standard deviation of the noise added to each whitened component of a stage.
        dimension: number of principal components on either side.
        budget: number of training steps of a decoder.
        seed: seed of all randomness.
    """

    sigma: float = 25.0
    noise: float = 0.3
    dimension: int = 3
    budget: int = 150
    seed: int = 0

    def check(self) -> None:
        """Raise `UsageError` if a value is out of range."""
        if not 0 <= self.sigma <= 255:
            raise UsageError(f"sigma is {self.sigma:g}; use 0 to 255")
        if not 0 < self.noise < math.inf:
            raise UsageError(
                f"noise is {self.noise:g}; use a number above 0, without noise the mutual"
                " information of a deterministic network is infinite"
            )
        if not 1 <= self.dimension <= 8:
            raise UsageError(f"dimension is {self.dimension}; use 1 to 8")
        if self.budget < 0:
            raise UsageError(f"budget is {self.budget}; use 0 or more steps")

    @property
    def ceiling(self) -> float:
        """The largest possible value in nats: the capacity of ``dimension`` Gaussian channels."""
        return self.dimension / 2 * math.log1p(1 / self.noise**2)


@dataclass(frozen=True)
class StageResult:
    """The results for one stage.

    Attributes:
        stage: name of the stage.
        probe_psnr: PSNR in dB of the recovered input, on held-out pictures.
        probe: ``exact inverse`` or ``trained decoder``.
        ksg: estimate of the mutual information in nats, by nearest neighbours.
        mine: estimate of the mutual information in nats, by a trained network.
        values: number of values in the stage per value of the input.
    """

    stage: str
    probe_psnr: float
    probe: str
    ksg: float
    mine: float
    values: float


@dataclass(frozen=True)
class ModelResult:
    """The results for one model; ``identity`` has the estimates for the input itself."""

    model: str
    network: str
    identity: dict[str, float]
    stages: tuple[StageResult, ...]
    seconds: float


@dataclass(frozen=True)
class Information:
    """All results of a measurement.

    Attributes:
        settings: settings of the measurement.
        data: name of the set of pictures.
        trained_on: number of pictures for training the probes.
        held_out: number of pictures for scoring the probes.
        crop: side in pixels of the square crops from each picture.
        patch: side in pixels of the patches whose mutual information is estimated.
        samples: number of these patches.
        device: device of the measurement.
        validation: the estimators on Gaussians: dimension, rho, true, ksg, mine.
        models: results of each model.
    """

    settings: Settings
    data: str
    trained_on: int
    held_out: int
    crop: int
    patch: int
    samples: int
    device: str
    validation: tuple[dict[str, float], ...]
    models: tuple[ModelResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return a dict for ``json.dumps``."""
        head = {key: value for key, value in vars(self).items() if key != "settings"}
        models = [asdict(model) for model in self.models]
        return {
            **asdict(self.settings),
            "ceiling": self.settings.ceiling,
            "decoder": DECODER,
            "projection": "principal components of patches, whitened",
            **head,
            "validation": list(self.validation),
            "models": models,
        }

    def describe(self) -> str:
        """Describe the measurement, followed by Markdown tables that are aligned as plain text."""
        s = self.settings
        lines = [
            f"data {self.data}, sigma {s.sigma:g}, seed {s.seed}: {self.held_out} pictures held"
            f" out, {self.trained_on} to train probes on; {CROPS} crops of {self.crop}x{self.crop}"
            f" of each; on {self.device}",
            f"probe: PSNR of the network's input, recovered by its exact inverse or else by"
            f" {DECODER}, {s.budget} steps (a lower bound)",
            f"mutual information in nats, of {s.dimension} principal components of"
            f" {self.patch}x{self.patch} patches of the input with {s.dimension} of the stage's,"
            f" whitened, plus noise of {s.noise:g}: at most {s.ceiling:.2f};"
            f" {self.samples} patches",
            "",
        ]
        body = [
            [
                model.model,
                each.stage,
                f"{each.values:.3g}",
                f"{each.probe_psnr:.2f}",
                each.probe,
                f"{each.ksg:.2f}",
                f"{each.mine:.2f}",
            ]
            for model in self.models
            for each in (_identity_row(model), *model.stages)
        ]
        header = ["model", "stage", "values", "probe dB", "probe", "KSG", "MINE"]
        lines += [markdown_table(header, body), ""]
        lines += [f"the estimators on Gaussians of known information, {self.samples} samples", ""]
        known = [
            [f"{v['dimension']:.0f}", f"{v['rho']:g}"]
            + [f"{v[key]:.3f}" for key in ("true", "ksg", "mine")]
            for v in self.validation
        ]
        lines.append(markdown_table(["dimension", "rho", "true", "KSG", "MINE"], known))
        return "\n".join(lines)


def _identity_row(model: ModelResult) -> StageResult:
    same = model.identity
    return StageResult("(the input itself)", math.inf, "-", same["ksg"], same["mine"], 1.0)


def write_information(found: Information, folder: Path) -> Path:
    """Write ``information.json`` into a folder, which is made if missing; return its path."""
    path = folder / JSON_NAME
    text = json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return path
