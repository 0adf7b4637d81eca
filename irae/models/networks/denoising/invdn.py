"""InvDN: an invertible denoiser that discards the noise with the latent.

Liu, Qin, Anwar, Ji, Kim, Caldwell and Gedeon, "Invertible denoising network: a light solution for
real noise removal", CVPR 2021 (arXiv 2104.10546), section 3.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.squeeze import HAAR
from irae.models.networks.base import Baseline
from irae.runtime import constant, generator

# Section 4: two halvings with eight invertible blocks each, 2.64 M parameters.
PRESETS: dict[str, dict[str, Any]] = {"default": {"width": 64, "blocks": 8, "halvings": 2}}

_LATENT_SEED = 0
_MASK32 = 0xFFFFFFFF


def haar_split(x: Tensor) -> Tensor:
    """Split ``B C H W`` into ``B 4C H/2 W/2``: the means of all channels, then the differences."""
    matrix = constant(HAAR, x) / 4
    batch, channels, height, width = x.shape
    pixels = F.pixel_unshuffle(x, 2).view(batch, channels, 4, height // 2, width // 2)
    bands = torch.einsum("kp,bcphw->bkchw", matrix, pixels)
    return bands.reshape(batch, 4 * channels, height // 2, width // 2)


def haar_merge(bands: Tensor) -> Tensor:
    """Invert `haar_split`."""
    matrix = constant(HAAR, bands)
    batch, channels, height, width = bands.shape
    split = bands.view(batch, 4, channels // 4, height, width)
    pixels = torch.einsum("kp,bkchw->bcphw", matrix, split)
    return F.pixel_shuffle(pixels.reshape(batch, channels, height, width), 2)


def _mixed(key: Tensor) -> Tensor:
    """Hash int64 numbers below 2³²; the constants are from github.com/skeeto/hash-prospector."""
    key = ((key ^ (key >> 16)) * 0x21F0AAAD) & _MASK32
    key = ((key ^ (key >> 15)) * 0x735A2D97) & _MASK32
    return key ^ (key >> 15)


def _normal_by_place(seed: int, like: Tensor) -> Tensor:
    """Draw from N(0, 1) as a function of the seed, the channel, the row and the column alone.

    Args:
        seed: seed below 2³².
        like: tensor ``… C h w`` with the wanted size.

    Returns:
        ``C h w``, float32, on the device of ``like``.
    """
    # A generator's numbers would depend on their count, and no other runtime has it.
    key = torch.full((), seed, dtype=torch.int64, device=like.device)
    for axis in (-3, -2, -1):
        place = torch.arange(like.shape[axis], device=like.device)
        key = _mixed(_mixed(key) ^ _mixed(place).view(-1, *[1] * (-1 - axis)))
    # Box and Muller 1958; the first number is never 0, whose logarithm is infinite.
    first, second = ((_mixed(key ^ tag) + 0.5) / 2.0**32 for tag in (0x68E31DA4, 0xB5297A4D))
    return (-2 * first.log()).sqrt() * (2 * math.pi * second).cos()


class _Subnet(nn.Module):
    """Three 3×3 convolutions, the last of which also takes the input; initialised to return 0."""

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.conv3 = nn.Conv2d(width + inputs, outputs, 3, padding=1)
        for layer in (self.conv1, self.conv2, self.conv3):
            nn.init.xavier_normal_(layer.weight, gain=0.1)
            nn.init.zeros_(layer.bias) if layer.bias is not None else None
        nn.init.zeros_(self.conv3.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.conv1(x), 0.2)
        h = F.leaky_relu(self.conv2(h), 0.2)
        result: Tensor = self.conv3(torch.cat((h, x), 1))
        return result


class _Block(nn.Module):
    """A block of section 3: shifts the small picture, then scales and shifts the rest by it."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        rest = channels - 3
        self.shift_small = _Subnet(rest, 3, width)
        self.scale_rest = _Subnet(3, rest, width)
        self.shift_rest = _Subnet(3, rest, width)

    def _log_scale(self, small: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.scale_rest(small)) - 1

    def forward(self, x: Tensor) -> Tensor:
        small, rest = x[:, :3], x[:, 3:]
        small = small + self.shift_small(rest)
        rest = rest * self._log_scale(small).exp() + self.shift_rest(small)
        return torch.cat((small, rest), 1)

    def inverse(self, z: Tensor) -> Tensor:
        small, rest = z[:, :3], z[:, 3:]
        rest = (rest - self.shift_rest(small)) * (-self._log_scale(small)).exp()
        small = small - self.shift_small(rest)
        return torch.cat((small, rest), 1)


