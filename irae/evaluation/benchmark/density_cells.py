"""The cells of densities: one density on one data set at one number of bits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torchvision.utils import save_image

from irae.config import ModelSection, RunConfig, SourceSection
from irae.data.registry import data_root
from irae.data.small import open_small
from irae.errors import ConfigError, ModelError
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.density.pictures import grid
from irae.models.checkpoints.model_file import load_density
from irae.models.loaded_density import LoadedDensity
from irae.models.networks.registry import resolve_options
from irae.runtime import generator
from irae.writing import write_atomically

LIKELIHOOD = "likelihood"
"""What stands for the task of such a cell in its results."""

PROTOCOL = "uniform dequantisation"
"""What stands for the protocol."""

TEMPERATURE = 0.7
"""Temperature of the samples that are kept beside the results."""


@dataclass(frozen=True)
class DensityCell(Cell):
    """One density; ``level`` is its number of bits per number."""

    @property
    def size(self) -> int:
        """Height and width of the pictures."""
        assert self.dataset_section.size is not None  # The schema demands it.
        return self.dataset_section.size

    @property
    def _of_pictures(self) -> dict[str, Any]:
        section = self.dataset_section
        return {"channels": section.channels, "size": self.size, "bits": self.level}

    @cached_property
    def run_config(self) -> RunConfig:
        """The config of the training; a budget in minutes leaves ``training.steps`` open.

        Raises:
            ConfigError: the config has a key or a value that a run does not accept.
        """
        config, model, data = self.config, self.model_section, self.dataset_section
        assert model.network is not None
        sources = data.train or [SourceSection(source=self.dataset)]
        if Path(self.test).is_dir() and self.test in [each.source for each in sources]:
            raise ConfigError(
                f"datasets.{self.dataset}.test: {self.test} is trained on; give another folder"
            )
        options = {**model.options, **self._of_pictures}
        content = {
            "objective": "likelihood",
            "seed": config.seed,
            "model": ModelSection(network=model.network, preset=model.preset, options=options),
            "data": {
                "root": config.root,
                "train": sources,
                "validation": {"source": data.validation, "images": 64, "max_round_trip": 1e30},
                "augment": config.augment,
            },
            "training": self._training_section(),
        }
        return RunConfig.model_validate(content)

    def network_options(self) -> dict[str, Any]:
        """Return all options of the network to train; see `Cell.network_options`."""
        model = self.model_section
        assert model.network is not None
        given = {**model.options, **self._of_pictures}
        return resolve_options(model.network, model.preset, given)

    def resolved(self) -> dict[str, Any]:
        """Return everything on which the result depends; see `Cell.resolved`."""
        found = {
            "seed": self.config.seed,
            "test": self.test,
            "pictures": self.pictures,
            "task": self.task,
            **self._of_pictures,
            "checkpoint": self.checkpoint,
        }
        return self._with_weights(found)

    def load_given(self) -> LoadedDensity:
        """Load the given checkpoint.

        Raises:
            ModelError: it is missing or damaged, or a density of other pictures.
        """
        path = self.checkpoint_path()
        model = load_density(self.checkpoint or "" if path is None else path)
        network = model.network
        found = {"channels": network.channels, "size": network.size, "bits": network.bits}
        if found != self._of_pictures:
            raise ModelError(
                f"checkpoint {self.checkpoint!r} is of other pictures ({_described(found)}) than "
                f"datasets.{self.dataset} ({_described(self._of_pictures)})"
            )
        return model

    def measure(self, model: LoadedDensity, folder: Path) -> dict[str, Any]:
        """Measure a density, and write samples below ``folder``; see `measure.measure`."""
        pictures = open_small(
            self.test,
            size=self.size,
            channels=self.dataset_section.channels,
            root=data_root(self.root),
            split="test",
        )[: self.pictures]
        bits = model.bits_per_dim(pictures, seed=self.config.seed)
        trip = model.round_trip(pictures[:64])
        return {
            "level_name": f"{self.level} bits",
            "measured_on": "RGB" if model.network.channels == 3 else "gray",
            "network": model.spec.network,
            "options": model.spec.options,
            "device": str(model.device),
            "pictures": [f"{number}" for number in range(len(pictures))],
            "metrics": {"bits_per_dim": [round(value, 5) for value in bits.tolist()]},
            "input": {},
            "samples": [],
            "round_trip": trip if math.isfinite(trip) else None,
            "drawn": self._draw(model, folder),
        }

    def _draw(self, model: LoadedDensity, folder: Path) -> str | None:
        """Write a row of samples; return its path below ``folder``."""
        if not self.config.samples:
            return None
        path = Path("samples") / self.dataset / self.damage / f"{self.model}.png"
        try:
            drawn = model.sample(16, temperature=TEMPERATURE, seed=self.config.seed)
        except ModelError:  # Of a network that has hardly been trained.
            return None
        sheet = grid(drawn, 16).float() / 255
        write_atomically(folder / path, partial(save_image, sheet, format="png"))
        return path.as_posix()


def example_pictures(model: LoadedDensity, pixels: int) -> torch.Tensor:
    """Return random pictures of about so many pixels in all, to measure what scoring costs."""
    shape = model.network.shape
    count = max(1, round(pixels / shape[1] ** 2))
    return torch.randint(0, 256, (count, *shape), generator=generator(0)).to(torch.uint8)


def _described(options: dict[str, Any]) -> str:
    return "{size}×{size}×{channels} of {bits} bits".format(**options)
