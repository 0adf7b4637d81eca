"""Scores of pictures under a density: bits per dimension and anomaly scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from irae.errors import ModelError, UsageError
from irae.models.anomaly import RATIO, anomaly_scores, percentiles, ratio_quantiles
from irae.models.loaded_density import LoadedDensity

Advance = Callable[[int], object]
"""Called with the number of pictures that a model has just computed."""


@dataclass(frozen=True)
class PictureScores:
    """The scores of one picture.

    Attributes:
        file: path of the picture.
        scores: the scores by the names in `irae.models.anomaly.SCORES`, in bits per dimension.
        percentiles: the percentile of each score among held-out training pictures, 0 to 100;
            scores whose reference the model's card lacks are left out.
    """

    file: Path
    scores: dict[str, float]
    percentiles: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {"file": str(self.file), **self.scores, "percentiles": self.percentiles}


def mean_held_out_bits(model: LoadedDensity) -> float:
    """Return the mean bits per dimension of the model's held-out pictures, from its card.

    Raises:
        ModelError: the card does not have it.
    """
    mean = model.spec.card.get("held_out", {}).get("mean_bits_per_dim")
    if not isinstance(mean, (int, float)):
        raise ModelError(
            f"{model.name}: its card lacks the scores of held-out pictures, which training writes "
            "at each validation; use the run's best.safetensors"
        )
    return float(mean)


def check_background(model: LoadedDensity, background: LoadedDensity) -> None:
    """Check that a density can serve as the background model of another one.

    Raises:
        UsageError: the two are of different pictures, or the second one was not trained on mutated
            pictures, by its card.
    """
    ours = (*model.network.shape, model.network.bits)
    theirs = (*background.network.shape, background.network.bits)
    if ours != theirs:
        raise UsageError(
            f"{background.name}: is of {theirs[1]}×{theirs[2]}×{theirs[0]} pictures of "
            f"{theirs[3]} bits, {model.name} of {ours[1]}×{ours[2]}×{ours[0]} of {ours[3]} bits; "
            "a background model must be of the same"
        )
    config = background.spec.card.get("config", {})
    if config and not config.get("data", {}).get("augment", {}).get("mutate"):
        raise UsageError(
            f"{background.name}: is no background model, since it has learnt from unchanged "
            "pictures; train one with data.augment.mutate, as in density/background.yaml"
        )


def all_scores(
    model: LoadedDensity,
    pictures: Tensor,
    background: LoadedDensity | None = None,
    *,
    draws: int = 1,
    seed: int = 0,
    advance: Advance | None = None,
) -> dict[str, Tensor]:
    """Return every anomaly score of uint8 pictures ``N C H W``: float32 ``N`` each.

    Args:
        model: the density.
        pictures: the pictures.
        background: background model for the likelihood ratio.
        draws: draws of the noise of dequantisation that are averaged.
        seed: seed of the noise.
        advance: called with the number of pictures that a model has just computed.

    Raises:
        ModelError: the model's card lacks the scores of held-out pictures.
        UsageError: the background model is of other pictures.
    """
    mean = mean_held_out_bits(model)
    bits = model.bits_per_dim(pictures, draws=draws, seed=seed, advance=advance)
    of_background = None
    if background is not None:
        check_background(model, background)
        of_background = background.bits_per_dim(pictures, draws=draws, seed=seed, advance=advance)
    return anomaly_scores(bits, model.network.quantise(pictures), mean, of_background)


def score_pictures(
    model: LoadedDensity,
    files: list[Path],
    pictures: Tensor,
    background: LoadedDensity | None = None,
    *,
    draws: int = 1,
    seed: int = 0,
    advance: Advance | None = None,
) -> list[PictureScores]:
    """Score pictures, with the percentile of each score; see `all_scores`.

    The ratio has percentiles if the background model was validated on the same pictures.
    """
    found = all_scores(model, pictures, background, draws=draws, seed=seed, advance=advance)
    held_out = model.spec.card.get("held_out", {})
    known = dict(held_out.get("quantiles", {}))
    if background is not None:
        of_ratio = ratio_quantiles(held_out, background.spec.card.get("held_out", {}))
        if of_ratio is not None:
            known[RATIO] = of_ratio
    places = {
        name: percentiles(values, known[name]) for name, values in found.items() if name in known
    }
    return [
        PictureScores(
            file,
            {name: round(float(values[i]), 5) for name, values in found.items()},
            {name: round(float(values[i]), 1) for name, values in places.items()},
        )
        for i, file in enumerate(files)
    ]


@dataclass(frozen=True)
class DensityEvaluation:
    """Bits per dimension of a set of pictures.

    Attributes:
        model: name of the model.
        data: name of the set.
        pictures: number of pictures.
        bits: bits per number to which they were quantised.
        draws: draws of the uniform dequantisation noise that were averaged for each picture.
        bits_per_dim: the mean.
        standard_error: standard error of the mean.
        round_trip: largest error of picture → latents → picture, in 8-bit units.
    """

    model: str
    data: str
    pictures: int
    bits: int
    draws: int
    bits_per_dim: float
    standard_error: float
    round_trip: float

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {**vars(self), "dequantisation": "uniform"}

    def describe(self) -> str:
        """Describe the result, in three lines."""
        plural = "s" if self.draws > 1 else ""
        return (
            f"{self.model} on {self.data}, {self.pictures:,} pictures of {self.bits} bits\n"
            f"{self.bits_per_dim:.4f} ± {self.standard_error:.4f} bits/dim "
            f"(uniform dequantisation, {self.draws} draw{plural})\n"
            f"round trip {self.round_trip:.4f}/255"
        )


def evaluate_density(
    model: LoadedDensity, pictures: Tensor, data: str, *, draws: int = 1, seed: int = 0
) -> DensityEvaluation:
    """Measure the bits per dimension of uint8 pictures ``N C H W``.

    Raises:
        UsageError: there are no pictures, or no draws.
    """
    if not len(pictures):
        raise UsageError(f"{data}: has no pictures to measure; give others")
    if draws < 1:
        raise UsageError(f"`draws` is {draws}; use at least 1")
    bits = model.bits_per_dim(pictures, draws=draws, seed=seed).double()
    error = float(bits.std() / len(bits) ** 0.5) if len(bits) > 1 else 0.0
    trip = model.round_trip(pictures[:250])
    return DensityEvaluation(
        model.name,
        data,
        len(pictures),
        model.network.bits,
        draws,
        float(bits.mean()),
        error,
        trip,
    )
