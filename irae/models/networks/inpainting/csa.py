"""Coherent semantic attention: a rough network, and one whose attention fills in raster order.

Liu, Jiang, Xiao and Yang, "Coherent semantic attention for image inpainting", ICCV 2019
(arXiv 1905.12384), section 3; widths and kernels are those of the published code.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.base import Baseline, initialise_normal

PRESETS: dict[str, dict[str, Any]] = {
    "default": {"width": 16, "depth": 5, "attention_level": 2},
    "small": {"width": 16, "depth": 5, "attention_level": 2},
    # For pictures of 256×256: the attention is at 32×32.
    "paper": {"width": 64, "depth": 8, "attention_level": 3},
}

CONSISTENCY_WEIGHT = 0.01
"""Weight of the consistency loss."""

_WIDEST = 8
_LEAST = 1e-4  # Least similarity to the known place, so that the weights have a sum.


def coherent_attention(x: Tensor, mask: Tensor) -> Tensor:
    """Compose the features of a hole, place by place in raster order (section 3.2).

    Each place of the hole is matched with the known place of the highest cosine, ``Dmax``. Its new
    feature is the mean of that place's feature, weighted by ``Dmax``, and of the new feature of the
    hole's place before it, weighted by its cosine with the place's own feature, ``Dad``. The first
    place takes the known feature alone. Cosines below zero, which the paper does not treat, weigh
    nothing.

    Args:
        x: features ``B C H W``.
        mask: ``B 1 H W``, 1 in the hole.

    Returns:
        ``B C H W``, equal to ``x`` outside the hole, and everywhere if no place is known.
    """
    hole = mask.flatten(2)
    places = x.flatten(2)
    own = F.normalize(places, dim=1, eps=1e-4)
    # Rows are all places; known places have cosines from -1 to 1, others below.
    similarity, source = (own.transpose(1, 2) @ own - 3 * hole).max(2)
    known = places.gather(2, source[:, None].expand(-1, places.shape[1], -1))
    sequence = own, known, similarity[:, None].clamp_min(_LEAST), hole
    composed = _in_raster_order(*(each.permute(2, 0, 1) for each in sequence)).permute(1, 2, 0)
    any_known = (hole < 1).any(2, keepdim=True)
    return torch.where((hole > 0) & any_known, composed, places).view_as(x)


def _in_raster_order(own: Tensor, known: Tensor, similarity: Tensor, hole: Tensor) -> Tensor:
    """Return the new features ``N B C`` after each of N places.

    Args:
        own: features of length 1, ``N B C``.
        known: features of the most similar known places, ``N B C``.
        similarity: cosines with them, ``N B 1``, positive.
        hole: ``N B 1``, 1 in the hole.
    """
    # Before the first place, the zero vector is similar to nothing.
    state = torch.zeros_like(known[0])
    if torch.compiler.is_exporting():
        # The number of places depends on the picture: an operator of ONNX, in place of the loop.
        from torch._higher_order_ops.scan import scan

        _, found = scan(_step, state, (own, known, similarity, hole))
        exported: Tensor = found
        return exported
    composed = []
    for each in zip(own, known, similarity, hole, strict=True):
        state, _ = _step(state, each)
        composed.append(state)
    return torch.stack(composed)


def _step(state: Tensor, given: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    own, known, similarity, hole = given
    length = state.square().sum(1, keepdim=True).clamp_min(1e-8).sqrt()
    adjacent = ((own * state).sum(1, keepdim=True) / length).clamp_min(0)
    share = adjacent / (adjacent + similarity)
    state = torch.where(hole > 0, share * state + (1 - share) * known, state)
    return state, state.clone()


def _norm(channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=True)


class _RoughNetwork(nn.Module):
    """A U-Net of 4×4 convolutions of stride 2, from ``B 3 H W`` in [-1, 1] to the same.

    Args:
        widths: number of channels after each halving.
    """

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        depth = len(widths)
        inputs = [3, *widths]
        self.down = nn.ModuleList(
            nn.Conv2d(inputs[i], inputs[i + 1], 4, 2, 1) for i in range(depth)
        )
        # The first result is not normalised, nor is the last, which may be one pixel.
        self.down_norms = nn.ModuleList(_norm(widths[i]) for i in range(1, depth - 1))
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(widths[i] * (1 if i == depth - 1 else 2), inputs[i], 4, 2, 1)
            for i in reversed(range(depth))
        )
        self.up_norms = nn.ModuleList(_norm(inputs[i]) for i in range(depth - 1, 0, -1))

    def forward(self, x: Tensor) -> Tensor:
        seen = [self.down[0](x)]
        for number, layer in enumerate(self.down[1:]):
            h = layer(F.leaky_relu(seen[-1], 0.2))
            seen.append(self.down_norms[number](h) if number < len(self.down_norms) else h)
        h = seen.pop()
        for layer, norm in zip(self.up[:-1], self.up_norms, strict=True):
            h = torch.cat((norm(layer(F.relu(h))), seen.pop()), 1)
        return torch.tanh(self.up[-1](F.relu(h)))


class _Level(nn.Module):
    """One halving of the refinement network, and the way back, each a convolution that halves or
    doubles the size and a 3×3 convolution that changes the number of channels."""

    def __init__(self, outer: int, inner: int) -> None:
        super().__init__()
        self.shrink = nn.Conv2d(outer, outer, 4, 2, padding=3, dilation=2)
        self.shrink_norm = _norm(outer)
        self.widen = nn.Conv2d(outer, inner, 3, padding=1)
        self.widen_norm = _norm(inner)
        self.narrow = nn.Conv2d(2 * inner, outer, 3, padding=1)
        self.narrow_norm = _norm(outer)
        self.enlarge = nn.ConvTranspose2d(outer, outer, 4, 2, 1)
        self.enlarge_norm = _norm(outer)

    def down(self, h: Tensor) -> Tensor:
        h = self.shrink_norm(self.shrink(F.leaky_relu(h, 0.2)))
        found: Tensor = self.widen(F.leaky_relu(h, 0.2))
        return found

    def up(self, h: Tensor) -> Tensor:
        h = self.narrow_norm(self.narrow(F.relu(h)))
        found: Tensor = self.enlarge_norm(self.enlarge(F.relu(h)))
        return found


class _RefinementNetwork(nn.Module):
    """A U-Net with the attention in its encoder.

    Args:
        widths: number of channels at the full size and after each halving but the last, which
            keeps their number.
        attention_level: number of halvings before the attention.
    """

    def __init__(self, widths: list[int], attention_level: int) -> None:
        super().__init__()
        self.attention_level = attention_level
        self.first = nn.Conv2d(6, widths[0], 3, padding=1)
        self.levels = nn.ModuleList(
            _Level(outer, inner) for outer, inner in zip(widths, widths[1:], strict=False)
        )
        self.bottom_shrink = nn.Conv2d(widths[-1], widths[-1], 4, 2, padding=3, dilation=2)
        self.bottom_enlarge = nn.ConvTranspose2d(widths[-1], widths[-1], 4, 2, 1)
        self.bottom_norm = _norm(widths[-1])
        self.last = nn.Conv2d(2 * widths[0], 3, 3, padding=1)

    def each_level(self) -> list[_Level]:
        """Return the levels, the finest first."""
        return [level for level in self.levels if isinstance(level, _Level)]

    def encode(self, x: Tensor) -> Tensor:
        """Return the features that the attention would change, of a picture ``B 6 H W``."""
        h = self.first(x)
        for number, level in enumerate(self.each_level()[: self.attention_level], 1):
            h = level.down(h)
            h = h if number == self.attention_level else level.widen_norm(h)
        found: Tensor = h
        return found

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Refine ``B 6 H W``; the mask ``B 1 h w`` has the size of the attended features.

        Returns:
            The picture ``B 3 H W``, the attended features, and the decoder's of the same size.
        """
        skips = [self.first(x)]
        attended = decoded = x
        for number, level in enumerate(self.each_level(), 1):
            h = level.down(skips[-1])
            if number == self.attention_level:
                h = attended = coherent_attention(h, mask)
            skips.append(level.widen_norm(h))
        h = self.bottom_shrink(F.leaky_relu(skips[-1], 0.2))
        h = self.bottom_norm(self.bottom_enlarge(F.relu(h)))
        for number, level in reversed(list(enumerate(self.each_level(), 1))):
            if number == self.attention_level:
                decoded = h
            h = level.up(torch.cat((h, skips.pop()), 1))
        picture: Tensor = self.last(F.relu(torch.cat((h, skips.pop()), 1)))
        return picture, attended, decoded


