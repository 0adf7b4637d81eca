"""The objective of densities of patches: the likelihood of blocks, given the pixels around."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from irae.config import RunConfig
from irae.errors import DataError, TrainingError
from irae.models.loaded import ModelSpec
from irae.models.loaded_patches import LoadedPatchDensity
from irae.models.networks.densities.patches import PatchDensity
from irae.tasks.base import Batch
from irae.tasks.batch_random import BatchRandom
from irae.training.batches.batch import BatchMaker, undamaged
from irae.training.batches.collection import Collection, open_collection
from irae.training.dead_units import either, watch_units
from irae.training.distributed import ALONE, Ranks
from irae.training.objectives.base import Batches, Described
from irae.training.objectives.likelihood import BitsPerDim, DensityScore

_NOISE = 3  # Key of a random stream of a step; `irae.training.batches.batch` has 0 to 2.


class _Batches:
    """Patches of photographs in 8 bits, dequantised by uniform noise."""

    def __init__(
        self,
        config: RunConfig,
        network: PatchDensity,
        device: torch.device,
        rows: slice,
        collection: Collection,
    ) -> None:
        self._config, self._network, self._device, self._rows = config, network, device, rows
        self._patches = BatchMaker(
            config, device, rows, collection, lambda **_: undamaged, on_device=True
        )
        self.left_out = self._patches.left_out

    def _dequantised(self, batch: Batch, step: int, rows: slice) -> Batch:
        size = self._config.training.batch_size
        random = BatchRandom(self._config.seed, step, size, rows, self._device)
        noise = random.pixels(torch.rand, self._config.data.patch, _NOISE)
        # Patches that were scaled or recoloured are rounded to 8 bits, as files are.
        levels = (batch.clean * 255).round() / 255
        return replace(batch, clean=self._network.dequantise(levels, noise))

    def batch(self, step: int, *, whole: bool = False) -> Batch:
        rows = slice(0, self._config.training.batch_size) if whole else self._rows
        return self._dequantised(self._patches.batch(step, whole=whole), step, rows)

    def prefetched(self, first: int) -> Iterator[Batch]:
        for step, batch in enumerate(self._patches.prefetched(first), start=first):
            yield self._dequantised(batch, step, self._rows)


class _Validation:
    """The middles of the validation pictures; the noise does not depend on the run's seed.

    Raises:
        DataError: no picture can be read.
    """

    def __init__(self, config: RunConfig, network: PatchDensity, collection: Collection) -> None:
        side = config.data.validation.crop
        self._pictures: list[Tensor] = []
        self.left_out: list[str] = []
        for pictures, number in collection.validation:
            try:
                whole = pictures.load(number)
            except DataError as error:
                self.left_out.append(str(error))
                continue
            if min(whole.shape[1:]) < network.side:
                self.left_out.append(f"{pictures.paths[number]}: is too small to validate on")
                continue
            top, left = (max(0, (length - side) // 2) for length in whole.shape[1:])
            self._pictures.append(whole[:, top : top + side, left : left + side].contiguous())
        if not self._pictures:
            raise DataError(self.left_out[0] if self.left_out else "no picture to validate on")

    def fingerprint(self) -> str:
        """Return a hash of all on which a score depends besides the model."""
        found = hashlib.sha256()
        for picture in self._pictures:
            found.update(f"{tuple(picture.shape)}".encode() + picture.numpy().tobytes())
        return found.hexdigest()[:16]

    def score(self, model: LoadedPatchDensity, ranks: Ranks = ALONE) -> DensityScore:
        """Validate a model; its precision is the same afterwards."""
        precision = model.precision

        def measure() -> DensityScore:
            with watch_units(model.network) as firing:
                bits = [
                    model.bits_per_dim(picture, seed=number)
                    for number, picture in enumerate(self._pictures)
                ]
            model.to(model.device, "fp32")
            trip = max(model.round_trip(picture) for picture in self._pictures[:4])
            model.to(model.device, precision)
            return DensityScore(float(torch.cat(bits).double().mean()), trip, either([firing]))

        return ranks.on_main(measure)


class PatchLikelihood(BitsPerDim):
    """Trains a density of blocks by their mean log-density (a pseudo-likelihood)."""

    def check(self, config: RunConfig, network: nn.Module) -> None:
        assert isinstance(network, PatchDensity)
        if config.data.patch < network.side:
            raise TrainingError(
                f"data.patch is {config.data.patch}; a block with its ring needs {network.side}"
            )

    def open(
        self, config: RunConfig, network: nn.Module, device: torch.device, rows: slice
    ) -> tuple[Described, Batches, Any]:
        assert isinstance(network, PatchDensity)
        collection = open_collection(config.data)
        batches = _Batches(config, network, device, rows, collection)
        return collection, batches, _Validation(config, network, collection)

    def load(self, network: nn.Module, spec: ModelSpec) -> LoadedPatchDensity:
        assert isinstance(network, PatchDensity)
        return LoadedPatchDensity(network, spec, "average")

    def write_samples(self, model: Any, validation: Any, folder: Path, count: int) -> list[str]:
        """Write nothing: a block is drawn given its surroundings, which is nothing to look at."""
        return []

    def command(self, folder: str) -> str:
        return f"irae inspect FILE --improbable MAP.png --improbable-model {folder}"
