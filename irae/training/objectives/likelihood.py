"""The objective of densities: the likelihood of the pictures, in bits per dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.utils import save_image

from irae.config import RunConfig, TrainingSection
from irae.data.registry import data_root
from irae.data.small import open_small
from irae.errors import DataError, ModelError, TrainingError, UsageError
from irae.models.anomaly import fingerprint, held_out_scores
from irae.models.density import Density
from irae.models.loaded import ModelSpec
from irae.models.loaded_density import LoadedDensity
from irae.runtime import upload
from irae.tasks.base import Batch
from irae.tasks.batch_random import BatchRandom
from irae.training.dead_units import Firing, UnitCounts, either, watch_units
from irae.training.distributed import ALONE, Ranks
from irae.training.objectives.base import Batches, Described, Objective
from irae.writing import write_atomically

# Key of a random stream of a step; `irae.tasks.batch_random` has the keys 0 and 1.
_NOISE, _MUTATED, _REPLACEMENT = 2, 3, 4

TRIPS = 64
"""Number of validation pictures whose round trip is measured."""

TEMPERATURES = (0.5, 0.7, 1.0)
"""Temperatures of the sample pictures, from the top row of pictures to the bottom one."""


@dataclass(frozen=True)
class SmallPictures:
    """The pictures of a run, in memory.

    Attributes:
        train: uint8 ``N C H W``.
        validation: uint8 ``N C H W``.
    """

    train: Tensor
    validation: Tensor

    def notices(self) -> list[str]:
        """Describe the pictures, in one line."""
        channels, height, width = self.train.shape[1:]
        return [
            f"{len(self.train):,} pictures of {width}×{height}×{channels} to learn from, "
            f"{len(self.validation):,} others to validate on"
        ]


class SmallBatches:
    """Batches of whole pictures, dequantised, half of them mirrored if ``data.augment.flip``.

    With ``data.augment.mutate`` that share of the numbers is replaced by random levels, as for the
    background model of a likelihood ratio (Ren et al. 2019, arXiv 1906.02845, section 3).

    Every sample depends on the seed, the step and its index in the batch alone, as in
    `irae.training.batches.batch`.
    """

    def __init__(
        self,
        config: RunConfig,
        network: Density,
        device: torch.device,
        rows: slice,
        pictures: Tensor,
    ) -> None:
        self._config, self._device, self._rows = config, device, rows
        self._network, self._pictures = network, pictures
        # All pictures are read before the first batch; one that cannot be read is an error.
        self.left_out: dict[Path, str] = {}

    def batch(self, step: int, *, whole: bool = False) -> Batch:
        """Make the batch of a step, from 0: this process's rows, or all of it."""
        size = self._config.training.batch_size
        rows = slice(0, size) if whole else self._rows
        random = BatchRandom(self._config.seed, step, size, rows, torch.device("cpu"))
        chosen = self._pictures[random.integer(0, len(self._pictures) - 1)]
        if self._config.data.augment.flip:
            mirrored = random.bernoulli(0.5)
            chosen = torch.where(mirrored[:, None, None, None], chosen.flip(3), chosen)
        channels, side, _ = self._network.shape

        def drawn(key: int) -> Tensor:
            return random.pixels(torch.rand, side, key, channels=channels)

        levels, noise = self._network.quantise(chosen).float(), drawn(_NOISE)
        share = self._config.data.augment.mutate
        if share:
            replacement = (drawn(_REPLACEMENT) * 2**self._network.bits).floor()
            levels = torch.where(drawn(_MUTATED) < share, replacement, levels)
        pixels = upload((levels + noise) / 2**self._network.bits, self._device)
        return Batch(pixels, pixels)

    def prefetched(self, first: int) -> Iterator[Batch]:
        """Yield batches from step ``first`` on; making one takes no time to speak of."""
        step = first
        while True:
            yield self.batch(step)
            step += 1


