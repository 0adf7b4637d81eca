"""A coarse network, and one that refines its result with attention to known places.

Yu, Lin, Yang, Shen, Lu and Huang, "Generative image inpainting with contextual attention", CVPR
2018 (arXiv 1801.07892), sections 3 and 4 and appendix.

As in the paper and its published code: all layers of both networks and their inputs; the
attention's patches, strides, propagation and softmax; the discount of the coarse error. Like the
published code, and unlike equation 1, similarities divide by the length of the known patch alone.
Different:

- The adversarial loss (WGAN-GP) is left out.
- The refined result's error, which the training loop measures, is not discounted.
- Similarities are propagated within rows and columns, as the paper describes it; the published
  code goes from the end of one row to the start of the next.
- A place of the features is unknown if any pixel of its square is; the published code, whose holes
  are boxes, looks at one pixel of each square.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import Baseline, initialise_he

PRESETS: dict[str, dict[str, Any]] = {"default": {"width": 16}, "paper": {"width": 32}}

SOFTMAX_SCALE = 10.0
"""Factor of the similarities before the softmax."""

COARSE_WEIGHT = 1.2
"""Weight of the coarse result in the loss."""

DISCOUNT = 0.9
"""Factor of a pixel's weight in the loss for each step from the border of its hole."""

_DILATIONS = (2, 4, 8, 16)
_SHRINK = 2  # The attention compares features at half of their size.
_FARTHEST = 32  # Steps into a hole after which the weight no longer falls.


