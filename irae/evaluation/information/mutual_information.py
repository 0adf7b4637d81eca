"""Estimators of mutual information from samples, and Gaussians for their validation.

All results are in nats. Both estimators are for few dimensions: with d dimensions on each side and
n samples, KSG's cells grow as n^(-1/2d), and MINE's network has too few samples to learn from.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.special import digamma
from torch import Tensor, nn

from irae.errors import UsageError
from irae.runtime import generator

NEIGHBOURS = 3
"""k of the KSG estimator."""

MINE_STEPS = 400
_MINE_BATCH = 512
_MINE_WIDTH = 64
_LARGEST = 512
_FEWEST = 50


def gaussian_information(dimension: int, rho: float) -> float:
    """Compute the mutual information of two Gaussian vectors: -d/2 ln(1 - rho²) nats.

    Args:
        dimension: dimension of each vector.
        rho: correlation in (-1, 1) of components with the same index; all other pairs are
            independent.
    """
    return -dimension / 2 * math.log1p(-(rho**2))


def correlated_gaussians(
    count: int, dimension: int, rho: float, random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw samples (``count dimension``, twice) of the vectors of `gaussian_information`."""
    x, other = (torch.randn(count, dimension, generator=random) for _ in range(2))
    return x, rho * x + math.sqrt(1 - rho**2) * other


def ksg(x: Tensor, y: Tensor, *, neighbours: int = NEIGHBOURS) -> float:
    """Estimate the mutual information of x and y from distances to nearest neighbours.

    Components are scaled to unit variance first, which does not change the mutual information. The
    estimate may be slightly below 0 for independent samples; it is too small if the true value is
    large compared with ln n.

    Args:
        x: ``n d``, one sample per row.
        y: ``n d'``, the paired samples.
        neighbours: number of neighbours k; a larger k has less variance and more bias.

    Raises:
        UsageError: there are fewer than 50 samples, or not more than ``neighbours``.

    Source: Kraskov, Stögbauer and Grassberger, "Estimating mutual information", Physical Review E
    69, 2004, estimator 1 (equation 8).
    """
    _check(x, y, neighbours)
    a, b = (_standardised(each).double().cpu().numpy() for each in (x, y))
    joint = np.concatenate((a, b), 1)
    # The nearest neighbour of a sample is itself.
    distances, _ = cKDTree(joint).query(joint, neighbours + 1, p=math.inf)
    # Neighbours in a marginal are counted strictly nearer than the k-th in the joint space.
    radius = np.nextafter(distances[:, -1], 0)
    total = 0.0
    for each in (a, b):
        counts = cKDTree(each).query_ball_point(each, radius, p=math.inf, return_length=True)
        # The sample itself is counted too, which is the + 1 of the formula.
        total += float(digamma(counts).mean())
    return float(digamma(neighbours) + digamma(len(a))) - total


def mine(x: Tensor, y: Tensor, *, steps: int = MINE_STEPS, seed: int = 0) -> float:
    """Estimate a lower bound of the mutual information of x and y with a trained network.

    A network with two hidden layers is trained on three quarters of the samples to distinguish
    true pairs from shuffled pairs; the gradient of the logarithm is corrected by a moving average
    (section 3.2 of the paper). Unlike in the paper, the Donsker-Varadhan bound is then computed on
    the remaining quarter, so that memorised samples do not count.

    Args:
        x: ``n d``, one sample per row.
        y: ``n d'``, the paired samples.
        steps: number of Adam's steps, 512 pairs each.
        seed: seed of the initial weights, the split and the pairs.

    Raises:
        UsageError: there are fewer than 50 samples.

    Source: Belghazi et al., "Mutual information neural estimation", ICML 2018 (arXiv 1801.04062),
    algorithm 1.
    """
    _check(x, y, 1)
    random = generator(seed)
    order = torch.randperm(len(x), generator=random)
    # Contiguous copies on the CPU: a network this small is not faster on an accelerator.
    x, y = (_standardised(each.detach().float().cpu())[order] for each in (x, y))
    held = len(x) // 4
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Linear(x.shape[1] + y.shape[1], _MINE_WIDTH),
            nn.ELU(),
            nn.Linear(_MINE_WIDTH, _MINE_WIDTH),
            nn.ELU(),
            nn.Linear(_MINE_WIDTH, 1),
        )
    _train_mine(network, x[held:], y[held:], steps, random)
    return _donsker_varadhan(network, x[: min(held, _LARGEST)], y[: min(held, _LARGEST)])


def _train_mine(
    network: nn.Module, x: Tensor, y: Tensor, steps: int, random: torch.Generator
) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    average: Tensor | None = None
    for _ in range(steps):
        rows, others = torch.randint(len(x), (2, _MINE_BATCH), generator=random)
        pairs = torch.cat((x[rows].repeat(2, 1), torch.cat((y[rows], y[others]))), 1)
        scores = network(pairs)
        together, apart = scores[:_MINE_BATCH].mean(), scores[_MINE_BATCH:].exp().mean()
        now = apart.detach()
        average = now if average is None else 0.99 * average + 0.01 * now
        optimiser.zero_grad()
        torch.autograd.backward(apart / average - together)
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()


@torch.no_grad()
def _donsker_varadhan(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Compute E[T] over true pairs minus ln E[exp T] over all other pairs."""
    count = len(x)
    pairs = torch.cat((x.repeat_interleave(count, 0), y.repeat(count, 1)), 1)
    scores = network(pairs).view(count, count).double()
    apart = scores[~torch.eye(count, dtype=torch.bool)]
    bound = scores.diagonal().mean() - apart.logsumexp(0) + math.log(len(apart))
    return float(bound)


def _check(x: Tensor, y: Tensor, neighbours: int) -> None:
    if len(x) != len(y) or x.ndim != 2 or y.ndim != 2:
        raise UsageError(
            f"samples of shapes {tuple(x.shape)} and {tuple(y.shape)} do not belong together;"
            " give two matrices with one sample a row"
        )
    least = max(_FEWEST, neighbours + 1)
    if len(x) < least:
        raise UsageError(
            f"{len(x)} samples are too few to estimate mutual information; give at least {least}"
        )


def _standardised(x: Tensor) -> Tensor:
    """Scale components to mean 0 and variance 1; a constant one becomes 0."""
    centred = x - x.mean(0)
    return centred / centred.std(0).clamp_min(torch.finfo(x.dtype).tiny)
