"""Glow as a density (Kingma and Dhariwal 2018, arXiv 1807.03039)."""

from __future__ import annotations

from typing import Any

from irae.flow.actnorm import ActNorm
from irae.flow.bijection import Bijection, Chain
from irae.flow.coupling import AffineCoupling
from irae.flow.density.prior import SplitPrior
from irae.flow.mixing import LUMixing
from irae.flow.squeeze import Squeeze
from irae.flow.subnets import ActNormNetwork, PlainNetwork
from irae.models.density import Density

PRESETS: dict[str, dict[str, Any]] = {"default": {}}


class GlowDensity(Density):
    """Levels of ``depth`` steps: ActNorm, 1×1 convolution by LU, affine coupling.

    Half of the channels are split off after each level but the last. The subnets are those of
    `irae.flow.subnets.ActNormNetwork`.

    Args:
        channels: number of channels, 1 or 3.
        size: height and width, a multiple of 2^levels.
        bits: bits per number.
        levels: number of levels; the paper uses 3 for pictures of 32×32.
        depth: steps of each level; 32 in the paper.
        width: hidden channels of the subnets; 512 in the paper.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        size: int = 28,
        bits: int = 8,
        levels: int = 2,
        depth: int = 32,
        width: int = 512,
    ) -> None:
        if levels < 1 or depth < 1 or width < 1 or size % 2**levels:
            raise ValueError(
                f"size {size} must be a multiple of 2^levels, and levels {levels}, depth {depth} "
                f"and width {width} at least 1"
            )
        chains, splits = [], []
        now = channels
        for number in range(levels):
            now = 4 * now
            half = now // 2
            steps: list[Bijection] = [Squeeze()]
            for _ in range(depth):
                network = ActNormNetwork(half, now, width)
                steps += [ActNorm(now), LUMixing(now), AffineCoupling(network)]
            chains.append(Chain(steps))
            if number < levels - 1:
                splits.append(SplitPrior(PlainNetwork(half, now, 64)))
                now = half
        super().__init__(chains, splits, channels=channels, size=size, bits=bits)
