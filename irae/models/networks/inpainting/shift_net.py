"""Shift-Net: a U-Net that copies features of known places into the hole.

Yan, Li, Li, Zuo and Shan, "Shift-Net: image inpainting via deep feature rearrangement", ECCV 2018
(arXiv 1801.09392), section 3 and appendix.

As in the paper and its published code: kernels, strides, widths, normalisations and skip
connections; the shift of activated features at 32×32 in the preset ``paper``; which places of the
features belong to the hole; the guidance loss on activated features and its weight. Different:

- The adversarial loss is left out.
- The guidance loss is a mean over the hole's features, in place of a sum.
- The hole is filled with mid-gray, in place of the mean colour of ImageNet.
- The innermost result has a learned scale and shift; the published code leaves it as it is.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import Baseline, initialise_normal
from irae.models.networks.inpainting.feature_mask import feature_mask

PRESETS: dict[str, dict[str, Any]] = {
    "default": {"width": 24, "depth": 5, "shift_level": 2},
    "small": {"width": 24, "depth": 5, "shift_level": 2},
    # For pictures of 256×256: the shift is at 32×32.
    "paper": {"width": 64, "depth": 8, "shift_level": 3},
}

GUIDANCE_WEIGHT = 0.01
"""Weight of the guidance loss."""

_WIDEST = 8


def shift(decoded: Tensor, encoded: Tensor, mask: Tensor) -> Tensor:
    """Move the encoder's feature of the most similar known place to each place of the hole.

    Equations 2 and 3: the similarity is the cosine of the decoder's feature in the hole and the
    encoder's feature outside of it, and the best place is taken alone.

    Args:
        decoded: features of the decoder ``B C H W``.
        encoded: features of the encoder ``B C H W``.
        mask: ``B 1 H W``, 1 in the hole.

    Returns:
        ``B C H W``, zero outside the hole and where no place is known.
    """
    hole = mask.flatten(2)
    query, key = (F.normalize(each.flatten(2), dim=1, eps=1e-4) for each in (decoded, encoded))
    # Rows are places of the hole; known places have cosines from -1 to 1, others below.
    cosine = query.transpose(1, 2) @ key - 3 * hole
    best = cosine.argmax(2)
    source = encoded.flatten(2)
    moved = source.gather(2, best[:, None].expand(-1, source.shape[1], -1))
    any_known = (hole < 1).any(2, keepdim=True)
    return (moved * hole * any_known).view_as(encoded)


class _Norm(nn.Module):
    """Instance normalisation with a learned scale and shift for each channel.

    Args:
        channels: number of channels.
        normalise: whether to normalise; without, only the scale and the shift are applied.
    """

    def __init__(self, channels: int, normalise: bool = True) -> None:
        super().__init__()
        self.normalise = normalise
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return (F.instance_norm(x) if self.normalise else x) * self.scale + self.shift


class ShiftNet(Baseline):
    """The paper's network: 4×4 convolutions of stride 2, skip connections, one shift layer.

    Instance normalisation follows all convolutions except the first and the last. The innermost
    result, which is one pixel at the paper's size, is only scaled and shifted: normalised, it would
    be a constant. The shift layer lies in the decoder at the size of the encoder's
    ``shift_level``-th result, behind the activation. Inside, pictures are in [-1, 1].

    Args:
        width: number of channels after the first convolution; doubled up to eightfold.
        depth: number of halvings.
        shift_level: number of halvings at which features are shifted, below ``depth``.

    Raises:
        ValueError: ``depth`` is below 2, or ``shift_level`` is not from 1 to ``depth`` - 1.
    """

    condition_channels = 1
    hole_fill = 0.5
    context = 128

    def __init__(self, *, width: int = 64, depth: int = 8, shift_level: int = 3) -> None:
        super().__init__()
        if depth < 2 or not 1 <= shift_level < depth:
            raise ValueError(
                f"depth is {depth} and shift_level is {shift_level}; use a depth of at least 2, "
                "and a level from 1 to the depth - 1"
            )
        self.size_multiple = 2**depth
        self.shift_level = shift_level
        widths = [3, *(width * min(2**level, _WIDEST) for level in range(depth))]
        self.encoder = nn.ModuleList(
            nn.Conv2d(widths[level], widths[level + 1], 4, 2, 1) for level in range(depth)
        )
        self.decoder = nn.ModuleList(
            nn.ConvTranspose2d(self._inputs(widths, level), widths[level - 1], 4, 2, 1)
            for level in range(depth, 0, -1)
        )
        self.encoder_norms = nn.ModuleList(
            _Norm(widths[level], normalise=level < depth) for level in range(2, depth + 1)
        )
        self.decoder_norms = nn.ModuleList(
            _Norm(widths[level - 1]) for level in range(depth, 1, -1)
        )
        initialise_normal(self)

    def _inputs(self, widths: list[int], level: int) -> int:
        """Channels of the decoder's input at a level: one part, two, or three with the shift."""
        parts = 1 if level == len(widths) - 1 else 2
        return widths[level] * (parts + (level == self.shift_level))

    def encode(self, x: Tensor, levels: int) -> list[Tensor]:
        """Return the encoder's results after 1 to ``levels`` halvings, before activation."""
        found: list[Tensor] = []
        h = x
        for level, layer in enumerate(self.encoder[:levels]):
            h = layer(F.leaky_relu(h, 0.2) if level else h)
            if level:
                h = self.encoder_norms[level - 1](h)
            found.append(h)
        return found

    def features(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the filled picture in [-1, 1], the guided features, and their mask."""
        mask = torch.zeros_like(x[:, :1]) if condition is None else condition.to(x)
        seen = self.encode((2 * x - 1) * (1 - mask), len(self.encoder))
        small = feature_mask(mask, self.shift_level)
        h = seen.pop()
        guided = h
        for number, layer in enumerate(self.decoder):
            level = len(self.decoder) - number
            if number:
                parts = [F.relu(h), F.relu(seen.pop())]
                if level == self.shift_level:
                    guided = parts[0]
                    parts.append(shift(parts[0], parts[1], small))
                h = torch.cat(parts, 1)
            else:
                h = F.relu(h)
            h = layer(h)
            if level > 1:
                h = self.decoder_norms[number](h)
        return torch.tanh(h), guided, small

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Fill holes.

        Args:
            x: ``B 3 H W`` in [0, 1], H and W multiples of ``size_multiple``; the content of holes
                is ignored.
            condition: the mask ``B 1 H W``, 1 in the hole; None if there is none.

        Returns:
            ``B 3 H W`` in [0, 1]; known pixels change too.
        """
        return (self.features(x, condition)[0] + 1) / 2

    def forward_with_loss(
        self, x: Tensor, condition: Tensor | None, clean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fill holes, and measure the guidance loss (equation 5).

        In the hole, the decoder's features should be those that the encoder has of the clean
        picture.
        """
        filled, guided, small = self.features(x, condition)
        with torch.no_grad():
            wanted = F.relu(self.encode(2 * clean - 1, self.shift_level)[-1])
        error = (guided.float() - wanted.float()).square() * small
        count = small.sum().clamp_min(1.0) * guided.shape[1]
        return (filled + 1) / 2, GUIDANCE_WEIGHT * error.sum() / count
