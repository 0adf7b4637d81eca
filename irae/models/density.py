"""Densities of pictures: a flow with a prior, exact in both directions.

Definitions. A picture has D numbers of ``bits`` bits. Uniform dequantisation adds noise from [0, 1)
to each and divides by 2^bits, which gives a picture y in [0, 1). The flow has a density p(y), and
the *bits per dimension* of the picture are ``-log2 p(y) / D + bits``. Their expectation over the
noise is an upper bound on the code length of the picture in bits per number (Theis et al. 2016,
arXiv 1511.01844, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from irae.errors import ModelError, UsageError
from irae.flow.actnorm import initialise_actnorm
from irae.flow.bijection import Chain
from irae.flow.density.multiscale import MultiScaleFlow
from irae.flow.density.prior import SplitPrior, standard_normal_log_prob

BITS = (1, 8)
"""Fewest and most bits per number."""


@dataclass(frozen=True)
class Latents:
    """All latents of a batch of pictures; together they are the pictures, in another form.

    Under the model every number is standard normal and independent of the others.

    Attributes:
        levels: a tensor ``B C H W`` for each level, from the finest to the coarsest.
    """

    levels: tuple[Tensor, ...]

    def __len__(self) -> int:
        return len(self.levels[0])

    def __mul__(self, factor: float) -> Latents:
        return Latents(tuple(level * factor for level in self.levels))

    def __add__(self, other: Latents) -> Latents:
        pairs = zip(self.levels, other.levels, strict=True)
        return Latents(tuple(ours + theirs for ours, theirs in pairs))

    def __getitem__(self, rows: slice) -> Latents:
        return Latents(tuple(level[rows] for level in self.levels))

    def replaced(self, number: int, level: Tensor) -> Latents:
        """Return latents with another tensor as level ``number``."""
        levels = list(self.levels)
        levels[number] = level
        return Latents(tuple(levels))

    def squares(self) -> list[Tensor]:
        """Return the sum of squares of each level's numbers, ``B`` for each level."""
        return [level.square().flatten(1).sum(1) for level in self.levels]


class Density(nn.Module):
    """The density of square pictures of one size.

    Args:
        levels: the steps of each level of the flow, on dequantised pictures in [0, 1].
        splits: the prior of what is split off after each level but the last.
        channels: number of channels: 1 (gray) or 3.
        size: height and width in pixels.
        bits: bits per number, from 1 to 8.

    Raises:
        ValueError: channels, size or bits are out of range.
    """

    def __init__(
        self,
        levels: Sequence[Chain],
        splits: Sequence[SplitPrior] = (),
        *,
        channels: int,
        size: int,
        bits: int,
    ) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"channels is {channels}; use 1 or 3")
        if not BITS[0] <= bits <= BITS[1]:
            raise ValueError(f"bits is {bits}; use {BITS[0]} to {BITS[1]}")
        self.channels, self.size, self.bits = channels, size, bits
        self.flow = MultiScaleFlow(levels, splits)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of a picture."""
        return self.channels, self.size, self.size

    @property
    def dimensions(self) -> int:
        """Number of numbers of a picture, D."""
        return math.prod(self.shape)

    def initialise(self, x: Tensor, condition: Tensor | None = None) -> None:
        """Initialise every ActNorm from a batch of dequantised pictures."""
        initialise_actnorm(self.flow, x, condition)

    def quantise(self, pictures: Tensor) -> Tensor:
        """Return 8-bit pictures (uint8) at the model's number of bits, 0 to 2^bits - 1."""
        levels: Tensor = pictures >> (8 - self.bits)
        return levels

    def dequantise(self, pictures: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Map 8-bit pictures ``B C H W`` to float32 in [0, 1).

        Args:
            pictures: uint8.
            generator: draws the noise; the middle of each interval if None.
        """
        levels = self.quantise(pictures).float()
        noise: Tensor | float = 0.5
        if generator is not None:
            noise = torch.rand(levels.shape, generator=generator, device=generator.device)
            noise = noise.to(levels.device)
        y: Tensor = (levels + noise) / float(2**self.bits)
        return y

    def to_pictures(self, y: Tensor) -> Tensor:
        """Map pictures in [0, 1) to 8-bit ones, spread over 0 to 255; clips what lies outside."""
        most = 2**self.bits - 1
        levels = (y * 2**self.bits).floor().clamp(0, most)
        shown: Tensor = (levels * (255 / most)).round().to(torch.uint8)
        return shown

    def log_prob(self, y: Tensor) -> Tensor:
        """Return the log-density, in nats, of dequantised pictures ``B C H W``: ``B``."""
        latents, log_det = self.flow.forward_and_log_det(y)
        total = log_det
        for latent in latents:
            total = total + standard_normal_log_prob(latent)
        return total

    def forward(self, y: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return `log_prob`; there is no condition, it must be None."""
        del condition
        return self.log_prob(y)

    def to_bits_per_dim(self, log_prob: Tensor) -> Tensor:
        """Convert log-densities of dequantised pictures to bits per dimension."""
        return self.bits - log_prob / (self.dimensions * math.log(2))

    def bits_per_dim(
        self, pictures: Tensor, generator: torch.Generator | None = None, draws: int = 1
    ) -> Tensor:
        """Return the bits per dimension of 8-bit pictures.

        Args:
            pictures: uint8 ``B C H W``.
            generator: draws the noise of dequantisation; None for the middle of each interval,
                which is no bound on the code length.
            draws: number of draws whose bits are averaged.

        Returns:
            float32 ``B``.
        """
        parts = [self.log_prob(self.dequantise(pictures, generator)) for _ in range(draws)]
        return self.to_bits_per_dim(torch.stack(parts).mean(0))

    def latents(self, y: Tensor) -> Latents:
        """Map dequantised pictures ``B C H W`` to all their latents."""
        return Latents(tuple(self.flow(y)))

    def from_latents(self, latents: Latents) -> Tensor:
        """Map latents back to the dequantised pictures; not clipped.

        Raises:
            ModelError: a number is not finite.
        """
        y = self.flow.inverse(latents.levels)
        if not torch.isfinite(y).all():
            raise ModelError(
                "the density gave numbers that are not finite; lower the temperature or train it "
                "again"
            )
        return y

    def latent_shapes(self) -> list[tuple[int, ...]]:
        """Return the shape of each level's latents of one picture."""
        device = next(self.parameters()).device
        with torch.no_grad():
            found = self.flow(torch.full((1, *self.shape), 0.5, device=device))
        return [tuple(level.shape[1:]) for level in found]

    def draw(self, count: int, generator: torch.Generator, temperature: float = 1.0) -> Latents:
        """Draw latents of ``count`` pictures from the prior, times ``temperature``.

        Raises:
            UsageError: the temperature is negative.
        """
        if not 0 <= temperature < math.inf:
            raise UsageError(f"`temperature` is {temperature:g}; use 0 or more, 1 for the model's")
        device = next(self.parameters()).device
        drawn = [
            torch.randn(count, *shape, generator=generator, device=generator.device).to(device)
            for shape in self.latent_shapes()
        ]
        return Latents(tuple(drawn)) * temperature

    def sample(
        self, count: int, temperature: float = 1.0, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw pictures: float32 ``count C H W``, not clipped; see `to_pictures`.

        Args:
            count: number of pictures.
            temperature: factor on the latents; below 1, likelier and less varied pictures.
            generator: draws the latents; PyTorch's global generator if None.

        Raises:
            UsageError: the temperature is negative.
            ModelError: a number is not finite.
        """
        drawing = torch.default_generator if generator is None else generator
        return self.from_latents(self.draw(count, drawing, temperature))
