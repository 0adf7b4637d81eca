"""What a mean over pictures is worth: intervals, paired tests, correction for many tests.

Two models are compared on the same pictures, picture by picture: how pictures differ from one
another is far more than how models do, and falls out of the differences.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from scipy.stats import wilcoxon

from irae.runtime import generator

RESAMPLES = 10_000
CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE

# Resamples drawn at a time: bounds the memory to some 8 MB per thousand pictures.
_CHUNK = 1_000

METHOD = (
    f"Intervals: {CONFIDENCE:.0%} percentile bootstrap of the mean over pictures"
    f" ({RESAMPLES:,} resamples, seed 0; Efron and Tibshirani 1993). They tell how far the mean"
    " would move with other pictures of the same kind, not how far it would move with another"
    " training run. Tests: two-sided Wilcoxon signed-rank test on the differences picture by"
    " picture (Wilcoxon 1945; Demšar 2006 for its use in comparing models), corrected by Holm's"
    " step-down method (Holm 1979). A difference counts only where the corrected p is below"
    f" {ALPHA:.2f} and the bootstrap interval of the mean difference leaves out zero."
)


@dataclass(frozen=True)
class Interval:
    """A mean and where it may lie.

    Attributes:
        mean: over the pictures.
        low, high: ends of the interval; NaN where there is none (one picture, or an infinity).
    """

    mean: float
    low: float
    high: float

    @property
    def leaves_out_zero(self) -> bool:
        """Whether the whole interval is on one side of zero."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Comparison:
    """One model less another, on the same pictures.

    Attributes:
        difference: of the means.
        p: of the test, after correction where that was done.
    """

    difference: Interval
    p: float

    @property
    def significant(self) -> bool:
        """Whether the difference counts; see `METHOD`."""
        return self.p < ALPHA and self.difference.leaves_out_zero


def bootstrap_interval(
    values: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """The mean and its percentile bootstrap interval (Efron and Tibshirani 1993, section 13.3).

    Equal numbers of values and equal seeds give equal resamples, whatever the values.

    Args:
        values: one per picture.
        resamples: how often as many pictures are drawn with replacement.
        confidence: share of the resampled means inside the interval, in (0, 1).
        seed: of the drawing.

    Raises:
        ValueError: no value.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    return _bootstrap(tuple(values), resamples, confidence, seed)


# Every table and plot asks for the same intervals again.
@lru_cache(maxsize=4096)
def _bootstrap(values: tuple[float, ...], resamples: int, confidence: float, seed: int) -> Interval:
    mean = math.fsum(values) / len(values)
    if len(values) == 1 or not math.isfinite(mean):
        return Interval(mean, math.nan, math.nan)
    sample = torch.tensor(values, dtype=torch.float64)
    random = generator(seed)
    means = []
    for first in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - first)
        drawn = torch.randint(len(sample), (rows, len(sample)), generator=random)
        means.append(sample[drawn].mean(1))
    tail = (1 - confidence) / 2
    ends = torch.tensor([tail, 1 - tail], dtype=torch.float64)
    low, high = torch.cat(means).quantile(ends).tolist()
    return Interval(mean, low, high)


def compare(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Comparison:
    """``first`` less ``second``, picture by picture, with an uncorrected p.

    With fewer than six pictures the two-sided test cannot fall below 0.05, so no difference counts.

    Args:
        first: one score per picture.
        second: the same pictures in the same order.
        seed: of the bootstrap.

    Returns:
        p is 1 where no picture differs, or where a score is infinite and there is nothing to rank.

    Raises:
        ValueError: the lengths differ.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    interval = bootstrap_interval(differences, seed=seed)
    if not any(differences) or not all(map(math.isfinite, differences)):
        return Comparison(interval, 1.0)
    return Comparison(interval, float(wilcoxon(differences).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's step-down method (Holm 1979).

    Controls the chance of even one false rejection among them, whatever their dependence.

    Returns:
        Corrected p-values, at most 1, in the order given.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
