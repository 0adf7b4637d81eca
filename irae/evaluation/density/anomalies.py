"""How well scores tell other pictures from a density's own: AUROC, beside trivial baselines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from irae.errors import UsageError
from irae.evaluation.density.scores import all_scores
from irae.imaging.metrics import auroc
from irae.models.anomaly import TRIVIAL, trivial_scores
from irae.models.loaded_density import LoadedDensity
from irae.runtime import generator

RESAMPLES = 500
LEVEL = 0.95
"""Number of bootstrap resamples, and level of their intervals."""


def bootstrap_interval(
    inside: Tensor, outside: Tensor, random: torch.Generator
) -> tuple[float, float]:
    """Return the percentile interval of the AUROC, both sets resampled (Efron 1979)."""

    def resampled(values: Tensor) -> Tensor:
        return values[torch.randint(len(values), (len(values),), generator=random)]

    areas = [auroc(resampled(inside), resampled(outside)) for _ in range(RESAMPLES)]
    edges = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2], dtype=torch.float64)
    low, high = torch.quantile(torch.tensor(areas, dtype=torch.float64), edges).tolist()
    return low, high


@dataclass(frozen=True)
class Detection:
    """How well one score tells the outside pictures.

    Attributes:
        name: name of the score.
        trivial: whether it needs no model.
        auroc: area under the ROC curve; 0.5 is chance, below it the outside scores are smaller.
        interval: its bootstrap interval.
        ahead: of a model's score, whether its interval lies above that of the best trivial
            baseline; only then does the model add anything.
    """

    name: str
    trivial: bool
    auroc: float
    interval: tuple[float, float]
    ahead: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {**vars(self), "interval": list(self.interval)}


@dataclass(frozen=True)
class AnomalyReport:
    """The scores of one model on two sets.

    Attributes:
        model: name of the model.
        inside, outside: names of the sets.
        counts: numbers of pictures of both.
        detections: one for each score, the model's first.
    """

    model: str
    inside: str
    outside: str
    counts: tuple[int, int]
    detections: list[Detection]

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        return {
            "model": self.model,
            "inside": self.inside,
            "outside": self.outside,
            "pictures": list(self.counts),
            "scores": [each.to_dict() for each in self.detections],
        }

    def describe(self) -> str:
        """Return a table with a verdict for each score of the model."""
        rows = [
            f"{self.model}: {self.inside} ({self.counts[0]:,} pictures) against {self.outside} "
            f"({self.counts[1]:,})",
            f"{'score':<18} AUROC  95 % interval",
        ]
        for each in self.detections:
            verdict = "trivial" if each.trivial else ("ahead" if each.ahead else "not ahead")
            low, high = each.interval
            rows.append(f"{each.name:<18} {each.auroc:.4f} {low:.4f} to {high:.4f}  {verdict}")
        return "\n".join(rows)


def compare(
    model: LoadedDensity,
    inside: tuple[str, Tensor],
    outside: tuple[str, Tensor],
    background: LoadedDensity | None = None,
    *,
    seed: int = 0,
) -> AnomalyReport:
    """Measure every score on test pictures of the model's kind and on others.

    A trivial baseline may count in either direction (the larger AUROC is stated), which favours
    it: in use one would not know the direction. Scores of the model count in theirs alone.

    Args:
        model: the density.
        inside: name and uint8 pictures ``N C H W`` of the model's kind, not trained on.
        outside: name and pictures of another kind.
        background: background model for the likelihood ratio.
        seed: seed of dequantisation and resampling.

    Raises:
        UsageError: a set is empty, or the background model is of other pictures.
        ModelError: the model's card lacks the scores of held-out pictures.
    """
    for name, pictures in (inside, outside):
        if not len(pictures):
            raise UsageError(f"{name}: has no pictures; give others")
    found: list[Detection] = []
    both = [
        {
            **all_scores(model, pictures, background, seed=seed),
            **trivial_scores(model.network.quantise(pictures)),
        }
        for _, pictures in (inside, outside)
    ]
    for number, score in enumerate(both[0]):
        ours, theirs = both[0][score], both[1][score]
        trivial = score in TRIVIAL
        if trivial and auroc(ours, theirs) < 0.5:
            ours, theirs = -ours, -theirs
        interval = bootstrap_interval(ours, theirs, generator(seed, number))
        found.append(Detection(score, trivial, auroc(ours, theirs), interval))
    best = max((each for each in found if each.trivial), key=lambda each: each.auroc)
    judged = [
        each
        if each.trivial
        else Detection(
            each.name, False, each.auroc, each.interval, each.interval[0] > best.interval[1]
        )
        for each in found
    ]
    counts = (len(inside[1]), len(outside[1]))
    return AnomalyReport(model.name, inside[0], outside[0], counts, judged)
