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
    # Small pictures and patches of 64: five halvings. A stated shortening of the paper's eight.
    "default": {"depth": 5},
    # The appendix, for 512×512.
    "paper": {"depth": 8},
}

# Appendix: kernels and widths of the encoder; from the fourth layer on they stay.
_KERNELS = (7, 5, 5)
_WIDEST = 8


class PartialConv2d(nn.Module):
    """A convolution that looks at valid pixels only (section 3.1, equations 1 and 2).

    The sum over the valid inputs is scaled up by how many are missing, so that it does not depend
    on what a hole contains; where not one is valid, the output is 0. Beyond the border nothing is
    valid. An output is valid as soon as one of its inputs was.

    Args:
        inputs: channels that enter, all parts together.
        outputs: channels that leave.
        kernel: side of the filters, odd.
        stride: step of the filters.
        bias: add one to valid outputs.
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
        """Convolve features, each with its own mask, as one.

        Args:
            parts: features ``B C H W`` and their validity ``B 1 H W``, 1 valid and 0 not.

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
        # Masked by selection: a hole may hold anything, and 0 × inf is not 0.
        masked = [torch.where(mask > 0, features, 0.0) for features, mask in parts]
        h = self.convolution(torch.cat(masked, 1)) * (window.numel() / known.clamp_min(1e-6))
        if self.bias is not None:
            h = h + self.bias
        reached = known > 1e-6
        return torch.where(reached, h, 0.0), reached.to(valid.dtype)


class PConvUNet(Baseline):
    """The paper's network: eight halvings by strides, nearest-neighbour doublings, skips.

    Encoder: ReLU, and batch normalisation from the second layer on; decoder: leaky ReLU of slope
    0.2 and batch normalisation, the last layer bare, which also sees the picture and its mask.
    He et al.'s initialisation (section 4). Only the loss differs from the paper (a pixel loss;
    no features of a classifier, no style, no total variation): that is the training loop's.

    Args:
        width: channels after the first layer, doubled by each until eightfold.
        depth: number of halvings; pictures are padded to multiples of 2 to its power.
        hole_fill: value in the holes, which the network does not look at.
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
        # From the deepest level up: what comes from below and what was seen at this size.
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
            x: ``B 3 H W`` in [0, 1], H and W multiples of ``size_multiple``; what the holes
                contain is not looked at.
            condition: the mask ``B 1 H W``, 1 in the holes; None for no holes.

        Returns:
            ``B 3 H W``, not clipped; known pixels are the network's too, not the input's.
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
