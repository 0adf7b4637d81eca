"""What ``import irae`` offers besides `Restorer`: each a few lines over the rooms it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from irae.data.registry import open_data
from irae.errors import UsageError
from irae.evaluation.evaluate import evaluate as _evaluate
from irae.evaluation.results import Evaluation
from irae.models.checkpoints import model_file
from irae.models.create import untrained, usual_preset
from irae.models.loaded import LoadedModel
from irae.models.networks.registry import NETWORKS
from irae.restoring.model import Model, load_model
from irae.runtime import select_device, use_device
from irae.tasks import get_task
from irae.tasks.base import Degradation, Task
from irae.tasks.matching import task_of
from irae.tasks.pairs import open_pairs
from irae.tasks.protocols import get_protocol
from irae.training import loop, prepare, run, time_budget
from irae.training.checkpoint import BEST_MODEL, LAST_MODEL, METRICS_FILE


def list_models() -> list[str]:
    """Names of the models that come with the package, for `load_model` and `Restorer`."""
    return list(model_file.packaged_models())


def create_model(
    network: str = "irae", *, preset: str | None = None, task: str = "", **options: Any
) -> Model:
    """An untrained model, of the same kind as a loaded one.

    Its weights are drawn from PyTorch's global generator.

    Args:
        network: ``irae``, or a network to compare with (``dncnn``, ``unet``, …).
        preset: a named set of options; the network's ``default`` if None.
        task: what it is to be trained for; it may stay open.
        options: of the network, over the preset's.

    Raises:
        ModelError: there is no such network, preset or option.
        UsageError: there is no such task.
    """
    if task:
        get_task(task)
    if preset is None and network in NETWORKS:
        preset = usual_preset(network)
    return Model.of(untrained(network, preset, options, task))


def save_model(path: str | Path, model: LoadedModel) -> None:
    """Write a model file (safetensors) that `load_model` and every command take.

    Raises:
        UsageError: another suffix than .safetensors.
        OSError: as the disk reports it.
    """
    if Path(path).suffix != ".safetensors":
        raise UsageError(f"{path}: a model file ends in .safetensors")
    model_file.save_model(Path(path), model.network, model.spec)


class TrainedRun:
    """What a training left behind.

    Attributes:
        folder: of the run; ``irae restore FILE --model FOLDER`` uses its best weights.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def best(self) -> Model:
        """The model of the best validation; the last one where there was none."""
        best = self.folder / BEST_MODEL
        return load_model(best if best.is_file() else self.folder / LAST_MODEL)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What was logged, in order: loss, PSNR and speed of steps, and validations."""
        lines = (self.folder / METRICS_FILE).read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


def train(
    config: str | Path | dict[str, Any],
    output: str | Path | None = None,
    *,
    data: str | Path | Iterable[str | Path] = (),
    validation: str | Path | None = None,
    start: str | Path | None = None,
    minutes: float | None = None,
    device: str = "auto",
    overrides: Sequence[str] = (),
) -> TrainedRun:
    """Train a model, as ``irae train`` does.

    Args:
        config: a path, the name of a shipped config (``denoise.yaml``), or its content as a dict,
            which may say ``extends``.
        output: folder of the run; by default one below ``runs``, named after the time.
        data: folders or data sets to train on; by default those of the config.
        validation: a folder or data set to choose the best weights by.
        start: a packaged name, model file or run whose weights training starts from.
        minutes: train for this long, in place of the config's steps.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        overrides: such as ``training.steps=100``.

    Raises:
        IraeError: the config, the pictures and the network do not fit together, or the folder
            holds a run already.
    """
    from irae.config import load_config

    chosen = select_device(device)
    use_device(chosen)
    sources = [data] if isinstance(data, (str, Path)) else list(data)
    said = config.get("model", {}) if isinstance(config, dict) else {}
    ready = prepare.prepare(
        load_config(config, list(overrides)),
        [str(source) for source in sources],
        None if validation is None else str(validation),
        None if start is None else str(start),
        own_network=bool(said) or any(each.startswith("model.") for each in overrides),
    )
    folder = prepare.new_folder(config) if output is None else Path(output)
    run.check_new(folder)
    if minutes is not None:
        time_budget.train_minutes(ready, folder, chosen, minutes)
    else:
        loop.train(run.begin(ready, folder, chosen))
    return TrainedRun(folder)


def evaluate(
    model: str | Path | LoadedModel,
    data: str | Path | None = None,
    *,
    pairs: str | Path | None = None,
    task: str | None = None,
    protocol: str = "standard",
    seed: int = 0,
    max_images: int | None = None,
    luma: bool | None = None,
    ensemble: bool = False,
    device: str = "auto",
    precision: str = "fp32",
    root: str | Path | None = None,
    progress: bool = False,
    **damage: Any,
) -> Evaluation:
    """Measure a model on a folder or a data set, as ``irae eval`` does.

    Args:
        model: a name, a file, a run, or a model that is loaded already and stays as it is.
        data: ``celeba``, ``flowers``, ``birds`` (their test part), or a folder of clean pictures.
        pairs: in place of ``data``, a folder of real pairs ``NAME_noisy.*``, ``NAME_clean.*``; of
            ``damage`` only ``sigma`` is left then, one number for models that must be told.
        task: what is to be undone; by default what the model is for.
        protocol: ``standard``, or ``authors`` (as published with the paper).
        seed: of noise, holes and masks.
        max_images: only the first so many pictures.
        luma: measure on Y, from gray pictures; by default for gray networks only.
        ensemble: restore each picture in its eight orientations and take the mean.
        device: where to.
        precision: ``fp32`` or ``bf16``.
        root: folder the data sets lie in.
        progress: show a bar on stderr, where that is a terminal.
        damage: the levels by the task's own word, one or a list (``sigma=[15, 25]``,
            ``quality=10``, ``hole="center:32"``, or ``levels=`` for any task), and its variants
            (``clipped=True``, ``subsampling="4:4:4"``, ``mask=FOLDER``).

    Raises:
        UsageError: the options do not fit together.
        IraeError: as `irae.evaluation.evaluate.evaluate` says.
    """
    loaded = model.copy() if isinstance(model, LoadedModel) else load_model(model)
    chosen = task_of(loaded) if task is None else get_task(task)
    if (data is None) == (pairs is None):
        raise UsageError("give clean pictures as `data`, or real pairs as `pairs`")
    if pairs is not None:
        if set(damage) - {"sigma"}:
            raise UsageError("real pairs take no damage but `sigma`, which a model is told")
        pictures, real = open_pairs(Path(pairs), chosen.name, damage.get("sigma"))
        degradations: list[Degradation] = [real]
    else:
        degradations = _levels(chosen, damage)
        name = get_protocol(protocol).name
        pictures = open_data(str(data), root=root, split="test", protocol=name)
    loaded.to(select_device(device), precision)
    loaded.ensemble = ensemble
    return _evaluate(
        loaded,
        pictures,
        degradations,
        protocol=protocol,
        seed=seed,
        max_images=max_images,
        luma=luma,
        progress=progress,
    )


def _levels(task: Task, damage: dict[str, Any]) -> list[Degradation]:
    """The levels that keywords ask for, by the task's own word or as ``levels``."""
    said = dict(damage)
    levels = said.pop(task.level_option, None)
    levels = said.pop("levels", levels)
    if said.get("mask") is not None:
        said["mask"] = Path(said["mask"])
    if levels is None or isinstance(levels, str):
        return task.levels(levels, **said)
    several = levels if isinstance(levels, Iterable) else [levels]
    return [task.level(level, **said) for level in several]
