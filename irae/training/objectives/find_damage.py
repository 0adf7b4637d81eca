"""The objective of detectors: where damage was pasted onto a picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.utils import save_image

from irae.config import RunConfig, TrainingSection
from irae.data.registry import data_root
from irae.errors import DataError, TrainingError
from irae.imaging.film_damage import paste_damage
from irae.imaging.metrics import auroc, average_precision
from irae.models.call import network_autocast
from irae.models.loaded import ModelSpec
from irae.models.loaded_detector import LoadedDetector
from irae.models.networks.damage_detector import DamageDetector
from irae.runtime import generator
from irae.tasks.base import Batch
from irae.tasks.protocols import get_protocol
from irae.tasks.schema import PastedDamageSection
from irae.training.batches.batch import BatchMaker
from irae.training.batches.collection import Collection, open_collection
from irae.training.batches.pasted_damage import PastedDamage, overlays_of
from irae.training.dead_units import Firing, UnitCounts, either, watch_units
from irae.training.distributed import ALONE, Ranks
from irae.training.objectives.base import Batches, Described, Objective
from irae.training.validation import centre
from irae.writing import write_atomically

_KEY = 0xDA3A  # of the random stream of the validation's damage


@dataclass(frozen=True)
class DetectionScore(UnitCounts):
    """The score of one validation, over the pixels of all its pictures together.

    Attributes:
        precision: average precision.
        area: area under the receiver operating characteristic.
        firing: hidden units of each layer that were positive on any of the pictures.
        round_trip: None, as nothing is restored.
    """

    precision: float
    area: float
    firing: Firing = field(default_factory=dict)
    round_trip: float | None = None

    @property
    def mean(self) -> float:
        """The average precision, by which checkpoints are ranked."""
        return self.precision

    def record(self) -> dict[str, Any]:
        """Return the figures for the log."""
        return {
            "validation_average_precision": self.precision,
            "validation_roc_area": self.area,
            "dead_units": self.dead,
        }

    def describe(self) -> str:
        """Describe the score in one phrase."""
        return f"average precision {self.precision:.4f}, area under ROC {self.area:.4f}"

    def card(self) -> dict[str, Any]:
        """Return what the card of the validated model states."""
        return {
            "validation_average_precision": round(self.precision, 4),
            "validation_roc_area": round(self.area, 4),
        }


class DetectionValidation:
    """A fixed set of pictures with pasted damage; it does not depend on the run's seed.

    With overlays, those that are kept apart from training are pasted. Every picture is cut to a
    multiple of the network's sizes.

    Attributes:
        left_out: a line for each picture that cannot be read.

    Raises:
        DataError: no picture can be read, or there are no overlays.
    """

    def __init__(self, config: RunConfig, multiple: int, collection: Collection) -> None:
        self._config = config
        self._cases: list[tuple[Tensor, Tensor]] = []
        self.left_out: list[str] = []
        assert isinstance(config.degradation, PastedDamageSection)
        overlays = overlays_of(config.degradation, data_root(config.data.root), apart=True)
        rules = get_protocol(config.data.protocol)
        for index, (pictures, number) in enumerate(collection.validation):
            try:
                whole = rules.clean(pictures.load(number), 0, index)
            except DataError as error:
                self.left_out.append(str(error))
                continue
            clean = centre(whole, config.data.validation.crop)
            height, width = (side - side % multiple for side in clean.shape[1:])
            if height and width:
                clean = clean[:, :height, :width]
                self._cases.append(paste_damage(clean, generator(_KEY, index), overlays))
        if not self._cases:
            raise DataError([*self.left_out, f"the pictures are smaller than {multiple} pixels"][0])

    def fingerprint(self) -> str:
        """Return a hash of all on which a score depends besides the model."""
        found = hashlib.sha256()
        section = self._config.data.validation
        said = section.model_dump(mode="json", exclude={*section.folders, "max_round_trip"})
        found.update(json.dumps(said).encode())
        for picture, mask in self._cases:
            found.update((picture * 255).round().to(torch.uint8).numpy().tobytes())
            found.update(mask.numpy().tobytes())
        return found.hexdigest()[:16]

    def samples(self, count: int) -> list[tuple[Tensor, Tensor]]:
        """Return the first pictures ``3 H W`` with their masks ``1 H W``."""
        return self._cases[:count]

    def score(self, model: LoadedDetector, ranks: Ranks = ALONE) -> DetectionScore:
        """Validate a model; the pictures are divided among the processes."""
        mine = range(ranks.rank, len(self._cases), ranks.count)

        def measure() -> tuple[dict[int, Tensor], Firing]:
            with watch_units(model.network) as firing:
                found = {i: model.probabilities(self._cases[i][0][None]).cpu() for i in mine}
            return found, firing

        parts = ranks.gather(ranks.together(measure))
        found = {i: each for part, _ in parts for i, each in part.items()}
        scores = torch.cat([found[i].flatten() for i in range(len(self._cases))])
        truth = torch.cat([mask.flatten() for _, mask in self._cases])
        if not truth.any():
            raise DataError("no damage is visible in the validation pictures; give other ones")
        return DetectionScore(
            average_precision(scores, truth),
            auroc(scores[~truth], scores[truth]),
            either([firing for _, firing in parts]),
        )


class FindDamage(Objective):
    """Trains a network to find the pixels of pasted damage."""

    def check(self, config: RunConfig, network: nn.Module) -> None:
        if not isinstance(network, DamageDetector):
            raise TrainingError(
                f"model.network {config.model.network!r} finds no damage; choose damage-detector"
            )
        if config.data.patch % network.size_multiple:
            raise TrainingError(
                f"data.patch is {config.data.patch}; this network needs a multiple of "
                f"{network.size_multiple}"
            )

    def open(
        self, config: RunConfig, network: nn.Module, device: torch.device, rows: slice
    ) -> tuple[Described, Batches, Any]:
        assert isinstance(network, DamageDetector)
        assert isinstance(config.degradation, PastedDamageSection)
        collection = open_collection(config.data)
        root = data_root(config.data.root)
        make = partial(PastedDamage, config.degradation, seed=config.seed, root=root)
        batches = BatchMaker(config, device, rows, collection, make, on_device=False)
        return collection, batches, DetectionValidation(config, network.size_multiple, collection)

    def loss(
        self,
        network: nn.Module,
        forward: Callable[..., Tensor],
        batch: Batch,
        section: TrainingSection,
        ranks: Ranks,
    ) -> tuple[Tensor, Tensor]:
        """Return this process's share of the cross-entropy of all pixels in nats, twice."""
        assert batch.damaged is not None
        with network_autocast(network, batch.degraded.device, section.precision):
            logits = forward(batch.degraded, None)
        truth = batch.damaged.float()
        loss = F.binary_cross_entropy_with_logits(logits.float(), truth) / ranks.count
        return loss, loss.detach().clone()

    def load(self, network: nn.Module, spec: ModelSpec) -> LoadedDetector:
        assert isinstance(network, DamageDetector)
        return LoadedDetector(network, spec, "average")

    def write_samples(self, model: Any, validation: Any, folder: Path, count: int) -> list[str]:
        for index, (picture, mask) in enumerate(validation.samples(count)):
            found = model.probabilities(picture[None])[0].cpu()
            parts = [picture, *(each.float().expand(3, -1, -1) for each in (found, mask))]
            save = partial(save_image, torch.cat(parts, 2), format="png")
            write_atomically(folder / f"{index:02d}.png", save)
        return []

    def progress(self, loss: float, error: float) -> tuple[str, dict[str, float]]:
        del error
        return f"cross-entropy {loss:.4f}", {"loss": loss}

    def best(self, score: float) -> str:
        return f"average precision {score:.4f}"

    def command(self, folder: str) -> str:
        return f"irae mask FILE --detector {folder}"
