"""Estimators of mutual information against what is known in closed form or counted by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.special import digamma
from torch import Tensor

from irae.errors import UsageError
from irae.evaluation.information.mutual_information import (
    correlated_gaussians,
    gaussian_information,
    ksg,
    mine,
)
from irae.runtime import generator


def by_hand(x: Tensor, y: Tensor, k: int) -> float:
    """Equation 8 of Kraskov et al. 2004, all distances written out."""

    def distances(z: Tensor) -> Tensor:
        z = (z - z.mean(0)) / z.std(0)
        return (z[:, None] - z[None]).abs().amax(2).fill_diagonal_(math.inf)

    a, b = distances(x), distances(y)
    radius = torch.maximum(a, b).sort(1).values[:, k - 1 : k]
    counts = [(each < radius).sum(1).numpy() for each in (a, b)]
    return float(digamma(k) + digamma(len(x)) - sum(digamma(count + 1).mean() for count in counts))


def test_the_closed_form_is_that_of_the_determinants() -> None:
    for d, rho in ((1, 0.3), (3, -0.8)):
        joint = torch.eye(2 * d, dtype=torch.float64)
        joint[:d, d:] = joint[d:, :d] = rho * torch.eye(d, dtype=torch.float64)
        assert gaussian_information(d, rho) == pytest.approx(-0.5 * joint.logdet().item())


def test_the_samples_have_the_correlation_they_are_asked_for() -> None:
    x, y = correlated_gaussians(20000, 2, 0.6, generator(0))
    measured = torch.corrcoef(torch.cat((x, y), 1).T)
    expected = torch.tensor([[1, 0, 0.6, 0], [0, 1, 0, 0.6], [0.6, 0, 1, 0], [0, 0.6, 0, 1]])
    torch.testing.assert_close(measured, expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_ksg_is_the_formula(k: int) -> None:
    x, y = (each.double() for each in correlated_gaussians(120, 2, 0.7, generator(k)))
    assert ksg(x, y, neighbours=k) == pytest.approx(by_hand(x, y, k), abs=1e-9)


@pytest.mark.parametrize(
    ("dimension", "rho", "count", "tolerance"),
    [
        (1, 0.0, 2000, 0.05),
        (1, 0.5, 2000, 0.06),
        (1, 0.9, 1000, 0.10),
        (1, 0.99, 2000, 0.10),
        (2, 0.0, 2000, 0.05),
        (2, 0.5, 2000, 0.06),
        (2, 0.9, 4000, 0.10),
        (3, 0.5, 4000, 0.10),
        # Falls short where there is much to know in many dimensions, and never beyond.
        (3, 0.9, 4000, 0.25),
    ],
)
def test_ksg_finds_what_is_known_of_gaussians(
    dimension: int, rho: float, count: int, tolerance: float
) -> None:
    x, y = correlated_gaussians(count, dimension, rho, generator(1, dimension, count))
    assert ksg(x, y) == pytest.approx(gaussian_information(dimension, rho), abs=tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dimension", "rho", "tolerance"),
    [(1, 0.0, 0.03), (1, 0.9, 0.15), (2, 0.5, 0.15), (3, 0.9, 0.5)],
)
def test_mine_finds_what_is_known_of_gaussians(
    dimension: int, rho: float, tolerance: float
) -> None:
    x, y = correlated_gaussians(2000, dimension, rho, generator(1, dimension))
    assert mine(x, y, steps=300) == pytest.approx(
        gaussian_information(dimension, rho), abs=tolerance
    )


def test_mine_does_not_count_what_it_memorises() -> None:
    x, y = correlated_gaussians(200, 4, 0.0, generator(0))
    assert mine(x, y, steps=200) < 0.05


def test_ksg_sees_monotone_maps_of_the_margins_as_the_same() -> None:
    x, y = correlated_gaussians(2000, 1, 0.8, generator(5))
    plain = ksg(x, y)
    assert ksg(x.exp(), y) == pytest.approx(plain, abs=0.06)
    assert ksg(x.exp(), y + y**3) == pytest.approx(plain, abs=0.06)
    # No map that changes nothing but units and order changes the estimate.
    assert ksg(-3 * x + 7, 0.01 * y) == pytest.approx(plain, abs=1e-3)
    assert ksg(y, x) == pytest.approx(plain, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [ksg, mine])
def test_dependence_without_correlation_is_seen(
    estimator: Callable[[Tensor, Tensor], float],
) -> None:
    x, noise = correlated_gaussians(1000, 1, 0.0, generator(2))
    y = x**2 + 0.3 * noise
    assert torch.corrcoef(torch.cat((x, y), 1).T)[0, 1].abs() < 0.15
    assert estimator(x, y) > 0.5
    assert abs(estimator(x, y[torch.randperm(1000, generator=generator(3))])) < 0.1


def test_a_component_that_never_varies_tells_nothing() -> None:
    x, y = correlated_gaussians(500, 1, 0.9, generator(4))
    dead = torch.full_like(y, 3.0)
    assert abs(mine(x, dead, steps=50)) < 0.05
    assert ksg(torch.cat((x, dead), 1), y) == pytest.approx(ksg(x, y), abs=1e-9)


def test_the_seed_decides_all() -> None:
    x, y = correlated_gaussians(200, 2, 0.5, generator(6))
    state = torch.get_rng_state()
    assert mine(x, y, steps=20, seed=1) == mine(x, y, steps=20, seed=1)
    assert mine(x, y, steps=20, seed=1) != mine(x, y, steps=20, seed=2)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("estimator", [ksg, mine])
def test_too_few_samples_are_refused(estimator: Callable[[Tensor, Tensor], float]) -> None:
    x, y = correlated_gaussians(49, 1, 0.5, generator(0))
    with pytest.raises(UsageError, match="49 samples are too few"):
        estimator(x, y)
    with pytest.raises(UsageError, match="do not belong together"):
        estimator(torch.randn(60, 1), torch.randn(61, 1))
