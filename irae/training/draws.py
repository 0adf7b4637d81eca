"""The random parameters of a whole batch, drawn together."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Generator, Tensor


class Draws:
    """Random columns of a batch: one number a sample, drawn for all samples and then sliced.

    Every process of a run draws the whole column and keeps its own rows, so a sample's numbers do
    not depend on how many processes there are.

    Args:
        generator: on the CPU; used up column by column.
        batch: samples of the whole batch.
        rows: those to keep.
    """

    def __init__(self, generator: Generator, batch: int, rows: slice) -> None:
        self._generator, self._batch, self._rows = generator, batch, rows

    def _unit(self, columns: int) -> Tensor:
        shape = (self._batch, columns)
        return torch.rand(shape, generator=self._generator, dtype=torch.float64)[self._rows]

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float64 numbers from [low, high)."""
        return low + (high - low) * self._unit(1)[:, 0]

    def chance(self, share: float) -> Tensor:
        """True for ``share`` of the samples."""
        return self.uniform() < share

    def integer(self, low: int | Tensor, high: int | Tensor) -> Tensor:
        """Int64 numbers from low to high, both included; each a number or one per kept sample."""
        span = torch.as_tensor(high) - torch.as_tensor(low) + 1
        return torch.as_tensor(low) + (self.uniform() * span).long()

    def choice(self, weights: Iterable[float]) -> Tensor:
        """Indices into ``weights``, each as often as its weight says."""
        edges = torch.tensor(list(weights), dtype=torch.float64).cumsum(0)
        return torch.searchsorted(edges, self.uniform() * edges[-1], right=True)

    def permutation(self, count: int) -> Tensor:
        """Permutations of ``count`` things, a row each."""
        return self._unit(count).argsort(1)