class CSANetwork(Baseline):
    """The paper's rough and refinement networks.

    The rough network fills the hole, and the refinement network sees its result beside the given
    picture. Inside, pictures are in [-1, 1]. The two adversarial losses are left out. The
    consistency loss compares with features of the clean picture that come from the refinement
    network's own encoder, in place of VGG-16, whose weights are not here.

    Args:
        width: number of channels after the first convolution; doubled up to eightfold.
        depth: number of halvings.
        attention_level: number of halvings before the attention, below ``depth``.

    Raises:
        ValueError: ``depth`` is below 3, or ``attention_level`` is not from 1 to ``depth`` - 1.
    """

    condition_channels = 1
    hole_fill = 0.5
    context = 128

    def __init__(self, *, width: int = 64, depth: int = 8, attention_level: int = 3) -> None:
        super().__init__()
        if depth < 3 or not 1 <= attention_level < depth:
            raise ValueError(
                f"depth is {depth} and attention_level is {attention_level}; use a depth of at "
                "least 3, and a level from 1 to the depth - 1"
            )
        self.size_multiple = 2**depth
        widths = [width * min(2**level, _WIDEST) for level in range(depth)]
        self.rough = _RoughNetwork(widths)
        self.refinement = _RefinementNetwork(widths, attention_level)
        initialise_normal(self)

    def _all(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return the rough and the refined picture, both sides' features, and their mask."""
        mask = torch.zeros_like(x[:, :1]) if condition is None else condition.to(x)
        given = (2 * x - 1) * (1 - mask)
        rough = self.rough(given)
        seen = torch.cat((torch.lerp(given, rough.to(given), mask), given), 1)
        small = F.max_pool2d(mask, 2**self.refinement.attention_level)
        refined, attended, decoded = self.refinement(seen, small)
        return (rough + 1) / 2, (refined + 1) / 2, attended, decoded, small

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Fill holes.

        Args:
            x: ``B 3 H W`` in [0, 1], H and W multiples of ``size_multiple``; the content of holes
                is ignored.
            condition: the mask ``B 1 H W``, 1 in the hole; None if there is none.

        Returns:
            ``B 3 H W``, not clipped; known pixels change too.
        """
        return self._all(x, condition)[1]

    def forward_with_loss(
        self, x: Tensor, condition: Tensor | None, clean: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fill holes, and measure the rough picture's error and the consistency loss (section 3.3).

        In the hole, the attended features and the decoder's should be those of the clean picture.
        """
        rough, refined, attended, decoded, small = self._all(x, condition)
        with torch.no_grad():
            whole = 2 * clean - 1
            wanted = self.refinement.encode(torch.cat((whole, whole), 1)).float()
        count = small.sum().clamp_min(1.0) * wanted.shape[1]
        error = (attended.float() - wanted).square() + (decoded.float() - wanted).square()
        consistency = (error * small).sum() / count
        return refined, (rough.float() - clean).abs().mean() + CONSISTENCY_WEIGHT * consistency
