"""The toolkit's own density: few couplings with deep residual subnets, bounded mixing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from irae.flow.actnorm import ActNorm
from irae.flow.bijection import Bijection, Chain
from irae.flow.coupling import BoundedCoupling
from irae.flow.density.prior import SplitPrior
from irae.flow.density.spline import SplineCoupling
from irae.flow.mixing import BoundedMixing, Permutation
from irae.flow.squeeze import Squeeze
from irae.flow.subnets import ResidualNetwork
from irae.models.density import Density

PRESETS: dict[str, dict[str, Any]] = {"default": {}}

SCALE_BOUND = 2.0
"""Bound on the log scale of each coupling: black surroundings need large factors."""


class OwnDensity(Density):
    """Levels of few couplings, each with a deep residual subnet.

    A level squeezes, normalises by one ActNorm, and orders the channels so that the first coupling
    divides pixels as a checkerboard does. Couplings come in pairs that change both halves; between
    pairs, a 1×1 convolution with a bounded condition number mixes the channels. Half of them are
    split off after each level but the last, with a normal prior given the other half.

    Args:
        channels: number of channels, 1 or 3.
        size: height and width, a multiple of 2 to the number of levels.
        bits: bits per number.
        couplings: couplings of each level, the finest first; its length is the number of levels.
        widths: hidden channels of each level's subnets.
        blocks: residual blocks of each subnet.
        coupling: ``affine``, or ``spline`` (a rational-quadratic spline before the affine map).
        bins: bins of the splines.

    Raises:
        ValueError: a number is out of range.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        size: int = 28,
        bits: int = 8,
        couplings: Sequence[int] = (4, 4),
        widths: Sequence[int] = (64, 64),
        blocks: int = 2,
        coupling: Literal["affine", "spline"] = "spline",
        bins: int = 8,
    ) -> None:
        levels = len(couplings)
        if not levels or len(widths) != levels or min([*couplings, *widths]) < 1:
            raise ValueError(
                f"couplings {list(couplings)} and widths {list(widths)} must be as many numbers "
                "from 1, one for each level"
            )
        if size % 2**levels:
            raise ValueError(f"size {size} must be a multiple of {2**levels} for {levels} levels")
        if coupling not in ("affine", "spline"):
            raise ValueError(f"coupling {coupling!r} is not affine or spline")
        chains, splits = [], []
        now = channels
        for number, (count, width) in enumerate(zip(couplings, widths, strict=True)):
            checkerboard = [4 * c + place for place in (0, 3, 1, 2) for c in range(now)]
            now = 4 * now
            half = now // 2
            steps: list[Bijection] = [Squeeze(), ActNorm(now), Permutation(checkerboard)]
            for i in range(count):
                if coupling == "spline":
                    outputs = SplineCoupling.outputs(half, bins)
                    network = ResidualNetwork(half, outputs, width, blocks)
                    steps.append(SplineCoupling(network, bins, bound=SCALE_BOUND))
                else:
                    network = ResidualNetwork(half, now, width, blocks)
                    steps.append(BoundedCoupling(network, SCALE_BOUND))
                if i % 2 == 0:
                    steps.append(Permutation([*range(half, now), *range(half)]))
                elif i < count - 1:
                    steps.append(BoundedMixing(now))
            chains.append(Chain(steps))
            if number < levels - 1:
                splits.append(SplitPrior(ResidualNetwork(half, now, width, 1)))
                now = half
        super().__init__(chains, splits, channels=channels, size=size, bits=bits)
