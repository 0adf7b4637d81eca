"""The random numbers of a whole batch, drawn together.

Every sample is a function of (seed, step, its index in the batch) alone. Every process of a run
draws for the whole batch and keeps its own rows, so a sample's numbers do not depend on how many
processes there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor

from irae.runtime import generator, upload

# Keys of the random streams of a step; tasks use others, from 3 on.
_TABLE, _NORMAL = 0, 1


class RandomColumns:
    """Random columns of a batch: one number a sample, drawn for all samples and then sliced.

    Args:
        random: on the CPU; used up column by column.
        batch: samples of the whole batch.
        rows: those to keep.
    """

    def __init__(self, random: Generator, batch: int, rows: slice) -> None:
        self._random, self.batch, self.rows = random, batch, rows

    def _unit(self, columns: int) -> Tensor:
        shape = (self.batch, columns)
        return torch.rand(shape, generator=self._random, dtype=torch.float64)[self.rows]

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Float64 numbers from [low, high)."""
        return low + (high - low) * self._unit(1)[:, 0]

    def bernoulli(self, probability: float) -> Tensor:
        """True with this probability, for each sample."""
        return self.uniform() < probability

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


class BatchRandom(RandomColumns):
    """All random numbers of one step's batch.

    Args:
        seed: of the run.
        step: of the batch, from 0.
        batch: samples of the whole batch.
        rows: those to keep.
        device: where the network is trained.
    """

    def __init__(self, seed: int, step: int, batch: int, rows: slice, device: torch.device) -> None:
        super().__init__(generator(seed, step, _TABLE), batch, rows)
        self.seed, self.step, self.device = seed, step, device

    def columns(self, *keys: int) -> RandomColumns:
        """Columns of another stream: how many are drawn there must not shift the others'."""
        return RandomColumns(generator(self.seed, self.step, *keys), self.batch, self.rows)

    def pixels(
        self,
        draw: Callable[..., Tensor],
        side: int,
        key: int,
        device: torch.device | None = None,
        channels: int = 3,
    ) -> Tensor:
        """A random number for every pixel: ``B C side side`` in channels-last order.

        They are drawn for all rows: one call, whose numbers do not depend on the slice.

        Args:
            draw: `torch.randn` or `torch.rand`.
            side: of the patches in pixels.
            key: of the stream.
            device: where to; that of the network if None.
            channels: C.
        """
        device = device or self.device
        random = generator(self.seed, self.step, key, side, device=device)
        shape = (self.batch, side, side, channels)
        return draw(shape, generator=random, device=device)[self.rows].permute(0, 3, 1, 2)

    def normal_pixels(self, side: int) -> Tensor:
        """Standard normal numbers ``B 3 side side`` on the network's device."""
        return self.pixels(torch.randn, side, _NORMAL)

    def on_device(self, column: Tensor) -> Tensor:
        """A tensor from host memory on the network's device."""
        return upload(column, self.device)

    def where(self, wanted: Tensor) -> Tensor:
        """Numbers, on the network's device, of the samples that ``wanted`` (on the host) marks."""
        return self.on_device(wanted.nonzero()[:, 0])
