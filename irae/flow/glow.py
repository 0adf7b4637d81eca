"""The multi-scale flow (Kingma and Dhariwal 2018; Liu et al. 2020, arXiv 2009.03173)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from irae.flow.actnorm import ActNorm
from irae.flow.bijection import Bijection, Chain
from irae.flow.coupling import CouplingKind, build_coupling
from irae.flow.mixing import build_mixing
from irae.flow.squeeze import SQUEEZES
from irae.flow.subnets import NETWORKS


class Glow(nn.Module):
    """An invertible map from a picture to a list of latents.

    Every level squeezes 2×2, runs ``depth`` steps ([ActNorm,] invertible 1×1 convolution, coupling)
    and splits the channels in half: the first half goes to the next level, the second is a latent.
    ``coupling`` is one kind, or one for each level, the finest first; the last one also serves all
    coarser levels. ``kernels`` are the sizes of the subnets' middle convolutions, used cyclically
    step by step.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        width: int = 96,
        depth: int = 8,
        levels: int = 2,
        squeeze: Literal["pixel", "haar"] = "haar",
        actnorm: bool = False,
        mixing: Literal["dense", "bounded"] = "bounded",
        mixing_bound: float = 0.2,
        coupling: CouplingKind | Sequence[CouplingKind] = "additive",
        coupling_bound: float = 0.3,
        network: Literal["plain", "actnorm"] = "plain",
        condition_channels: int = 0,
        kernels: Sequence[int] = (1,),
    ) -> None:
        super().__init__()
        if levels < 1 or depth < 1 or width < 1:
            raise ValueError(f"width {width}, depth {depth} and levels {levels} must be at least 1")
        kinds = [coupling] if isinstance(coupling, str) else list(coupling)
        if not kinds or not kernels:
            raise ValueError("coupling names no kind, or kernels no size")
        mixing_options = {"bound": mixing_bound} if mixing == "bounded" else {}
        self.levels = nn.ModuleList()
        for number in range(levels):
            kind = kinds[min(number, len(kinds) - 1)]
            channels = channels * 4
            half = channels // 2
            steps: list[Bijection] = [SQUEEZES[squeeze]()]
            for step in range(depth):
                kernel = kernels[step % len(kernels)]
                inner = partial(
                    NETWORKS[network], half + condition_channels, width=width, kernel=kernel
                )
                if actnorm:
                    steps.append(ActNorm(channels))
                steps.append(build_mixing(mixing, channels, **mixing_options))
                steps.append(build_coupling(kind, inner, half, coupling_bound))
            self.levels.append(Chain(steps))
            channels = half

    @property
    def size_multiple(self) -> int:
        """Divisor of the heights and widths that the flow accepts."""
        return int(2 ** len(self.levels))

    def _chains(self) -> list[Chain]:
        return [level for level in self.levels if isinstance(level, Chain)]

    def _conditions(self, condition: Tensor | None) -> list[Tensor | None]:
        conditions = []
        for level in self._chains():
            conditions.append(condition)
            condition = level.squeeze_condition(condition)
        return conditions

    def forward(self, x: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Map ``B C H W`` to ``levels + 1`` latents, from the finest to the coarsest.

        H and W must be multiples of `size_multiple`; ``condition`` has the size of ``x``.
        """
        latents = []
        for level, given in zip(self._chains(), self._conditions(condition), strict=True):
            x, latent = level(x, given).chunk(2, 1)
            latents.append(latent)
        return [*latents, x]

    def inverse(self, latents: list[Tensor], condition: Tensor | None = None) -> Tensor:
        """Map latents back to their picture ``B C H W``."""
        *split, x = latents
        conditions = self._conditions(condition)
        for level, given, latent in zip(
            reversed(self._chains()), reversed(conditions), reversed(split), strict=True
        ):
            x = level.inverse(torch.cat([x, latent], 1), given)
        return x

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor]:
        """Return the latents, and the log abs det of the whole map per sample (``B``)."""
        latents = []
        total = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
        for level, given in zip(self._chains(), self._conditions(condition), strict=True):
            z, log_det = level.forward_and_log_det(x, given)
            x, latent = z.chunk(2, 1)
            latents.append(latent)
            total = total + log_det
        return [*latents, x], total
