"""The random numbers of a whole batch, drawn together.

A sample depends on the seed, the step and its index in the batch alone. Every process of a run
draws for the whole batch and keeps its own rows, so a sample's numbers do not depend on the number
of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Generator, Tensor

from irae.runtime import generator, upload

# Keys of the random streams of a step; tasks use keys from 3 on.
_TABLE, _NORMAL = 0, 1


class RandomColumns:
    """Random columns of a batch: one number per sample, drawn for all samples and then sliced.

    Args:
        random: CPU generator, from which the columns are drawn in turn.
        batch: number of samples in the whole batch.
        rows: the samples to keep.
    """

    def __init__(self, random: Generator, batch: int, rows: slice) -> None:
        self._random, self.batch, self.rows = random, batch, rows

    def _unit(self, columns: int) -> Tensor:
        shape = (self.batch, columns)
        return torch.rand(shape, generator=self._random, dtype=torch.float64)[self.rows]

    def uniform(self, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Draw float64 numbers from [low, high)."""
        return low + (high - low) * self._unit(1)[:, 0]

    def bernoulli(self, probability: float) -> Tensor:
        """Draw a bool per sample that is True with this probability."""
        return self.uniform() < probability

    def integer(self, low: int | Tensor, high: int | Tensor) -> Tensor:
        """Draw int64 numbers from [low, high]; a bound is one number or one per kept sample."""
        span = torch.as_tensor(high) - torch.as_tensor(low) + 1
        return torch.as_tensor(low) + (self.uniform() * span).long()

    def choice(self, weights: Iterable[float]) -> Tensor:
        """Draw indices into ``weights``, with probabilities in proportion to the weights."""
        edges = torch.tensor(list(weights), dtype=torch.float64).cumsum(0)
        return torch.searchsorted(edges, self.uniform() * edges[-1], right=True)

    def permutation(self, count: int) -> Tensor:
        """Draw a permutation of ``count`` indices per sample: int64 ``B count``."""
        return self._unit(count).argsort(1)


class BatchRandom(RandomColumns):
    """All random numbers of one step's batch.

    Args:
        seed: seed of the run.
        step: training step, from 0.
        batch: number of samples in the whole batch.
        rows: the samples to keep.
        device: the network's device.
    """

    def __init__(self, seed: int, step: int, batch: int, rows: slice, device: torch.device) -> None:
        super().__init__(generator(seed, step, _TABLE), batch, rows)
        self.seed, self.step, self.device = seed, step, device

    def columns(self, *keys: int) -> RandomColumns:
        """Return columns of a separate stream, so that drawing there does not shift the others."""
        return RandomColumns(generator(self.seed, self.step, *keys), self.batch, self.rows)

    def pixels(
        self,
        draw: Callable[..., Tensor],
        side: int,
        key: int,
        device: torch.device | None = None,
        channels: int = 3,
    ) -> Tensor:
        """Draw a random number for every pixel: ``B C side side`` in channels-last order.

        One call draws for the whole batch, so that the numbers do not depend on the slice.

        Args:
            draw: `torch.randn` or `torch.rand`.
            side: side of the patches in pixels.
            key: key of the random stream.
            device: device of the result; the network's if None.
            channels: number of channels C.
        """
        device = device or self.device
        random = generator(self.seed, self.step, key, side, device=device)
        shape = (self.batch, side, side, channels)
        return draw(shape, generator=random, device=device)[self.rows].permute(0, 3, 1, 2)

    def normal_pixels(self, side: int) -> Tensor:
        """Draw standard normal numbers ``B 3 side side`` on the network's device."""
        return self.pixels(torch.randn, side, _NORMAL)

    def on_device(self, column: Tensor) -> Tensor:
        """Copy a tensor from host memory to the network's device."""
        return upload(column, self.device)

    def where(self, wanted: Tensor) -> Tensor:
        """Return the indices, on the network's device, of the samples that ``wanted`` marks."""
        return self.on_device(wanted.nonzero()[:, 0])