def _blocks(level: nn.Module) -> list[_Block]:
    return [block for block in level.children() if isinstance(block, _Block)]


class InvDN(Baseline):
    """Splits a picture into a small clean picture and a latent, redraws the latent, and inverts.

    The latent holds the noise together with the fine detail. It is replaced by one drawn from
    N(0, I) (section 3), so the network is invertible, but restoring is not. In training the seed
    is the number of calls so far, which is stored with the weights and makes a resumed run equal
    to an uninterrupted one. In evaluation the latent at a pixel is a function of its position
    alone: the same for pictures of every size, for each picture of a batch, and in a file of
    `irae.models.checkpoints.onnx_export`.

    Args:
        width: number of channels inside the blocks' subnets.
        blocks: number of invertible blocks after each Haar transform.
        halvings: number of Haar transforms, each of which halves the size.
    """

    # A training step is not the same each time, so that it cannot be recorded.
    draws_noise = True

    def __init__(self, *, width: int = 64, blocks: int = 8, halvings: int = 2) -> None:
        super().__init__()
        self.size_multiple = 2**halvings
        self.levels = nn.ModuleList(
            nn.ModuleList(_Block(3 * 4 ** (level + 1), width) for _ in range(blocks))
            for level in range(halvings)
        )
        self.calls: Tensor
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        # The same number on the host: reading it from the device would wait for the device.
        self._calls: int | None = 0
        self.register_load_state_dict_post_hook(_forget_calls)  # type: ignore[no-untyped-call]

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split ``B 3 H W`` into a small picture ``B 3 h w`` and the latent ``B … h w``.

        h and w are H and W divided by ``size_multiple``.
        """
        h = x
        for level in self.levels:
            h = haar_split(h)
            for block in _blocks(level):
                h = block(h)
        return h[:, :3], h[:, 3:]

    def decode(self, small: Tensor, latent: Tensor) -> Tensor:
        """Invert `encode`: return ``B 3 H W``."""
        h = torch.cat((small, latent), 1)
        for level in reversed(self.levels):
            for block in reversed(_blocks(level)):
                h = block.inverse(h)
            h = haar_merge(h)
        return h

    def draw_latent(self, like: Tensor) -> Tensor:
        """Draw a latent from N(0, I) with the shape, dtype and device of ``like``; see `InvDN`."""
        if self.training:
            made = int(self.calls) if self._calls is None else self._calls
            random = generator(_LATENT_SEED, made, device=like.device)
            self._calls = made + 1
            self.calls.fill_(self._calls)
            return torch.randn(like.shape, generator=random, device=like.device, dtype=like.dtype)
        return _normal_by_place(_LATENT_SEED, like).to(like).expand_as(like)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map noisy ``B 3 H W`` in [0, 1] to restored, of the same shape, not clipped."""
        small, latent = self.encode(x)
        return self.decode(small, self.draw_latent(latent))

    def forward_with_loss(
        self, x: Tensor, condition: Tensor | None, clean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Restore, and compare the small picture with the downscaled clean one (squared error)."""
        small, latent = self.encode(x)
        shrunk = F.interpolate(clean, size=small.shape[2:], mode="bicubic", antialias=True)
        return self.decode(small, self.draw_latent(latent)), F.mse_loss(small.float(), shrunk)


def _forget_calls(network: InvDN, keys: object) -> None:
    """Have the number of calls read anew once weights have been loaded."""
    del keys
    network._calls = None
