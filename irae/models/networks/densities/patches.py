"""The density of small blocks of photographs, each given the pixels around it."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.bijection import Bijection, Chain
from irae.flow.density.prior import SplitPrior, standard_normal_log_prob
from irae.flow.density.spline import SplineCoupling
from irae.flow.mixing import Permutation
from irae.flow.subnets import PointwiseNetwork

PRESETS: dict[str, dict[str, Any]] = {"default": {}}

_FLOOR = 1 / 255
"""Least standard deviation of a ring by which its block is divided: flat skies are exactly flat."""

_OPPONENT = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))


class PatchDensity(nn.Module):
    """A conditional flow of blocks of pixels, given the ring of pixels around each.

    The mean of the ring is subtracted from the block and its standard deviation divided out. An
    orthonormal transform (cosines, gray and two colours) decorrelates the numbers. A network sees
    the ring, from which follow a mean and a scale of each number and then spline couplings (Durkan
    et al. 2019). The latent of a block is standard normal for every ring, and its log-density is
    exact. The sum over all blocks of a picture is a pseudo-likelihood (Besag 1975), not a
    likelihood, since each block is given its neighbours.

    Args:
        block: side of the block in pixels.
        ring: width of the ring.
        width: hidden channels of the network that sees the ring.
        context: numbers by which it describes the ring.
        depth: residual blocks of that network.
        couplings: number of couplings.
        coupling_width: hidden channels of their subnets.
        bins: bins of the splines.

    Attributes:
        channels: 3; gray pictures have three equal channels.
        bits: bits of each number.

    Raises:
        ValueError: a number is out of range.
    """

    channels = 3
    bits = 8

    def __init__(
        self,
        *,
        block: int = 4,
        ring: int = 4,
        width: int = 384,
        context: int = 192,
        depth: int = 1,
        couplings: int = 2,
        coupling_width: int = 128,
        bins: int = 8,
    ) -> None:
        super().__init__()
        if min(block, ring, width, context, couplings, coupling_width) < 1 or block % 2:
            raise ValueError(
                f"block {block} must be even, and ring {ring}, width {width}, context {context}, "
                f"couplings {couplings} and coupling_width {coupling_width} at least 1"
            )
        self.block, self.ring, self.side = block, ring, block + 2 * ring
        inside = torch.zeros(3, self.side, self.side, dtype=torch.bool)
        inside[:, ring : ring + block, ring : ring + block] = True
        places = torch.arange(inside.numel())
        self._inner: Tensor
        self._outer: Tensor
        self._basis: Tensor
        # Rows of a window that belong to the block and to the ring; they follow from the options.
        self.register_buffer("_inner", places[inside.flatten()], persistent=False)
        self.register_buffer("_outer", places[~inside.flatten()], persistent=False)
        self.register_buffer("_basis", _basis(block), persistent=False)
        numbers = self.numbers
        half = numbers // 2
        self.context = PointwiseNetwork(len(self._outer) + 4, context, width, depth, zero=False)
        self.prior = SplitPrior(PointwiseNetwork(context, 2 * numbers, context, 0))
        swap = [*range(half, numbers), *range(half)]
        steps: list[Bijection] = []
        for _ in range(couplings):
            outputs = SplineCoupling.outputs(half, bins)
            network = PointwiseNetwork(half + context, outputs, coupling_width, 0)
            steps += [SplineCoupling(network, bins, reach=5.0), Permutation(swap)]
        self.flow = Chain(steps)

    @property
    def numbers(self) -> int:
        """Numbers of a block: three for each pixel."""
        return 3 * self.block**2

    def dequantise(self, pixels: Tensor, noise: Tensor | float = 0.5) -> Tensor:
        """Map pixels in [0, 1] to (0, 1) by (255 x + noise) / 256; the noise is in [0, 1)."""
        y: Tensor = (pixels * 255 + noise) / 256
        return y

    def windows(self, y: Tensor, stride: int) -> Tensor:
        """Cut dequantised pictures ``B 3 H W`` into windows, a block with its ring each.

        Returns:
            ``N 3·side²``: picture by picture, row by row.
        """
        found = F.unfold(y, self.side, stride=stride)
        return found.transpose(1, 2).reshape(-1, found.shape[1])

    def _given(self, windows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the blocks, the mean and scale of their rings, and the description of these."""
        ring = windows[:, self._outer].reshape(len(windows), 3, -1)
        mean = ring.mean(2, keepdim=True)
        scale = ((ring - mean).square().mean((1, 2), keepdim=True) + _FLOOR**2).sqrt()
        seen = [((ring - mean) / scale).flatten(1), 2 * mean[..., 0] - 1, scale[..., 0].log() / 3]
        context = self.context(torch.cat(seen, 1)[..., None, None])
        return windows[:, self._inner].reshape(len(windows), 3, -1), mean, scale, context

    def normalise(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the latents ``N numbers`` of the blocks of windows, and log abs det ``N``."""
        block, mean, scale, context = self._given(windows)
        x = ((block - mean) / scale).flatten(1) @ self._basis.T
        x, of_prior = self.prior.normalise(x[..., None, None], context)
        z, of_flow = self.flow.forward_and_log_det(x, context)
        of_scale = -self.numbers * scale.flatten().log()
        return z.flatten(1), of_scale + of_prior + of_flow

    def denormalise(self, latents: Tensor, windows: Tensor) -> Tensor:
        """Return windows whose blocks have these latents, given the rings of ``windows``."""
        _, mean, scale, context = self._given(windows)
        x = self.flow.inverse(latents[..., None, None], context)
        x = self.prior.denormalise(x, context).flatten(1) @ self._basis
        block = x.reshape(len(x), 3, -1) * scale + mean
        result = windows.clone()
        result[:, self._inner] = block.flatten(1)
        return result

    def log_prob(self, y: Tensor) -> Tensor:
        """Return the log-density, in nats, of every block given its ring.

        Args:
            y: dequantised pictures ``B 3 H W``; the blocks are side by side.

        Returns:
            ``N``, in the order of `windows`.
        """
        latents, log_det = self.normalise(self.windows(y, self.block))
        return standard_normal_log_prob(latents) + log_det

    def forward(self, y: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return `log_prob`; there is no condition, it must be None."""
        del condition
        return self.log_prob(y)

    def to_bits_per_dim(self, log_prob: Tensor) -> Tensor:
        """Convert log-densities of blocks to bits per number."""
        return self.bits - log_prob / (self.numbers * math.log(2))


def _basis(block: int) -> Tensor:
    """Return an orthonormal matrix: cosines in both directions, gray and two colours.

    Its rows are ordered by frequency, those at even places first, so that each half of the numbers
    has all frequencies.
    """
    place = torch.arange(block, dtype=torch.float64)
    cosines = torch.cos(math.pi * (place + 0.5) * place[:, None] / block)
    cosines = cosines / cosines.norm(dim=1, keepdim=True)
    colours = torch.tensor(_OPPONENT, dtype=torch.float64)
    colours = colours / colours.norm(dim=1, keepdim=True)
    rows = torch.kron(colours, torch.kron(cosines, cosines)).float()
    frequency = (place[:, None] + place).flatten().repeat(3)
    order = frequency.argsort(stable=True)
    return rows[torch.cat([order[::2], order[1::2]])]
