"""Partial convolutions in a U-Net, for irregular holes.

Liu, Reda, Shih, Wang, Tao and Catanzaro, "Image inpainting for irregular holes using partial
convolutions", ECCV 2018 (arXiv 1804.07723), section 3 and appendix.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import Baseline, initialise_he

PRESETS: dict[str, dict[str, Any]] = {
    # For small pictures and patches of 64: five halvings instead of the paper's eight.
    "default": {"depth": 5},
    # As in the appendix, for 512×512.
    "paper": {"depth": 8},
}

# Kernels and widths of the encoder (appendix); both are constant from the fourth layer on.
_KERNELS = (7, 5, 5)
_WIDEST = 8


class PartialConv2d(nn.Module):
    """A convolution over valid pixels only (section 3.1, equations 1 and 2).

    The sum over the valid inputs is scaled by the inverse of their share, so that it does not
    depend on the content of a hole; without a valid input the output is 0. Pixels beyond the
    border are invalid. An output is valid if one of its inputs is.

    Args:
        inputs: number of input channels, all parts together.
        outputs: number of output channels.
        kernel: side of the filters, odd.
        stride: stride of the filters.
        bias: add a bias to valid outputs.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, bias: bool = True
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inputs, outputs, kernel, stride, padding=kernel // 2, bias=False
        )
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1)) if bias else None
        self.register_buffer("window", torch.ones(1, 1, kernel, kernel), persistent=False)

    def forward(self, *parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Convolve concatenated features, each part with its own mask.

        Args:
            parts: features ``B C H W`` and their validity ``B 1 H W``, 1 for valid and 0 else.

        Returns:
            Features ``B outputs h w`` and their validity ``B 1 h w``.
        """
        counts = [features.shape[1] for features, _ in parts]
        valid = sum(
            (mask * count for (_, mask), count in zip(parts, counts, strict=True)),
            torch.zeros((), device=parts[0][1].device),
        )
        stride, padding = self.convolution.stride, self.convolution.padding
        window = self.get_buffer("window").to(valid.dtype)
        known = F.conv2d(valid / sum(counts), window, stride=stride, padding=padding)
        # Selected, not multiplied: a hole may contain anything, and 0 × inf is not 0.
        masked = [torch.where(mask > 0, features, 0.0) for features, mask in parts]
        h = self.convolution(torch.cat(masked, 1)) * (window.numel() / known.clamp_min(1e-6))
        if self.bias is not None:
            h = h + self.bias
        reached = known > 1e-6
        return torch.where(reached, h, 0.0), reached.to(valid.dtype)


class PConvUNet(Baseline):
    """The paper's network: strided encoder, nearest-neighbour upsampling, skip connections.

    The encoder has ReLUs, and batch normalisation from the second layer on. The decoder has leaky
    ReLUs of slope 0.2 and batch normalisation, except in its last layer, which also takes the
    picture and its mask. Weights are initialised as by He et al. (section 4). Only the loss
    differs from the paper: the training loop uses a pixel loss without perceptual, style and total
    variation terms.

    Args:
        width: number of channels after the first layer; each layer doubles it, up to eightfold.
        depth: number of halvings; pictures are padded to multiples of 2 to this power.
        hole_fill: value in the masked region, which the network ignores.
    """

    condition_channels = 1

    def __init__(self, *, width: int = 64, depth: int = 5, hole_fill: float | None = 0.0) -> None:
        super().__init__()
        if depth < 2:
            raise ValueError(f"depth is {depth}; use at least 2")
        self.hole_fill = hole_fill
        self.size_multiple = 2**depth
        widths = [3, *(width * min(2**level, _WIDEST) for level in range(depth))]
        self.encoder = nn.ModuleList(
            PartialConv2d(
                widths[level],
                widths[level + 1],
                _KERNELS[level] if level < len(_KERNELS) else 3,
                stride=2,
                bias=level == 0,
            )
            for level in range(depth)
        )
        self.encoder_norms = nn.ModuleList(
            nn.BatchNorm2d(each) if level else nn.Identity()
            for level, each in enumerate(widths[1:])
        )
        # From the deepest level up: features from below, and the encoder's of this size.
        self.decoder = nn.ModuleList(
            PartialConv2d(widths[level + 1] + widths[level], widths[level], 3, bias=level == 0)
            for level in reversed(range(depth))
        )
        self.decoder_norms = nn.ModuleList(
            nn.BatchNorm2d(widths[level]) if level else nn.Identity()
            for level in reversed(range(depth))
        )
        initialise_he(self, slope=0.2)
        for layer in self.encoder:
            initialise_he(layer)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Fill holes.

        Args:
            x: ``B 3 H W`` in [0, 1], H and W multiples of ``size_multiple``; the content of the
                masked region is ignored.
            condition: the mask ``B 1 H W``, 1 in the masked region; None if there is none.

        Returns:
            ``B 3 H W``, not clipped; the network also changes known pixels.
        """
        valid = torch.ones_like(x[:, :1]) if condition is None else 1 - condition.to(x)
        seen = [(x, valid)]
        h: Tensor
        for layer, norm in zip(self.encoder, self.encoder_norms, strict=True):
            h, valid = layer(seen[-1])
            seen.append((F.relu(norm(h)), valid))
        h, valid = seen.pop()
        for layer, norm in zip(self.decoder, self.decoder_norms, strict=True):
            h, valid = (F.interpolate(each, scale_factor=2.0) for each in (h, valid))
            h, valid = layer((h, valid), seen.pop())
            if seen:
                h = F.leaky_relu(norm(h), 0.2)
        return h
