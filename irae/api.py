"""The functions of ``import irae``: thin layers over models, training and evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
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
from irae.training.checkpoint import BEST_MODEL, LAST_MODEL, METRICS_FILE, check_new


def list_models() -> list[str]:
    """Return the names of the packaged models, for `load_model` and `Restorer`."""
    return list(model_file.packaged_models())


def create_model(
    network: str = "irae", *, preset: str | None = None, task: str = "", **options: Any
) -> Model:
    """Create an untrained model.

    Its weights are drawn from PyTorch's global generator.

    Args:
        network: ``irae``, or a network to compare with (``dncnn``, ``unet``, …).
        preset: a named set of options; the network's ``default`` if None.
        task: name of the task to train for, or empty.
        options: options of the network, which override the preset's.

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
    """Write a model file (safetensors) for `load_model` and every command.

    Raises:
        UsageError: the suffix is not .safetensors.
        OSError: the disk reports an error.
    """
    if Path(path).suffix != ".safetensors":
        raise UsageError(f"{path}: a model file ends in .safetensors")
    model_file.save_model(Path(path), model.network, model.spec)


class TrainedRun:
    """The result of a training.

    Attributes:
        folder: folder of the run; the commands take it in place of a model's name, and use its
            best weights.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def best(self) -> Any:
        """The model with the best validation score; the last one if there was no validation.

        It is a `Model`, or of objective ``likelihood`` what `irae.load_density` returns; of a
        density of patches it is an `irae.models.loaded_patches.LoadedPatchDensity`, and of a
        detector of damage an `irae.models.loaded_detector.LoadedDetector`.
        """
        best = self.folder / BEST_MODEL
        path = best if best.is_file() else self.folder / LAST_MODEL
        if model_file.is_patch_density(path):
            return model_file.load_patch_density(path)
        if model_file.is_detector(path):
            return model_file.load_detector(path)
        return model_file.load_density(path) if model_file.is_density(path) else load_model(path)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The log entries in order: loss, PSNR and speed of steps, and validations."""
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
            in which ``extends`` is allowed.
        output: folder of the run; by default a folder below ``runs``, named after the time.
        data: folders or data sets to train on; by default those of the config.
        validation: a folder or data set for choosing the best weights.
        start: packaged model, model file or run for a warm start.
        minutes: training time in minutes, in place of the config's steps.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        overrides: overrides such as ``training.steps=100``.

    A signal, such as Ctrl-C, ends the training early; what was trained is saved and returned.

    Raises:
        IraeError: the config, the pictures and the network do not fit together, or the folder
            already holds a run or other files.
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
    check_new(folder)
    if minutes is not None:
        with suppress(time_budget.Stopped):
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
        model: a packaged model, a model file, a run, or a loaded model, which is not changed.
        data: ``celeba``, ``flowers``, ``birds`` (their test part), or a folder of clean pictures.
        pairs: in place of ``data``, a folder of real pairs ``NAME_noisy.*``, ``NAME_clean.*``; the
            only ``damage`` is then ``sigma``, one number for models that need the noise level.
        task: name of the task; by default the model's.
        protocol: ``standard``, or ``authors`` (as published with the paper).
        seed: seed of noise, holes and masks.
        max_images: number of pictures to use, the first of the set; None for all.
        luma: measure on Y, from gray pictures; by default for gray networks only.
        ensemble: average over each picture's eight orientations.
        device: device of the network.
        precision: precision of the network, ``fp32`` or ``bf16``.
        root: root folder of the data sets.
        progress: show a progress bar on stderr if that is a terminal.
        damage: one level or a list of levels by the task's own option (``sigma=[15, 25]``,
            ``quality=10``, ``hole="center:32"``, or ``levels=`` for any task), and its variants
            (``clipped=True``, ``subsampling="4:4:4"``, ``mask=FOLDER``).

    Raises:
        UsageError: the options do not fit together.
        IraeError: as for `irae.evaluation.evaluate.evaluate`.
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
    """Return the levels that the keywords name, by the task's own option or as ``levels``."""
    said = dict(damage)
    levels = said.pop(task.level_option, None)
    levels = said.pop("levels", levels)
    if said.get("mask") is not None:
        said["mask"] = Path(said["mask"])
    if levels is None or isinstance(levels, str):
        return task.levels(levels, **said)
    several = levels if isinstance(levels, Iterable) else [levels]
    return [task.level(level, **said) for level in several]
