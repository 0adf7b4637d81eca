"""Statistics of means over pictures: intervals, paired tests, correction for multiple tests.

Two models are compared on the same pictures, picture by picture: scores vary far more between
pictures than between models, and the differences remove that variation.
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

# Number of resamples drawn at a time, which limits the memory to 8 MB per thousand pictures.
_CHUNK = 1_000

METHOD = (
    f"Intervals: {CONFIDENCE:.0%} percentile bootstrap of the mean over pictures"
    f" ({RESAMPLES:,} resamples, seed 0; Efron and Tibshirani 1993). They show how much the mean"
    " would vary with other pictures of the same kind, not with another training run. Tests:"
    " two-sided Wilcoxon signed-rank test on the differences per picture (Wilcoxon 1945; Demšar"
    " 2006 for its use in comparing models), corrected by Holm's step-down method (Holm 1979). A"
    " difference counts only if the corrected p is below"
    f" {ALPHA:.2f} and the bootstrap interval of the mean difference excludes zero."
)


@dataclass(frozen=True)
class Interval:
    """A mean and its confidence interval.

    Attributes:
        mean: mean over the pictures.
        low, high: ends of the interval; NaN if there is none (one picture, or an infinity).
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
    """The comparison of two models on the same pictures.

    Attributes:
        difference: mean of the first minus mean of the second, with its interval.
        p: p-value of the test, corrected if several comparisons were made.
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
    """Compute a mean and its percentile bootstrap interval.

    Equal numbers of values and equal seeds give equal resamples, whatever the values.

    Args:
        values: one score per picture.
        resamples: number of resamples, each as large as ``values``, drawn with replacement.
        confidence: share of the resampled means inside the interval, in (0, 1).
        seed: seed of the resamples.

    Raises:
        ValueError: there are no values.

    Source: Efron and Tibshirani 1993, section 13.3.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    return _bootstrap(tuple(values), resamples, confidence, seed)


# Cached, since every table and plot needs the same intervals.
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
    """Compare ``first`` minus ``second``, picture by picture, with an uncorrected p.

    With fewer than six pictures p cannot fall below 0.05, so no difference counts.

    Args:
        first: one score per picture.
        second: scores of the same pictures in the same order.
        seed: seed of the bootstrap.

    Returns:
        The comparison; p is 1 if no picture differs, or if a score is infinite.

    Raises:
        ValueError: the lengths differ.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    interval = bootstrap_interval(differences, seed=seed)
    if not any(differences) or not all(map(math.isfinite, differences)):
        return Comparison(interval, 1.0)
    return Comparison(interval, float(wilcoxon(differences).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple tests by Holm's step-down method (Holm 1979).

    It controls the probability of any false rejection, whatever the dependence of the tests.

    Returns:
        Corrected p-values, at most 1, in the same order.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected
