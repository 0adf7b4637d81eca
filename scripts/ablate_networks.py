"""Networks that `scripts/ablate` compares the toolkit's with; `register` makes them known.

None is worth shipping so far, so they live here and not in the package.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from irae.flow.lifted import LiftedNetwork
from irae.models.networks.irae import PRESETS
from irae.models.networks.lifted import LiftedIRAE
from irae.models.networks.registry import NETWORKS, NetworkKind

DEFAULT = {key: value for key, value in PRESETS["default"].items() if key != "form"}


class UnbiasedIRAE(LiftedIRAE):
    """No biases in the first convolutions: a hidden unit fires wherever its input changes sign."""

    def __init__(self, *, width: int, couplings: int, hidden: int) -> None:
        super().__init__(width=width, couplings=couplings, hidden=hidden)
        for network in self.flow.couplings:
            network.conv1.bias.requires_grad_(False)


class LeakyNetwork(LiftedNetwork):
    """A leaky ReLU, of slope 0.1, in place of the ReLU."""

    def activate(self, hidden: Tensor) -> Tensor:
        return F.leaky_relu(hidden, 0.1, inplace=True)


class LeakyIRAE(LiftedIRAE):
    """A lifted flow of `LeakyNetwork`."""

    def __init__(self, *, width: int, couplings: int, hidden: int) -> None:
        super().__init__(width=width, couplings=couplings, hidden=hidden)
        for number in range(len(self.flow.couplings)):
            self.flow.couplings[number] = LeakyNetwork(width, hidden)


class QuarterNetwork(LiftedNetwork):
    """A `LiftedNetwork` of the stream squeezed once more, so of four times its channels."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(4 * width, hidden)

    def forward(self, x: Tensor, outputs: int | None = None) -> Tensor:
        wanted = None if outputs is None else 4 * outputs
        return F.pixel_shuffle(super().forward(F.pixel_unshuffle(x, 2), wanted), 2)


class QuarterIRAE(LiftedIRAE):
    """Four couplings in the middle work at a quarter of the picture's height and width.

    Each takes as many multiply-adds a pixel as one of the others, and has four times its weights.
    """

    size_multiple = 4

    def __init__(self, *, width: int, couplings: int, hidden: int) -> None:
        super().__init__(width=width, couplings=couplings, hidden=hidden)
        first = self._middle - 2
        for number in range(first, first + 4):
            self.flow.couplings[number] = QuarterNetwork(width, hidden)


def register() -> None:
    """Make the networks of this file known by the names that `ablate.VARIANTS` uses."""
    for name, build in (
        ("irae-unbiased", UnbiasedIRAE),
        ("irae-leaky", LeakyIRAE),
        ("irae-quarter", QuarterIRAE),
    ):
        NETWORKS[name] = NetworkKind(build, {"default": DEFAULT}, invertible=True)
