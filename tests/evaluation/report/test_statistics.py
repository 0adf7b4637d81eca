"""Intervals, tests and corrections against what is known of them."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import wilcoxon

from irae.evaluation.report.statistics import (
    Comparison,
    Interval,
    bootstrap_interval,
    compare,
    holm,
)
from irae.runtime import generator


def normal(count: int, *keys: int, mean: float = 0.0) -> list[float]:
    values = torch.randn(count, generator=generator(*keys), dtype=torch.float64) + mean
    return [float(value) for value in values]


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    trials = 200
    inside = 0
    for trial in range(trials):
        interval = bootstrap_interval(normal(50, 1, trial), resamples=1000, seed=trial)
        inside += interval.low <= 0 <= interval.high
    # 95 % less a little, as the percentile bootstrap of few values is known to be narrow.
    assert 0.89 <= inside / trials <= 0.99


def test_the_interval_is_near_that_of_the_normal_distribution() -> None:
    values = normal(400, 2, mean=30.0)
    interval = bootstrap_interval(values)
    assert interval.mean == pytest.approx(sum(values) / 400, abs=1e-12)
    error = torch.tensor(values).std().item() / math.sqrt(400)
    assert interval.low == pytest.approx(interval.mean - 1.96 * error, abs=0.1 * error)
    assert interval.high == pytest.approx(interval.mean + 1.96 * error, abs=0.1 * error)


def test_the_seed_decides_the_interval() -> None:
    values = normal(30, 3)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    narrow = bootstrap_interval(values, confidence=0.5)
    assert narrow.high - narrow.low < bootstrap_interval(values).high - narrow.low


def test_one_picture_and_an_infinity_have_no_interval() -> None:
    assert math.isnan(bootstrap_interval([30.0]).low)
    infinite = bootstrap_interval([30.0, math.inf])
    assert infinite.mean == math.inf
    assert math.isnan(infinite.low)
    assert not infinite.leaves_out_zero
    with pytest.raises(ValueError, match="at least one"):
        bootstrap_interval([])


def test_pairing_finds_what_the_variety_of_pictures_hides() -> None:
    pictures = [10 * value for value in normal(40, 4)]
    better = [score + 0.1 + 0.05 * e for score, e in zip(pictures, normal(40, 5), strict=True)]
    comparison = compare(better, pictures)
    assert comparison.significant
    assert comparison.difference.mean == pytest.approx(0.1, abs=0.03)
    # Unpaired, the two intervals overlap nearly wholly.
    assert bootstrap_interval(better).low < bootstrap_interval(pictures).mean
    assert comparison.p == pytest.approx(
        wilcoxon([a - b for a, b in zip(better, pictures, strict=True)]).pvalue
    )
    assert compare(pictures, better).difference.mean == -comparison.difference.mean


def test_equal_models_do_not_differ() -> None:
    same = normal(20, 6)
    assert compare(same, same) == Comparison(Interval(0.0, 0.0, 0.0), 1.0)
    assert not compare(same, same).significant
    with pytest.raises(ValueError, match="zip"):
        compare(same, same[1:])
    assert compare([math.inf, 30.0], [30.0, 29.0]).p == 1.0


def test_false_findings_are_as_rare_as_promised() -> None:
    found = sum(compare(normal(25, 7, t), normal(25, 8, t)).significant for t in range(150))
    assert found <= 15  # 5 % of 150 is 7.5, with two standard deviations


def test_five_pictures_are_too_few_to_find_anything() -> None:
    assert not compare([2.0, 2.1, 2.2, 2.3, 2.4], [1.0] * 5).significant
    assert compare([2.0, 2.1, 2.2, 2.3, 2.4, 2.5], [1.0] * 6).significant


def test_holm_on_an_example_worked_by_hand() -> None:
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1: 0.02, 0.03, 0.06, and 0.04 raised to 0.06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
