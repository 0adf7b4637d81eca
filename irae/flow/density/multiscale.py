"""Multi-scale flows for densities: levels of steps, with a part split off after each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from irae.flow.bijection import Chain
from irae.flow.density.prior import SplitPrior


class MultiScaleFlow(nn.Module):
    """An invertible map from pictures to a list of latents, from the finest to the coarsest.

    After every level but the last, the second half of the channels is split off as a latent (Dinh
    et al. 2017, section 3.6), and its prior given the first half makes it standard normal.

    Args:
        levels: the steps of each level.
        splits: the prior of what is split off after each level but the last.

    Raises:
        ValueError: there is not one split fewer than levels.
    """

    def __init__(self, levels: Sequence[Chain], splits: Sequence[SplitPrior] = ()) -> None:
        super().__init__()
        if len(splits) != len(levels) - 1:
            raise ValueError(f"{len(levels)} levels need {len(levels) - 1} splits")
        self.levels = nn.ModuleList(levels)
        self.splits = nn.ModuleList(splits)

    def _chains(self) -> list[Chain]:
        return [level for level in self.levels if isinstance(level, Chain)]

    def _split_priors(self) -> list[SplitPrior]:
        return [split for split in self.splits if isinstance(split, SplitPrior)]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> list[Tensor]:
        """Map ``B C H W`` to latents; there is no condition, it must be None."""
        del condition
        latents: list[Tensor] = []
        first, *rest = self._chains()
        x = first(x)
        for split, level in zip(self._split_priors(), rest, strict=True):
            x, apart = x.chunk(2, 1)
            latents.append(split.normalise(apart, x)[0])
            x = level(x)
        return [*latents, x]

    def forward_and_log_det(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Map ``B C H W`` to latents; return them and log abs det per sample, ``B``."""
        latents, of_levels, of_splits = self.log_dets(x)
        return latents, torch.stack([*of_levels, *of_splits]).sum(0)

    def log_dets(self, x: Tensor) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Map ``B C H W`` to latents; return them and the log abs det of each part.

        Returns:
            The latents, and the log-determinants ``B`` of each level and of each split.
        """
        latents: list[Tensor] = []
        first, *rest = self._chains()
        x, of_first = first.forward_and_log_det(x)
        of_levels, of_splits = [of_first], []
        for split, level in zip(self._split_priors(), rest, strict=True):
            x, apart = x.chunk(2, 1)
            latent, of_split = split.normalise(apart, x)
            x, of_level = level.forward_and_log_det(x)
            latents.append(latent)
            of_splits.append(of_split)
            of_levels.append(of_level)
        return [*latents, x], of_levels, of_splits

    def inverse(self, latents: Sequence[Tensor]) -> Tensor:
        """Map latents back to their picture ``B C H W``."""
        first, *rest = self._chains()
        *split_off, x = latents
        backward = zip(
            reversed(self._split_priors()), reversed(rest), reversed(split_off), strict=True
        )
        for split, level, latent in backward:
            x = level.inverse(x)
            x = torch.cat([x, split.denormalise(latent, x)], 1)
        return first.inverse(x)
