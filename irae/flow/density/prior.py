"""Priors of a flow's latents: standard normal, also given the channels that go on."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from irae.flow.subnets import CouplingNetwork


def standard_normal_log_prob(z: Tensor) -> Tensor:
    """Return the log-density of every sample of ``B ...`` under a standard normal, ``B``."""
    each = -0.5 * (z.square() + math.log(2 * math.pi))
    return each.flatten(1).sum(1)


class SplitPrior(nn.Module):
    """A normal prior of split channels, given those that go on (Kingma and Dhariwal 2018).

    The network predicts a mean and a log scale for each number that is split off. Subtracting and
    dividing by them makes the latent standard normal: an affine coupling, which is inverted
    exactly. The log scale is bounded by ``bound``.

    Args:
        network: maps the kept channels to twice as many channels as are split off: the means,
            then the raw log scales.
        bound: bound on the log scale.
    """

    def __init__(self, network: CouplingNetwork, bound: float = 6.0) -> None:
        super().__init__()
        self.network, self.bound = network, bound

    def _mean_and_log_scale(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        mean, raw = self.network(kept).chunk(2, 1)
        return mean, self.bound * torch.tanh(raw / self.bound)

    def normalise(self, split: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Return the standard normal latent of ``split``, and the log-determinant ``B``."""
        mean, log_scale = self._mean_and_log_scale(kept)
        return (split - mean) * (-log_scale).exp(), -log_scale.flatten(1).sum(1)

    def denormalise(self, latent: Tensor, kept: Tensor) -> Tensor:
        """Return the channels that `normalise` mapped to ``latent``."""
        mean, log_scale = self._mean_and_log_scale(kept)
        return latent * log_scale.exp() + mean
