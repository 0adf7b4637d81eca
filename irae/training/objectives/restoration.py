"""The objective of restoring networks: the clean picture."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.utils import save_image

from irae.config import RunConfig
from irae.errors import TrainingError
from irae.models.call import condition_for
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel, ModelSpec
from irae.tasks import get_task
from irae.tasks.matching import missing_input
from irae.training.batches.batch import BatchMaker
from irae.training.batches.collection import open_collection
from irae.training.objectives.base import Batches, Described, Objective
from irae.training.validation import Validation, side_by_side
from irae.writing import write_atomically


class Restoration(Objective):
    """Trains a network to undo the damage of a task."""

    def check(self, config: RunConfig, network: nn.Module) -> None:
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

    def load(self, network: nn.Module, spec: ModelSpec) -> LoadedModel:
        return LoadedModel(network, spec, "average")

    def load_start(self, name: str) -> LoadedModel:
        return load_model(name)

    def write_samples(self, model: Any, validation: Any, folder: Path, count: int) -> None:
        for index, case in enumerate(validation.samples(count)):
            row = side_by_side(model, case)
            save = partial(save_image, row, format="png")
            write_atomically(folder / f"{index:02d}.png", save)

    def progress(self, loss: float, error: float) -> tuple[str, dict[str, float]]:
        quality = -10 * math.log10(max(error, 1e-12))
        return f"loss {loss:.4f}, PSNR {quality:.2f} dB", {"loss": loss, "psnr": quality}

    def best(self, score: float) -> str:
        return f"{score:.3f} dB"

    def command(self, folder: str) -> str:
        return f"irae restore FILE --model {folder}"