def patches(x: Tensor, side: int, stride: int) -> Tensor:
    """Cut square patches around every ``stride``-th place.

    Args:
        x: ``B C H W``, H and W multiples of ``stride``; zeros continue it.
        side: side of the patches.
        stride: distance of their centres.

    Returns:
        ``B C·side² H/stride W/stride``.
    """
    channels = x.shape[1]
    one_hot = torch.eye(side * side, dtype=x.dtype, device=x.device)
    kernel = one_hot.view(side * side, 1, side, side).repeat(channels, 1, 1, 1)
    return F.conv2d(x, kernel, stride=stride, padding=(side - stride + 1) // 2, groups=channels)


def paste(found: Tensor, side: int, stride: int) -> Tensor:
    """Add overlapping patches up, the transpose of `patches` where ``side - stride`` is even."""
    channels = found.shape[1] // (side * side)
    one_hot = torch.eye(side * side, dtype=found.dtype, device=found.device)
    kernel = one_hot.view(side * side, 1, side, side).repeat(channels, 1, 1, 1)
    return F.conv_transpose2d(
        found, kernel, stride=stride, padding=(side - stride) // 2, groups=channels
    )


def propagate(similarity: Tensor) -> Tensor:
    """Sum the similarities of places that are shifted alike, by one to the left and to the right.

    Equation 2: neighbours in the hole should come from neighbours in the known region.

    Args:
        similarity: ``B h w h w``, of known places (first) with places in the hole.
    """
    width = similarity.shape[2]
    padded = F.pad(similarity, (1, 1, 0, 0, 1, 1))
    shifted = [padded[:, :, i : i + width, :, i : i + width] for i in range(3)]
    return shifted[0] + shifted[1] + shifted[2]


class ContextualAttention(nn.Module):
    """Compose the features of a hole from patches of the known region (section 4.1).

    3×3 patches at half of the size are compared with known ones, whose length is divided by, the
    similarities are propagated, a softmax makes weights of them, and the weighted 4×4 patches of
    the full size are added up.
    """

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attend.

        Args:
            x: features ``B C H W``, H and W even.
            mask: ``B 1 H W``, 1 in the hole.

        Returns:
            ``B C H W``; zeros where no place is known.
        """
        small = x[:, :, ::_SHRINK, ::_SHRINK]
        batch, _, height, width = small.shape
        places = height * width
        foreground = patches(small, 3, 1).flatten(2)
        background = F.normalize(foreground, dim=1, eps=1e-4)
        similarity = background.transpose(1, 2) @ foreground
        similarity = similarity.view(batch, height, width, height, width)
        similarity = propagate(similarity)
        # The same from top to bottom.
        similarity = propagate(similarity.permute(0, 2, 1, 4, 3)).permute(0, 2, 1, 4, 3)
        similarity = similarity.reshape(batch, places, places)
        # A patch is known if no part of it lies in the hole.
        holes = F.max_pool2d(F.max_pool2d(mask.to(x), _SHRINK), 3, stride=1, padding=1)
        known = 1 - holes.view(batch, places, 1)
        weights = torch.softmax(SOFTMAX_SCALE * similarity * known, 1) * known
        side = 2 * _SHRINK
        values = patches(x, side, _SHRINK).flatten(2)
        composed = (values @ weights).view(batch, -1, height, width)
        return paste(composed, side, _SHRINK) / _SHRINK**2


def _convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation), nn.ELU(inplace=True)
    )


def _enlarging(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2), _convolution(inputs, outputs))


def _head(width: int) -> list[nn.Module]:
    """Half of the size twice, up to four times ``width`` channels: six layers."""
    return [
        _convolution(5, width, 5),
        _convolution(width, 2 * width, stride=2),
        _convolution(2 * width, 2 * width),
        _convolution(2 * width, 4 * width, stride=2),
        _convolution(4 * width, 4 * width),
        _convolution(4 * width, 4 * width),
    ]


def _narrow_head(width: int) -> list[nn.Module]:
    """The head of the refinement network's two branches, which is narrower at half of the size."""
    return [
        _convolution(5, width, 5),
        _convolution(width, width, stride=2),
        _convolution(width, 2 * width),
    ]


def _dilated(width: int) -> list[nn.Module]:
    return [_convolution(4 * width, 4 * width, dilation=dilation) for dilation in _DILATIONS]


def _tail(inputs: int, width: int) -> list[nn.Module]:
    """Back to the full size: seven layers, the last without activation."""
    return [
        _convolution(inputs, 4 * width),
        _convolution(4 * width, 4 * width),
        _enlarging(4 * width, 2 * width),
        _convolution(2 * width, 2 * width),
        _enlarging(2 * width, width),
        _convolution(width, width // 2),
        nn.Conv2d(width // 2, 3, 3, padding=1),
    ]


class ContextualAttentionNetwork(Baseline):
    """The paper's generator: a coarse network of 17 layers, and a refinement network.

    The refinement network has a branch with dilated convolutions and one with contextual
    attention. Both networks see the picture, a plane of ones and the mask. Inside, pictures are in
    [-1, 1], as in the paper. The loss has the spatially discounted error of the coarse result
    besides the training loop's error of the refined one.

    Args:
        width: number of channels of the first layer, even.

    Raises:
        ValueError: ``width`` is odd or below 2.
    """

    condition_channels = 1
    size_multiple = 8
    hole_fill = 0.5
    context = 128

    def __init__(self, *, width: int = 32) -> None:
        super().__init__()
        if width < 2 or width % 2:
            raise ValueError(f"width is {width}; use an even number from 2 on")
        self.coarse = nn.Sequential(*_head(width), *_dilated(width), *_tail(4 * width, width))
        self.dilated = nn.Sequential(
            *_narrow_head(width),
            _convolution(2 * width, 2 * width, stride=2),
            _convolution(2 * width, 4 * width),
            _convolution(4 * width, 4 * width),
            *_dilated(width),
        )
        self.before_attention = nn.Sequential(
            *_narrow_head(width),
            _convolution(2 * width, 4 * width, stride=2),
            _convolution(4 * width, 4 * width),
            nn.Conv2d(4 * width, 4 * width, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.attention = ContextualAttention()
        self.after_attention = nn.Sequential(
            _convolution(4 * width, 4 * width), _convolution(4 * width, 4 * width)
        )
        self.tail = nn.Sequential(*_tail(8 * width, width))
        initialise_he(self)

    def both(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the coarse and the refined picture, ``B 3 H W``, not clipped; see `forward`."""
        mask = torch.zeros_like(x[:, :1]) if condition is None else condition.to(x)
        given = (2 * x - 1) * (1 - mask)
        planes = (torch.ones_like(mask), mask)
        coarse = self.coarse(torch.cat((given, *planes), 1)).clamp(-1, 1)
        seen = torch.cat((torch.lerp(given, coarse.to(given), mask), *planes), 1)
        small = F.max_pool2d(mask, 4)
        attended = self.attention(self.before_attention(seen), small)
        merged = torch.cat((self.dilated(seen), self.after_attention(attended)), 1)
        refined = self.tail(merged).clamp(-1, 1)
        return (coarse + 1) / 2, (refined + 1) / 2

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Fill holes.

        Args:
            x: ``B 3 H W`` in [0, 1], H and W multiples of 8; the content of holes is ignored.
            condition: the mask ``B 1 H W``, 1 in the hole; None if there is none.

        Returns:
            ``B 3 H W`` in [0, 1]; known pixels change too.
        """
        return self.both(x, condition)[1]

    def forward_with_loss(
        self, x: Tensor, condition: Tensor | None, clean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fill holes, and measure the discounted error of the coarse result (section 3)."""
        coarse, refined = self.both(x, condition)
        mask = torch.zeros_like(x[:, :1]) if condition is None else condition.to(x)
        error = (coarse.float() - clean).abs() * discount(mask.float())
        return refined, COARSE_WEIGHT * error.mean()


def discount(mask: Tensor) -> Tensor:
    """Weigh pixels by 0.9 to the power of their distance to the border of their hole.

    Known pixels have weight 1. Distances are of squares (the larger of both coordinates' steps),
    and at most 32.

    Args:
        mask: ``B 1 H W``, 1 in the hole.

    Returns:
        ``B 1 H W``.
    """
    weight, inside = torch.ones_like(mask), mask
    for _ in range(_FARTHEST):
        weight = weight * (1 - (1 - DISCOUNT) * inside)
        inside = 1 - F.max_pool2d(1 - inside, 3, stride=1, padding=1)
    return weight
