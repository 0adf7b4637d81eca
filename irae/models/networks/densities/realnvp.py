"""RealNVP (Dinh et al. 2017, arXiv 1605.08803)."""

from __future__ import annotations

from typing import Any

from irae.flow.actnorm import ActNorm
from irae.flow.bijection import Bijection, Chain
from irae.flow.coupling import BoundedCoupling
from irae.flow.density.checkerboard import CheckerboardCoupling
from irae.flow.density.elementwise import Logit
from irae.flow.density.prior import SplitPrior
from irae.flow.mixing import Permutation
from irae.flow.squeeze import Squeeze
from irae.flow.subnets import PlainNetwork, ResidualNetwork
from irae.models.density import Density

PRESETS: dict[str, dict[str, Any]] = {"default": {}}


class RealNVP(Density):
    """Couplings between the colours of a checkerboard, squeeze, couplings between channels.

    Each level has three checkerboard couplings at its size, a squeeze and three couplings between
    channels; half of the channels are then split off. The last level has four checkerboard
    couplings. Pixels enter as logits. Differences from the paper: ActNorm in place of batch
    normalisation, which would make a picture's density depend on its batch; no weight
    normalisation; a fixed bound on the log scales in place of a learned one; a normal prior of
    split channels given the others (`irae.flow.density.prior.SplitPrior`).

    Args:
        channels: number of channels, 1 or 3.
        size: height and width, a multiple of 2^(levels - 1).
        bits: bits per number.
        levels: number of levels, at least 1.
        width: hidden channels of the first level's subnets; doubled at each further level.
        blocks: residual blocks of each subnet.
        margin: margin of the logit of pixels.

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
        width: int = 32,
        blocks: int = 4,
        margin: float = 0.05,
    ) -> None:
        if levels < 1 or width < 1 or size % 2 ** (levels - 1):
            raise ValueError(
                f"size {size} must be a multiple of 2^(levels - 1), and levels {levels} and width "
                f"{width} at least 1"
            )
        chains, splits = [], []
        now = channels
        for number in range(levels):
            steps: list[Bijection] = [Logit(margin)] if number == 0 else []
            last = number == levels - 1
            for i in range(4 if last else 3):
                network = ResidualNetwork(now, 2 * now, width, blocks)
                steps += [ActNorm(now), CheckerboardCoupling(network, odd=bool(i % 2))]
            if not last:
                steps.append(Squeeze())
                now, width = 4 * now, 2 * width
                half = now // 2
                for _ in range(3):
                    network = ResidualNetwork(half, now, width, blocks)
                    swap = Permutation([*range(half, now), *range(half)])
                    steps += [ActNorm(now), BoundedCoupling(network, 2.0), swap]
                splits.append(SplitPrior(PlainNetwork(half, now, width)))
                now = half
            chains.append(Chain(steps))
        super().__init__(chains, splits, channels=channels, size=size, bits=bits)
