"""The lifted network over several scales, for holes: it sees far and costs few multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence

from irae.flow.u_shaped import UShapedNetwork
from irae.models.networks.lifted import LiftedIRAE


class MultiscaleIRAE(LiftedIRAE):
    """A `LiftedIRAE` whose couplings have U-shaped subnets.

    What lies in a hole has to be told from all of its surroundings. A coupling of `LiftedIRAE` sees
    four pixels to either side; one of these, with five scales, 128, most of them at coarse scales,
    where a multiply-add costs a small share of one at full size.

    Args:
        width: number of channels of each stream, see `LiftedIRAE`.
        couplings: number of couplings, at least 2.
        scales: number of channels at half of the picture's height and width, at a quarter, and so
            on; see `UShapedNetwork`.
        blocks: number of residual blocks at the coarsest scale.
        condition_channels: see `LiftedIRAE`.

    Raises:
        ValueError: there are too few channels, couplings or scales.
    """

    # Around a hole in a large picture, this many pixels pass through the network with it.
    context = 64

    def __init__(
        self,
        *,
        width: int = 32,
        couplings: int = 2,
        scales: Sequence[int] = (32, 64, 96, 128, 160),
        blocks: int = 1,
        condition_channels: int = 0,
    ) -> None:
        super().__init__(width=width, couplings=couplings, condition_channels=condition_channels)
        for number in range(couplings):
            self.flow.couplings[number] = UShapedNetwork(width, scales, blocks)
        self.size_multiple = 2 ** len(scales)
