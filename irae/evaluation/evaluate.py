"""Measure one model on one set of pictures, at one or more levels of damage.

Pictures pass through the network whole: evaluation is never tiled.

Two pictures are compared with the target. *Output* is the restored picture, clipped to [0, 1], not
rounded. *Input* is the damaged picture, neither clipped nor rounded, with the protocol's fill value
in its holes (filling them differently is part of restoring). All scores are computed per picture
over the three channels (including the known pixels of an inpainted picture) and then averaged. For
JPEG there are also PSNR and PSNR-B of the luma (clipped, not rounded).

Gray networks, and others on request, are measured on luma, as in the papers of DnCNN and AR-CNN:
the target is the 8-bit Y of the picture (BT.601, full range; a gray picture is its own Y), this
channel alone is damaged, and every score is of this channel. Such papers' LIVE1 scores are on
MATLAB's limited-range luma instead, where the same network scores about 0.8 dB higher; Classic5 is
gray, so it has no such difference. A network with the noise level as an input gets the true one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from irae.data.folder import PictureSet
from irae.errors import ModelError, UsageError
from irae.evaluation.results import (
    Evaluation,
    LevelResult,
    PictureResult,
    Scores,
)
from irae.imaging.metrics import rgb_to_y
from irae.models.loaded import LoadedModel
from irae.runtime import is_out_of_memory
from irae.tasks import get_task
from irae.tasks.base import Damaged, Degradation, Task
from irae.tasks.matching import suits, task_of
from irae.tasks.protocols import Protocol, get_protocol


def evaluate(
    model: LoadedModel,
    pictures: PictureSet,
    degradations: Sequence[Degradation],
    *,
    protocol: str = "standard",
    seed: int = 0,
    max_images: int | None = None,
    luma: bool | None = None,
    progress: bool = False,
) -> Evaluation:
    """Measure a model.

    Args:
        model: the model, on its device and in its precision.
        pictures: the clean pictures.
        degradations: the levels of damage, all of the model's task.
        protocol: ``standard`` or ``authors``.
        seed: seed of noise, holes, masks and the authors' dequantisation.
        max_images: number of pictures to use, the first of the set; None for all.
        luma: measure on luma, see the module docstring; None for gray networks only.
        progress: show a progress bar on stderr if that is a terminal.

    Raises:
        UsageError: a level is of another task or does not fit a picture; there is no level, no
            picture, or too few for one batch of the protocol; pictures of one batch differ in
            size; luma is measured under another protocol than ``standard``.
        DataError: a picture cannot be read. The evaluation stops, since a mean over the others
            would be mistaken for one over the set.
        ModelError: the model returned a non-finite number, or ran out of memory.
    """
    rules = get_protocol(protocol)
    luma = model.channels == 1 if luma is None else luma
    _check(model, degradations, rules, luma)
    task = get_task(degradations[0].task)
    size = rules.batch_size(task)
    wanted, count = _counts(pictures, max_images, size, rules)
    levels = []
    with tqdm(
        total=count * len(degradations), unit="picture", disable=None if progress else True
    ) as bar:
        for degradation in degradations:
            bar.set_description(degradation.describe())
            results: list[PictureResult] = []
            for first in range(0, count, size):
                batch = range(first, first + size)
                results += _evaluate_batch(model, pictures, batch, degradation, rules, seed, luma)
                bar.update(size)
            levels.append(LevelResult(degradation, tuple(results)))
    return Evaluation(
        model=model.name,
        network=model.spec.network,
        parameters=model.parameters,
        task=task.name,
        data=pictures.name,
        count=count,
        dropped=wanted - count,
        protocol=rules.name,
        measured_on="Y" if luma else "RGB",
        seed=seed,
        device=str(model.device),
        precision=model.precision,
        ensemble=model.ensemble,
        levels=tuple(levels),
    )


def _check(
    model: LoadedModel, degradations: Sequence[Degradation], rules: Protocol, luma: bool
) -> None:
    if not degradations:
        raise UsageError("there is nothing to evaluate; give at least one level of damage")
    if luma and rules.name != "standard":
        raise UsageError(
            f"protocol {rules.name} has no luma, on which model {model.name!r} is to be measured;"
            " use protocol standard"
        )
    for degradation in degradations:
        if degradation.task != degradations[0].task:
            raise UsageError(f"levels of {degradation.task} and {degradations[0].task} together")
        if not suits(model, get_task(degradation.task)):
            raise UsageError(
                f"model {model.name!r} is for {task_of(model).name}, not for {degradation.task};"
                " choose a model and levels for the same task"
            )
        rules.check(degradation)


def _counts(
    pictures: PictureSet, max_images: int | None, size: int, rules: Protocol
) -> tuple[int, int]:
    """Return the number of pictures to use, and of those in full batches of ``size``."""
    if max_images is not None and max_images < 1:
        raise UsageError(f"max_images is {max_images}; use at least 1")
    wanted = len(pictures) if max_images is None else min(max_images, len(pictures))
    count = wanted - wanted % size
    if not count:
        raise UsageError(
            f"{pictures.name}: {wanted} pictures leave no full batch of {size}, and protocol"
            f" {rules.name} drops the last; use more pictures or protocol standard"
        )
    return wanted, count


def _evaluate_batch(
    model: LoadedModel,
    pictures: PictureSet,
    batch: range,
    degradation: Degradation,
    rules: Protocol,
    seed: int,
    luma: bool,
) -> Iterator[PictureResult]:
    task = get_task(degradation.task)
    targets: list[Tensor] = []
    inputs: list[Damaged] = []
    for index in batch:
        path = pictures.paths[index]
        target = rules.clean(pictures.load(index), seed, index)
        if luma:
            target = (rgb_to_y(target) * 255).round() / 255
        if targets and target.shape != targets[0].shape:
            raise UsageError(
                f"{path} is {target.shape[-1]}x{target.shape[-2]} and {pictures.paths[batch[0]]} is"
                f" {targets[0].shape[-1]}x{targets[0].shape[-2]}; protocol {rules.name} needs"
                " pictures of one size"
            )
        try:
            inputs.append(rules.damage(target, degradation, seed, index))
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None
        targets.append(target)
    clean = torch.stack(targets)
    damaged = torch.stack([each.pixels for each in inputs])
    masks = [each.mask for each in inputs if each.mask is not None]
    try:
        restored = model.restore(
            damaged, torch.stack(masks) if masks else None, sigma=inputs[0].sigma
        )
    except ModelError as error:
        raise ModelError(f"{pictures.paths[batch[0]]}: {error}") from None
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ModelError(
            f"{pictures.paths[batch[0]]}: {clean.shape[-1]}x{clean.shape[-2]} pixels do not fit the"
            f" memory of {model.device}, and evaluation is never tiled; use `device` cpu"
        ) from None
    # Compared on the CPU, so that the device affects a score only through the network.
    restored = restored.float().cpu().clamp(0, 1)
    before = _scores(damaged, clean, task, rules)
    after = _scores(restored, clean, task, rules)
    for place, index in enumerate(batch):
        mask = inputs[place].mask
        yield PictureResult(
            path=pictures.paths[index],
            height=clean.shape[-2],
            width=clean.shape[-1],
            input=before[place],
            output=after[place],
            mask=inputs[place].mask_path,
            hole_fraction=None if mask is None else mask.double().mean().item(),
            empty_masks=inputs[place].empty_masks,
        )


def _scores(pixels: Tensor, clean: Tensor, task: Task, rules: Protocol) -> list[Scores]:
    """Score each picture of a batch ``B 3 H W``, or ``B 1 H W`` for luma."""
    columns: dict[str, list[float] | list[None]] = {"psnr": rules.psnr(pixels, clean).tolist()}
    fits = min(clean.shape[-2:]) >= rules.ssim_side
    columns["ssim"] = rules.ssim(pixels, clean).tolist() if fits else [None] * len(clean)
    columns |= task.measure(pixels, clean)
    return [{key: column[place] for key, column in columns.items()} for place in range(len(clean))]
