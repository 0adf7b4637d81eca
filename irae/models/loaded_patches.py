"""`LoadedPatchDensity`: a density of blocks, ready to find what is improbable in a photograph."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.flow.density.prior import standard_normal_log_prob
from irae.models.loaded_network import LoadedNetwork
from irae.models.networks.densities.patches import PatchDensity
from irae.runtime import generator

NOISE_KEY = 0xB10C  # of the random stream of dequantisation

WINDOWS = 8192
"""Windows that are computed together, 14 MB of pixels."""


class LoadedPatchDensity(LoadedNetwork[PatchDensity]):
    """A density of blocks with its spec."""

    @torch.inference_mode()
    def bits_per_dim(self, picture: Tensor, *, seed: int = 0) -> Tensor:
        """Return the bits per number of every block of a uint8 picture ``3 H W``: float32 ``N``.

        The blocks are side by side. The noise of dequantisation depends on the seed alone.
        """
        noise = torch.rand(picture.shape, generator=generator(seed, NOISE_KEY))
        y = self.network.dequantise(picture / 255, noise)[None].to(self.device)
        return self.network.to_bits_per_dim(self.network(y)).cpu()

    @torch.inference_mode()
    def round_trip(self, picture: Tensor) -> float:
        """Return the largest error of blocks → latents → blocks, in 8-bit units."""
        y = self.network.dequantise(picture / 255)[None].to(self.device)
        windows = self.network.windows(y, self.network.block)
        back = self.network.denormalise(self.network.normalise(windows)[0], windows)
        return float((back - windows).abs().max()) * 255

    @torch.inference_mode()
    def surprise(self, picture: Tensor, stride: int) -> tuple[Tensor, Tensor]:
        """Return how improbable the blocks around every pixel are, given what is around them.

        Args:
            picture: float32 ``3 H W`` in [0, 1].
            stride: distance of blocks in pixels, a divisor of the block's side.

        Returns:
            Two maps ``1 H W``, means over the blocks that hold a pixel: bits per number, and the
            mean square of the latent, which is 1 on average whatever the surroundings are.
        """
        network, (height, width) = self.network, picture.shape[1:]
        block, ring = network.block, network.ring
        # The padding makes every pixel a part of block / stride blocks in each direction.
        more = block - stride
        below, right = (-(side + 2 * more - block) % stride for side in (height, width))
        border = ring + more
        y = network.dequantise(picture)[None].to(self.device)
        y = _extended(y, (border, border + right, border, border + below))
        tall, wide = y.shape[2] - 2 * ring, y.shape[3] - 2 * ring
        per_row = (wide - block) // stride + 1
        rows = max(1, WINDOWS // per_row)
        parts = []
        for first in range(0, (tall - block) // stride + 1, rows):
            strip = y[:, :, first * stride : (first + rows - 1) * stride + network.side]
            latents, log_det = network.normalise(network.windows(strip, stride))
            bits = network.to_bits_per_dim(standard_normal_log_prob(latents) + log_det)
            parts.append(torch.stack([bits, latents.square().mean(1)]))
        scores = torch.cat(parts, 1)[:, None].expand(-1, block**2, -1)
        size = (tall, wide)
        total = F.fold(scores, size, block, stride=stride)
        count = F.fold(torch.ones_like(scores[:1]), size, block, stride=stride)
        maps = (total / count)[..., more : more + height, more : more + width].cpu()
        return maps[0], maps[1]


def _extended(y: Tensor, border: tuple[int, int, int, int]) -> Tensor:
    """Extend a picture by reflection, or by its last row where it is too small for that."""
    fits = max(border[:2]) < y.shape[3] and max(border[2:]) < y.shape[2]
    return F.pad(y, border, mode="reflect" if fits else "replicate")
