"""Measuring information loss: how much each stage of a network keeps of the network's input.

There are two measures for every stage. The *reconstruction probe*
(`irae.evaluation.information.probes`) is the PSNR at which the noisy input can be recovered on
held-out pictures: by the exact inverse if the network has one, otherwise by a decoder trained on
the other pictures.

The *mutual information* is estimated between few dimensions on either side. A network is
deterministic and its input continuous, so the true mutual information of input and stage is
infinite for everything that is not discarded entirely, and an estimate depends on the estimator
rather than on the network (Saxe et al., ICLR 2018; Goldfeld et al., ICML 2019). Gaussian noise of a
stated level is therefore added to the stage; only results at one level can be compared. Precisely,
X is a patch of the input, projected on its first principal components and whitened; T is the whole
stage at that patch, projected on its own first principal components and whitened, plus N(0, noise²)
in each. The estimate is of I(X; T), which is at most d/2 ln(1 + 1/noise²) with d components and,
since projections are functions, at most that of the whole patch and the whole stage.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from irae.data.folder import PictureSet
from irae.errors import ModelError, UsageError
from irae.evaluation.information.activations import activations_of, patches
from irae.evaluation.information.mutual_information import (
    correlated_gaussians,
    gaussian_information,
    ksg,
    mine,
)
from irae.evaluation.information.probes import probe_psnr, recovery_psnr, train_decoder
from irae.evaluation.information.results import (
    CROPS,
    Information,
    ModelResult,
    Settings,
    StageResult,
)
from irae.imaging.degrade import add_noise
from irae.models.call import condition_for
from irae.models.loaded import LoadedModel
from irae.runtime import generator

EXACT, TRAINED = "exact inverse", "trained decoder"

_CROP = 96
_BATCH = 8
_PATCH = 16
_MOST_SAMPLES = 4096
_FEWEST_SAMPLES = 200
# Rising dimensions show where an estimator starts to fail.
_VALIDATED = tuple((dimension, rho) for dimension in (1, 2, 3) for rho in (0.0, 0.5, 0.9))


@dataclass(frozen=True)
class _Crops:
    """Degraded crops ``N 3 S S`` of many pictures; the last ``held`` are of held-out pictures."""

    noisy: Tensor
    held: int


@dataclass(frozen=True)
class _Kept:
    """A stage for all crops; ``recovered`` has the held-out inputs if the stage is invertible."""

    name: str
    parts: tuple[Tensor, ...]
    recovered: Tensor | None


def measure(
    models: Sequence[LoadedModel],
    pictures: PictureSet,
    settings: Settings,
    *,
    max_pictures: int | None = None,
    progress: bool = False,
) -> Information:
    """Measure how much the stages of models keep of their input.

    Every fourth picture is held out: probes are trained on the others and scored on it. The mutual
    information is estimated on all pictures. All models get the same noisy crops without holes (a
    gray network their green channel), whatever the model was trained for.

    Args:
        models: the models, all on the device to measure on.
        pictures: the clean pictures.
        settings: the settings of the measurement.
        max_pictures: number of pictures to use, the first of the set; None for all.
        progress: show a progress bar on stderr if that is a terminal.

    Raises:
        UsageError: a setting is out of range, there is no model, or pictures are too few or too
            small.
        DataError: a picture cannot be read.
        ModelError: a model has no stages, or its stages are not finite.
    """
    settings.check()
    if not models:
        raise UsageError("there is nothing to measure; give at least one model")
    side = math.lcm(_PATCH, *(model.size_multiple for model in models))
    crops = _cut(pictures, side, max_pictures, settings)
    size = crops.noisy.shape[-1]
    count = len(crops.noisy) * (size // side) ** 2
    if count < _FEWEST_SAMPLES:
        raise UsageError(
            f"{pictures.name}: {count} patches of {side}x{side} are too few to estimate mutual"
            f" information (at least {_FEWEST_SAMPLES}); use more pictures"
        )
    chosen = torch.randperm(count, generator=generator(settings.seed, 1))[:_MOST_SAMPLES]
    found = [_measure_model(m, crops, side, chosen, settings, progress) for m in models]
    return Information(
        settings=settings,
        data=pictures.name,
        trained_on=(len(crops.noisy) - crops.held) // CROPS,
        held_out=crops.held // CROPS,
        crop=size,
        patch=side,
        samples=len(chosen),
        device=str(models[0].device),
        validation=tuple(validate(len(chosen), settings.seed)),
        models=tuple(found),
    )


def validate(samples: int, seed: int) -> list[dict[str, float]]:
    """Run both estimators on Gaussians whose mutual information is known in closed form.

    Args:
        samples: number of samples, as for the stages.
        seed: seed of the samples and of MINE.

    Returns:
        For each dimension and correlation: dimension, rho, true, ksg and mine, the last three in
        nats.
    """
    rows = []
    for index, (dimension, rho) in enumerate(_VALIDATED):
        x, y = correlated_gaussians(samples, dimension, rho, generator(seed, 2, index))
        rows.append(
            {
                "dimension": dimension,
                "rho": rho,
                "true": gaussian_information(dimension, rho),
                "ksg": ksg(x, y),
                "mine": mine(x, y, seed=seed),
            }
        )
    return rows


def _cut(
    pictures: PictureSet, multiple: int, max_pictures: int | None, settings: Settings
) -> _Crops:
    """Cut random crops of every picture, with noise; sides are a multiple of ``multiple``."""
    count = len(pictures) if max_pictures is None else min(max_pictures, len(pictures))
    if count < 2:
        raise UsageError(
            f"{pictures.name}: {count} pictures are too few, one is held out; use at least 2"
        )
    size = max(_CROP // multiple, 1) * multiple
    cut: dict[bool, list[Tensor]] = {False: [], True: []}
    clean = [pictures.load(index) for index in range(count)]
    shortest = min(min(picture.shape[1:]) for picture in clean)
    size = min(size, shortest // multiple * multiple)
    if size == 0:
        index = next(i for i, picture in enumerate(clean) if min(picture.shape[1:]) == shortest)
        raise UsageError(
            f"{pictures.paths[index]}: {shortest} pixels are too few for the patches of"
            f" {multiple}x{multiple} that these models need; use larger pictures"
        )
    for index, picture in enumerate(clean):
        random = generator(settings.seed, 0, index)
        for _ in range(CROPS):
            top, left = (
                int(torch.randint(length - size + 1, (), generator=random))
                for length in picture.shape[1:]
            )
            square = picture[:, top : top + size, left : left + size].float() / 255
            cut[index % 4 == 0].append(add_noise(square, settings.sigma, random))
    return _Crops(torch.stack(cut[False] + cut[True]), len(cut[True]))


def _measure_model(
    model: LoadedModel,
    crops: _Crops,
    side: int,
    chosen: Tensor,
    settings: Settings,
    progress: bool,
) -> ModelResult:
    start = time.perf_counter()
    given = crops.noisy[:, 1:2] if model.channels == 1 else crops.noisy
    given = given.to(model.device)
    x = _project((given,), given.shape[2], side, chosen, settings)
    identity = _information(x, x, settings)
    results = []
    stages = _run(model, given, crops.held, settings)
    with tqdm(total=len(stages), unit="stage", disable=None if progress else True) as bar:
        # The stages take most of the memory, so each is released as soon as it is measured.
        while stages:
            stage = stages.pop(0)
            bar.set_description(f"{model.name}, {stage.name}")
            t = _project(stage.parts, given.shape[2], side, chosen, settings)
            results.append(
                StageResult(
                    stage=stage.name,
                    probe_psnr=_probe(stage, given, crops.held, settings),
                    probe=TRAINED if stage.recovered is None else EXACT,
                    values=sum(part[0].numel() for part in stage.parts) / given[0].numel(),
                    **_information(x, t, settings),
                )
            )
            bar.update()
    return ModelResult(
        model=model.name,
        network=model.spec.network,
        identity=identity,
        stages=tuple(results),
        seconds=time.perf_counter() - start,
    )


def _run(model: LoadedModel, given: Tensor, held: int, settings: Settings) -> list[_Kept]:
    """Compute all stages for all crops, a few crops at a time."""
    names: dict[str, list[tuple[Tensor, ...]]] = {}
    recovered: dict[str, list[Tensor]] = {}
    first_held = len(given) - held
    seen = [(rows, False) for rows in torch.split(given[:first_held], _BATCH)]
    for rows, is_held in [*seen, *((r, True) for r in torch.split(given[first_held:], _BATCH))]:
        mask = torch.zeros_like(rows[:, :1])
        condition = condition_for(model.network, mask=mask, sigma=settings.sigma, filled=rows)
        condition = None if condition is None else condition.to(rows.device)
        if condition is not None:
            condition = condition.expand(len(rows), *condition.shape[1:])
        for stage in activations_of(model.network, rows, condition):
            names.setdefault(stage.name, []).append(stage.parts)
            if stage.recover is not None and is_held:
                with torch.no_grad():
                    recovered.setdefault(stage.name, []).append(stage.recover())
    kept = []
    joined: dict[tuple[int, ...], Tensor] = {}
    for name, batches in names.items():
        # A skip is part of many stages, but is concatenated and held only once.
        parts = tuple(
            joined.setdefault(tuple(map(id, part)), torch.cat(part))
            for part in zip(*batches, strict=True)
        )
        if not all(torch.isfinite(part).all() for part in parts):
            raise ModelError(f"model {model.name!r}: stage {name!r} is not finite; train it again")
        back = torch.cat(recovered[name]) if name in recovered else None
        kept.append(_Kept(name, parts, back))
    return kept


def _probe(stage: _Kept, given: Tensor, held: int, settings: Settings) -> float:
    truth = given[-held:]
    if stage.recovered is not None:
        return recovery_psnr(stage.recovered, truth)
    seen = [part[:-held] for part in stage.parts]
    decoder = train_decoder(seen, given[:-held], steps=settings.budget, seed=settings.seed)
    return probe_psnr(decoder, [part[-held:] for part in stage.parts], truth)


def _project(
    parts: Sequence[Tensor], height: int, side: int, chosen: Tensor, settings: Settings
) -> Tensor:
    """Compute the whitened first principal components ``n d`` of the parts at each patch."""
    rows = torch.cat([patches(part, height, side)[chosen.to(part.device)] for part in parts], 1)
    wanted = min(settings.dimension, rows.shape[1])
    with torch.random.fork_rng(devices=[rows.device] if rows.is_cuda else []):
        torch.manual_seed(settings.seed)
        # A few additional directions make the randomised method exact to several digits.
        u, s, _ = torch.pca_lowrank(rows, min(wanted + 6, *rows.shape), niter=4)
    components = (u * s)[:, :wanted].double().cpu()
    components = components - components.mean(0)
    deviation = components.std(0)
    # If a stage has fewer directions than requested, its rounding errors are not amplified.
    least = (deviation.max() * 1e-5).clamp_min(torch.finfo(torch.float64).tiny)
    return (components / deviation.clamp_min(least)).float()


def _information(x: Tensor, t: Tensor, settings: Settings) -> dict[str, float]:
    """Estimate the mutual information in nats of ``x`` and the noisy ``t``, by both estimators."""
    random = generator(settings.seed, 3)
    noisy = t + settings.noise * torch.randn(t.shape, generator=random)
    return {"ksg": ksg(x, noisy), "mine": mine(x, noisy, seed=settings.seed)}