@dataclass(frozen=True)
class DensityScore(UnitCounts):
    """The score of one validation.

    Attributes:
        bits_per_dim: mean over the validation pictures.
        round_trip: largest error of picture → latents → picture in float32, in 8-bit units.
        firing: hidden units of each layer that were positive on any of the pictures.
        held_out: reference scores for the model's card, see `irae.models.anomaly`.
    """

    bits_per_dim: float
    round_trip: float | None
    firing: Firing = field(default_factory=dict)
    held_out: dict[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> float:
        """Minus the bits per dimension, so that larger is better."""
        return -self.bits_per_dim

    def record(self) -> dict[str, Any]:
        """Return the figures for the log."""
        return {
            "validation_bits_per_dim": self.bits_per_dim,
            "round_trip": self.round_trip,
            "dead_units": self.dead,
        }

    def describe(self) -> str:
        """Describe the score in one phrase."""
        return f"{self.bits_per_dim:.4f} bits/dim; round trip {self.round_trip:.4f}/255"

    def card(self) -> dict[str, Any]:
        """Return what the card of the validated model states."""
        return {
            "validation_bits_per_dim": round(self.bits_per_dim, 4),
            "round_trip": self.round_trip,
            "held_out": self.held_out,
        }


class DensityValidation:
    """A fixed set of pictures; the noise of dequantisation does not depend on the run's seed.

    Args:
        pictures: uint8 ``N C H W``.

    Attributes:
        left_out: empty; a picture that cannot be read is an error.
    """

    def __init__(self, pictures: Tensor) -> None:
        self._pictures = pictures
        self.left_out: list[str] = []

    def fingerprint(self) -> str:
        """Return a hash of all on which a score depends besides the model."""
        return fingerprint(self._pictures)

    def score(self, model: LoadedDensity, ranks: Ranks = ALONE) -> DensityScore:
        """Validate a model; its precision is the same afterwards."""
        precision = model.precision
        # Chunks of the noise's size, so that their division among processes changes no number.
        mine = self._pictures

        def measure() -> tuple[Tensor, Firing, float]:
            bits = model.bits_per_dim(mine)
            with watch_units(model.network) as firing:
                model.bits_per_dim(mine[:TRIPS])
            model.to(model.device, "fp32")
            trip = model.round_trip(mine[:TRIPS])
            model.to(model.device, precision)
            return bits, firing, trip

        bits, firing, trip = ranks.on_main(measure)
        reference = held_out_scores(bits, mine, model.network)
        return DensityScore(float(bits.double().mean()), trip, either([firing]), reference)


class BitsPerDim(Objective):
    """Base of the objectives that minimise the bits per dimension of a network with a likelihood.

    Besides mapping pixels to log-densities, such a network has a method ``to_bits_per_dim``.
    """

    def loss(
        self,
        network: Any,
        forward: Callable[..., Tensor],
        batch: Batch,
        section: TrainingSection,
        ranks: Ranks,
    ) -> tuple[Tensor, Tensor]:
        """Return this process's share of the batch's bits per dimension, twice."""
        loss: Tensor = network.to_bits_per_dim(forward(batch.clean)).mean() / ranks.count
        return loss, loss.detach().clone()

    def progress(self, loss: float, error: float) -> tuple[str, dict[str, float]]:
        return f"{loss:.4f} bits/dim", {"loss": loss, "bits_per_dim": error}

    def best(self, score: float) -> str:
        return f"{-score:.4f} bits/dim"


class Likelihood(BitsPerDim):
    """Trains a density by maximum likelihood."""

    def check(self, config: RunConfig, network: nn.Module) -> None:
        if not isinstance(network, Density):
            raise TrainingError(
                f"model.network {config.model.network!r} restores pictures and has no likelihood; "
                "choose density, glow, realnvp or nice"
            )

    def example(self, config: RunConfig, network: nn.Module, device: torch.device) -> Any:
        assert isinstance(network, Density)
        return torch.full((1, *network.shape), 0.5, device=device), None

    def open(
        self, config: RunConfig, network: nn.Module, device: torch.device, rows: slice
    ) -> tuple[Described, Batches, Any]:
        assert isinstance(network, Density)
        pictures = open_pictures(config, network)
        batches = SmallBatches(config, network, device, rows, pictures.train)
        return pictures, batches, DensityValidation(pictures.validation)

    def load(self, network: nn.Module, spec: ModelSpec) -> LoadedDensity:
        assert isinstance(network, Density)
        return LoadedDensity(network, spec, "average")

    def write_samples(self, model: Any, validation: Any, folder: Path, count: int) -> list[str]:
        if not count:
            return []
        rows, failed = [], []
        for each in TEMPERATURES:
            try:
                rows.append(model.sample(8, temperature=each))
            except ModelError:  # Far from its data, a young density can have no finite inverse.
                rows.append(torch.zeros(8, *model.network.shape, dtype=torch.uint8))
                failed.append(f"warning: samples at temperature {each:g} are not finite")
        grid = torch.cat([torch.cat(list(row), 2) for row in rows], 1) / 255
        write_atomically(folder / "samples.png", partial(save_image, grid, format="png"))
        return failed

    def command(self, folder: str) -> str:
        return f"irae sample {folder}"


def open_pictures(config: RunConfig, network: Density) -> SmallPictures:
    """Read the training and validation pictures of a run.

    Raises:
        UsageError: no pictures are named.
        DataError: a set is missing, damaged or of another size.
    """
    data, root = config.data, data_root(config.data.root)
    if not data.train:
        raise UsageError("no pictures to learn from; give `data` DIR, fashion or mnist")
    channels, size, _ = network.shape

    def read(sources: list[str], split: Any) -> Tensor:
        found = [
            open_small(source, size=size, channels=channels, root=root, split=split)
            for source in sources
        ]
        return torch.cat(found)

    sources = [each.source for each in data.train]
    chosen = data.validation.source
    validation = read(sources if chosen is None else [chosen], "val")
    # A fixed choice over the whole set, whatever its order.
    step = max(1, len(validation) // data.validation.images)
    validation = validation[::step][: data.validation.images]
    train = read(sources, "train")
    if not len(train) or not len(validation):
        raise DataError("no pictures are left to learn from or to validate on; give more")
    return SmallPictures(train, validation)
