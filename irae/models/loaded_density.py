"""`LoadedDensity`: a density ready to score and to sample, with the spec from its file."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from irae.models.density import Density, Latents
from irae.models.loaded_network import LoadedNetwork
from irae.runtime import generator

BATCH = 250
"""Pictures that are computed together."""

NOISE_KEY = 0xD15C  # of the random stream of dequantisation


class LoadedDensity(LoadedNetwork[Density]):
    """A density with its spec."""

    def _parts(self, count: int) -> list[slice]:
        return [slice(first, first + BATCH) for first in range(0, count, BATCH)]

    @torch.inference_mode()
    def bits_per_dim(
        self,
        pictures: Tensor,
        *,
        draws: int = 1,
        seed: int = 0,
        advance: Callable[[int], object] | None = None,
    ) -> Tensor:
        """Return the bits per dimension of uint8 pictures ``N C H W``: float32 ``N`` on the CPU.

        The noise of dequantisation depends on the seed and the place of the picture alone.

        Args:
            pictures: any number of pictures of the model's shape.
            draws: draws of the noise that are averaged.
            seed: seed of the noise.
            advance: called with the number of pictures just computed.
        """
        found = []
        for rows in self._parts(len(pictures)):
            part = pictures[rows].to(self.device)
            random = generator(seed, NOISE_KEY, rows.start)
            found.append(self.network.bits_per_dim(part, random, draws).cpu())
            if advance is not None:
                advance(len(part))
        return torch.cat(found) if found else torch.zeros(0)

    @torch.inference_mode()
    def latents(self, pictures: Tensor) -> Latents:
        """Return the latents of uint8 pictures, at the middle of each quantisation interval."""
        return self.network.latents(self.network.dequantise(pictures.to(self.device)))

    @torch.inference_mode()
    def pictures(self, latents: Latents) -> Tensor:
        """Return the pictures of latents: uint8 ``N C H W`` on the CPU.

        Raises:
            ModelError: a number is not finite.
        """
        rows = [latents[part] for part in self._parts(len(latents))]
        return torch.cat(
            [self.network.to_pictures(self.network.from_latents(part)).cpu() for part in rows]
        )

    @torch.inference_mode()
    def sample(self, count: int, *, temperature: float = 1.0, seed: int = 0) -> Tensor:
        """Draw pictures: uint8 ``count C H W``.

        Raises:
            UsageError: the temperature is negative.
            ModelError: a number is not finite.
        """
        return self.pictures(self.network.draw(count, generator(seed), temperature))

    @torch.inference_mode()
    def round_trip(self, pictures: Tensor) -> float:
        """Return the largest error of pictures → latents → pictures, in 8-bit units.

        It is measured before rounding to 8 bits, in the model's precision.
        """
        y = self.network.dequantise(pictures.to(self.device))
        back = self.network.flow.inverse(self.network.latents(y).levels)
        return float((back - y).abs().max()) * 255
