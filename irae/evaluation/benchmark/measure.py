"""Measuring one cell: its model is loaded and evaluated, and sample pictures are saved."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.utils import save_image

from irae.data.folder import PictureSet
from irae.data.registry import open_data
from irae.errors import ConfigError, ModelError
from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.density_cells import DensityCell
from irae.evaluation.evaluate import evaluate
from irae.evaluation.results import Evaluation, Scores
from irae.imaging.metrics import rgb_to_y
from irae.models.checkpoints.model_file import load_density, load_model
from irae.models.checkpoints.third_party import load_foreign
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.loaded_density import LoadedDensity
from irae.tasks import get_task
from irae.tasks.base import Damaged
from irae.tasks.matching import suits, task_of
from irae.tasks.protocols import get_protocol
from irae.writing import write_atomically

SAMPLES = "samples"


AnyModel = LoadedModel | LoadedDensity


def load_given(cell: Cell) -> AnyModel:
    """Load the given checkpoint of a cell: a model of `load_model`, or another project's weights.

    Raises:
        ModelError: the checkpoint is missing, damaged or for another task.
    """
    if isinstance(cell, DensityCell):
        return cell.load_given()
    name, path = cell.checkpoint, cell.checkpoint_path()
    assert name is not None
    if path is not None and path.is_file() and path.suffix != ".safetensors":
        network, found = load_foreign(path)
        model = LoadedModel(network, ModelSpec(found.network, found.options, found.task), name)
    else:
        if path is None and Path(name).suffix:
            places = cell.config.checkpoints or "the folder that --set checkpoints=DIR would name"
            raise ModelError(f"{name}: no such checkpoint, here or in {places}")
        model = load_model(name if path is None else path)
    if not suits(model, get_task(cell.task)):
        raise ModelError(
            f"checkpoint {name!r} is for {task_of(model).name}, not for {cell.task}; "
            f"limit the tasks of "
            f"models.{cell.model}"
        )
    return model


def load_trained(cell: Cell, path: Path) -> AnyModel:
    """Load the weights that a cell's training has left."""
    return load_density(path) if isinstance(cell, DensityCell) else load_model(path)


def check_channels(cell: Cell, model: AnyModel) -> None:
    """Check that a cell measures a gray network on luma.

    Raises:
        ConfigError: it does not.
    """
    if isinstance(model, LoadedModel) and model.channels == 1 and not cell.task_section.luma:
        raise ConfigError(
            f"models.{cell.model}: is a gray network, and {cell.task_name} is in colour; give it "
            "a task with luma: true"
        )


def measure(cell: Cell, model: AnyModel, folder: Path) -> dict[str, Any]:
    """Evaluate a model in its cell, and write samples below ``folder``.

    Args:
        cell: the cell.
        model: the model, on its device and in its precision.
        folder: folder of the benchmark.

    Returns:
        The part of a result line about the pictures: names, scores, samples.

    Raises:
        IraeError: data or model do not fit, or a picture cannot be read.
    """
    if isinstance(cell, DensityCell):
        assert isinstance(model, LoadedDensity)
        return cell.measure(model, folder)
    assert isinstance(model, LoadedModel)
    check_channels(cell, model)
    luma = cell.task_section.luma
    pictures = open_data(cell.test, root=cell.root, split="test", protocol=cell.config.protocol)
    degradation = cell.degradation()
    evaluation = evaluate(
        model,
        pictures,
        [degradation],
        protocol=cell.config.protocol,
        seed=cell.config.seed,
        max_images=cell.pictures,
        luma=luma,
        progress=True,
    )
    found = evaluation.levels[0].pictures
    return {
        "level_name": degradation.describe() + (", on Y" if luma else ""),
        "measured_on": evaluation.measured_on,
        "network": model.spec.network,
        "options": model.spec.options,
        "device": evaluation.device,
        "pictures": [picture.path.stem for picture in found],
        "metrics": _columns([picture.output for picture in found]),
        "input": _columns([picture.input for picture in found]),
        "samples": _samples(cell, model, pictures, evaluation, folder),
    }


def _columns(scores: list[Scores]) -> dict[str, list[float | str | None]]:
    """Return one list per measure; JSON has no infinity, the PSNR of equal pictures: ``"inf"``."""
    return {
        key: ["inf" if each[key] == float("inf") else each[key] for each in scores]
        for key in scores[0]
    }


def _samples(
    cell: Cell, model: LoadedModel, pictures: PictureSet, evaluation: Evaluation, folder: Path
) -> list[dict[str, str]]:
    rules, seed = get_protocol(cell.config.protocol), cell.config.seed
    written = []
    for index in range(min(cell.config.samples, evaluation.count)):
        clean = rules.clean(pictures.load(index), seed, index)
        if cell.task_section.luma:
            clean = (rgb_to_y(clean) * 255).round() / 255
        damaged = rules.damage(clean, cell.degradation(), seed, index)
        restored = _restore(model, damaged)
        name = pictures.paths[index].stem
        where = Path(SAMPLES) / cell.dataset / cell.damage / f"{index}-{name}"
        files = {
            "clean": (where / "clean.png", clean),
            "degraded": (where / "degraded.png", damaged.pixels),
            "restored": (where / f"{cell.model}.png", restored),
        }
        for path, pixels in files.values():
            write_atomically(folder / path, partial(save_image, pixels, format="png"))
        paths = {kind: path.as_posix() for kind, (path, _) in files.items()}
        written.append({"picture": name, **paths})
    return written


def _restore(model: LoadedModel, damaged: Damaged) -> Tensor:
    mask = None if damaged.mask is None else damaged.mask[None]
    with torch.inference_mode():
        return model.restore(damaged.pixels[None], mask, sigma=damaged.sigma)[0].float().cpu()
