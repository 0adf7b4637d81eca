"""The objective of restoring networks: the clean picture."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.utils import save_image

from irae.config import RunConfig, TrainingSection
from irae.errors import TrainingError
from irae.models.call import (
    condition_for,
    from_network_channels,
    network_autocast,
    to_network_channels,
)
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.registry import NETWORKS
from irae.tasks import get_task
from irae.tasks.base import Batch
from irae.tasks.matching import missing_input
from irae.training.batches.batch import BatchMaker
from irae.training.batches.collection import open_collection
from irae.training.distributed import Ranks
from irae.training.objectives.base import Batches, Described, Objective
from irae.training.step import network_inputs
from irae.training.validation import Validation, side_by_side
from irae.writing import write_atomically

_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": torch.abs,
    "l2": torch.square,
    # The logarithm of each sample's mean square (Chen et al. 2022, arXiv 2204.04676): a large hole,
    # whose content is unpredictable, must not dominate the small ones of the same batch.
    "psnr": torch.square,
    # Charbonnier et al. 1994, as in Lai et al. 2017 (epsilon 1e-3).
    "charbonnier": lambda error: torch.sqrt(error * error + 1e-6),
}


class Restoration(Objective):
    """Trains a network to undo the damage of a task."""

    def check(self, config: RunConfig, network: nn.Module) -> None:
        if config.model.network not in NETWORKS:
            raise TrainingError(
                f"model.network {config.model.network!r} restores no pictures; choose one of "
                f"{', '.join(NETWORKS)}"
            )
        missing = missing_input(get_task(config.task), network)
        if missing is not None:
            raise TrainingError(
                f"model.network {config.model.network!r} needs {missing}, which task "
                f"{config.task!r} does not provide; choose another network"
            )
        multiple = int(getattr(network, "size_multiple", 1))
        if config.data.patch % multiple:
            raise TrainingError(
                f"data.patch is {config.data.patch}; this network needs a multiple of {multiple}"
            )

    def example(self, config: RunConfig, network: nn.Module, device: torch.device) -> Any:
        side = config.data.patch
        x = torch.full((1, 3, side, side), 0.5, device=device)
        mask = torch.zeros(1, 1, side, side, dtype=torch.bool, device=device)
        return x, condition_for(network, mask=mask, sigma=0.0, filled=x)

    def open(
        self, config: RunConfig, network: nn.Module, device: torch.device, rows: slice
    ) -> tuple[Described, Batches, Any]:
        collection = open_collection(config.data)
        batches = BatchMaker(config, device, rows, collection)
        return collection, batches, Validation(config, collection)

    def loss(
        self,
        network: nn.Module,
        forward: Callable[..., Tensor],
        batch: Batch,
        section: TrainingSection,
        ranks: Ranks,
    ) -> tuple[Tensor, Tensor]:
        """Return this process's share of the batch's loss and mean squared error (no gradient)."""
        inputs = network_inputs(network, batch)
        middle = additional = None
        with network_autocast(network, batch.clean.device, section.precision):
            with_loss = getattr(network, "forward_with_loss", None)
            if with_loss is not None:
                restored, additional = with_loss(*inputs, to_network_channels(network, batch.clean))
            elif section.middle_weight:
                middle, restored = network.middle_and_end(*inputs)  # type: ignore[operator]
            else:
                restored = forward(*inputs)
        loss, mse = _compare(network, restored, batch, section, ranks)
        if middle is not None:
            early, _ = _compare(network, middle, batch, section, ranks)
            loss = loss + section.middle_weight * (early - loss)
        if additional is not None:
            loss = loss + additional / ranks.count
        return loss, mse

    def load(self, network: nn.Module, spec: ModelSpec) -> LoadedModel:
        return LoadedModel(network, spec, "average")

    def write_samples(self, model: Any, validation: Any, folder: Path, count: int) -> list[str]:
        for index, case in enumerate(validation.samples(count)):
            row = side_by_side(model, case)
            save = partial(save_image, row, format="png")
            write_atomically(folder / f"{index:02d}.png", save)
        return []

    def progress(self, loss: float, error: float) -> tuple[str, dict[str, float]]:
        quality = -10 * math.log10(max(error, 1e-12))
        return f"loss {loss:.4f}, PSNR {quality:.2f} dB", {"loss": loss, "psnr": quality}

    def best(self, score: float) -> str:
        return f"{score:.3f} dB"

    def command(self, folder: str) -> str:
        return f"irae restore FILE --model {folder}"


def _compare(
    network: nn.Module, restored: Tensor, batch: Batch, section: TrainingSection, ranks: Ranks
) -> tuple[Tensor, Tensor]:
    """Return this process's share of a restored batch's loss and mean squared error."""
    restored = from_network_channels(network, restored.float(), batch.clean.shape[1])
    mse = F.mse_loss(restored.detach().clamp(0, 1), batch.clean) / ranks.count
    error = _LOSSES[section.loss](restored - batch.clean)
    weight = torch.ones_like(error[:, :1])
    # Only the masked region counts: known pixels are put back in the end. A small weight on
    # them keeps the network near the identity there, and thus well conditioned.
    if batch.mask is not None:
        weight = torch.where(batch.mask, 1.0, section.known_weight)
    if section.loss == "psnr":
        share = weight.sum((1, 2, 3)) * error.shape[1]
        each = torch.log((error * weight).sum((1, 2, 3)) / share + 1e-5)
        return each.mean() / ranks.count, mse
    total = weight.sum()
    if batch.mask is not None:
        ranks.sum([total])
    else:
        total = total * ranks.count
    return (error * weight).sum() / (total * error.shape[1]), mse
