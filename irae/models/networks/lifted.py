"""The lifted Invertible Restoring Autoencoder, as fast and as accurate as a plain network.

The squeezed picture is padded with zero channels and passes through additive couplings, which move
its content to the picture's channels and its noise to the others: *the latent holds what was
removed* (the idea of InvDN, Liu et al. 2021, arXiv 2104.10546). The restored picture and that
remainder together give the degraded picture back, bit for bit. The restored picture alone cannot,
for any denoiser.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.errors import ModelError
from irae.flow.lifted import LiftedFlow, check_range, exact_range, to_grid
from irae.flow.squeeze import depth_to_space, first_channels, space_to_depth
from irae.imaging.analysis.damage import CODES

PICTURE_CHANNELS = 12
"""Channels of a picture squeezed 2×2."""


@dataclass(frozen=True)
class Remainder:
    """The information that a restored picture lacks; `LiftedIRAE.join` takes both.

    Attributes:
        latent: the difference of the streams in the picture's channels, then all their other
            channels, ``B (2 width - 12) H/2 W/2`` of the padded picture.
        bottom: the restored rows that pad the picture's height to a multiple of the network's
            ``size_multiple``, ``B 3 h W``; h is 0 if it is one.
        right: the restored columns that pad its width, ``B 3 H' w`` with H' the padded height.
        exact: whether the state was kept on the grid.
    """

    latent: Tensor
    bottom: Tensor
    right: Tensor
    exact: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels of the picture to which the remainder belongs."""
        height, width = (2 * side for side in self.latent.shape[2:])
        return height - self.bottom.shape[2], width - self.right.shape[3]


class LiftedIRAE(nn.Module):
    """``restored = (a + b) / 2`` after additive couplings of two streams, a and b.

    Both streams start as the squeezed picture, centred at zero and padded with zero channels. The
    first half of the couplings is the encoder; the second half is the decoder, a flow run backward;
    the state between them is the latent. The untrained network is the identity. The squeezed
    condition occupies channels that would be zero, so the lift stays injective.

    Args:
        width: number of channels of each stream, at least 12 plus four for every channel of the
            condition.
        couplings: number of couplings, at least 2.
        hidden: number of channels inside a subnet.
        condition_channels: 0, or 1 for the mask (1 in the masked region), or 4 for the mask and
            the filled picture.
        takes_sigma: whether the condition is the noise level, see
            `irae.models.call.condition_for`.
        takes_damage: whether the condition is the damage as the toolkit measures it, see there.

    Raises:
        ValueError: there are too few channels or couplings.
    """

    size_multiple = 2
    hole_fill: float | None = None

    def __init__(
        self,
        *,
        width: int = 48,
        couplings: int = 12,
        hidden: int = 64,
        condition_channels: int = 0,
        takes_sigma: bool = False,
        takes_damage: bool = False,
    ) -> None:
        super().__init__()
        self.condition_channels = condition_channels
        self.takes_sigma, self.takes_damage = takes_sigma, takes_damage
        self.filled = PICTURE_CHANNELS + 4 * (
            condition_channels + takes_sigma + CODES * takes_damage
        )
        if (condition_channels > 0) + takes_sigma + takes_damage > 1:
            raise ValueError("takes_sigma, takes_damage and condition_channels exclude each other")
        if width < self.filled:
            raise ValueError(f"width {width}: a stream needs at least {self.filled} channels")
        if couplings < 2:
            raise ValueError(f"couplings {couplings}: encoder and decoder need one each, so 2")
        if hidden < 1:
            raise ValueError(f"hidden {hidden} must be at least 1")
        self.width = width
        self.flow = LiftedFlow(width, couplings, hidden)

    def lift(self, x: Tensor, condition: Tensor | None = None, *, exact: bool = False) -> Tensor:
        """Lift degraded ``B 3 H W`` to a stream ``B width H/2 W/2``.

        H and W are multiples of ``size_multiple`` here and in all other methods but `split` and
        `join`.
        """
        u = self.content(x, condition)
        u = F.pad(to_grid(u) if exact else u, (0, 0, 0, 0, 0, self.width - self.filled))
        return u.contiguous(memory_format=torch.channels_last)

    def content(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return the non-zero channels of `lift`, ``B filled H/2 W/2``."""
        u = space_to_depth(x - 0.5)
        if self.filled > PICTURE_CHANNELS:
            if condition is None:
                raise ModelError("needs its condition, the mask or the noise level")
            spread = condition.to(u).expand(len(u), -1, *x.shape[2:])
            u = torch.cat([u, space_to_depth(spread)], 1)
        return u

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map degraded ``B 3 H W`` in [0, 1] to restored, not clipped."""
        u = self.lift(x, condition)
        a, b = self.flow(u, u, filled=self.filled, wanted=PICTURE_CHANNELS)
        return picture_of(a, b)

    def middle_and_end(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the picture ``B 3 H W`` after half of the couplings, and after all of them."""
        u = self.lift(x, condition)
        half = self.flow(u, u, stop=self._middle, filled=self.filled)
        return picture_of(*half), picture_of(
            *self.flow(*half, start=self._middle, wanted=PICTURE_CHANNELS)
        )

    def encode(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map degraded ``B 3 H W`` to the latent ``B (2 width) H/2 W/2``."""
        u = self.lift(x, condition)
        return torch.cat(self.flow(u, u, stop=self._middle), 1)

    def decode(self, latent: Tensor) -> Tensor:
        """Map the latent of `encode` to restored ``B 3 H W``, not clipped."""
        a, b = latent.chunk(2, 1)
        return picture_of(*self.flow(a, b, start=self._middle, wanted=PICTURE_CHANNELS))

    @property
    def _middle(self) -> int:
        return len(self.flow.couplings) // 2

    def padded(self, x: Tensor) -> Tensor:
        """Repeat the last row and column until H and W are multiples of ``size_multiple``."""
        height, width = (-side % self.size_multiple for side in x.shape[2:])
        return F.pad(x, (0, width, 0, height), mode="replicate")

    def _padded_condition(self, condition: Tensor | None, x: Tensor) -> Tensor | None:
        """Pad the condition of the picture ``x``; one number for a whole picture needs none."""
        if condition is None or condition.shape[2:] != x.shape[2:]:
            return condition
        return self.padded(condition.to(x))

    @torch.no_grad()
    def split(
        self, x: Tensor, condition: Tensor | None = None, *, exact: bool = True
    ) -> tuple[Tensor, Remainder]:
        """Split a degraded picture into the restored picture and the remainder.

        Args:
            x: ``B 3 H W`` in [0, 1] (noise may leave it), any H and W from 1; whole, not a tile.
            condition: condition of the same height and width.
            exact: round ``x`` and every shift to multiples of 2⁻²⁰, so that `join` recovers every
                bit on the same machine, device and number of threads, whatever type the subnets
                compute in. Pictures of 8 and 16 bits are recovered by rounding. Otherwise the
                error of float32 subnets is less than 1e-5.

        Returns:
            The restored picture ``B 3 H W``, neither clipped nor rounded, and the remainder.

        Raises:
            ModelError: the condition is missing, or a number has left the exact range.
        """
        height, width = x.shape[2:]
        u = self.lift(self.padded(x), self._padded_condition(condition, x), exact=exact)
        a, b = self.flow(u, u, exact=exact)
        restored = picture_of(a, b)
        of_picture = a[:, :PICTURE_CHANNELS] - b[:, :PICTURE_CHANNELS]
        if exact:
            # Difference and sum are up to twice as large as the streams, so they leave the range
            # first; the picture, half of the sum, is also shifted by one half.
            check_range(of_picture, exact_range(x.dtype), "the difference of the streams")
            check_range(2 * restored, exact_range(x.dtype) - 1, "the sum of the streams")
        latent = torch.cat([of_picture, a[:, PICTURE_CHANNELS:], b[:, PICTURE_CHANNELS:]], 1)
        bottom, right = restored[:, :, height:, :width], restored[..., width:]
        return restored[..., :height, :width], Remainder(latent, bottom, right, exact)

    @torch.no_grad()
    def join(
        self, restored: Tensor, remainder: Remainder, condition: Tensor | None = None
    ) -> Tensor:
        """Undo `split`: return the degraded picture ``B 3 H W``.

        Args:
            restored: the restored picture from `split`, unchanged.
            remainder: the remainder from the same call.
            condition: the condition given to `split`.

        Raises:
            ModelError: the restored picture and the remainder do not belong together.
        """
        height, width = restored.shape[2:]
        if remainder.size != (height, width) or len(remainder.latent) != len(restored):
            size, count = remainder.size, len(remainder.latent)
            raise ModelError(
                f"the remainder is of {count} pictures of {size[1]}×{size[0]}, not of "
                f"{len(restored)} of {width}×{height}; give the one that split made with them"
            )
        if remainder.latent.shape[1] != 2 * self.width - PICTURE_CHANNELS:
            raise ModelError("the remainder is of a network of another width")
        whole = torch.cat([torch.cat([restored, remainder.bottom], 2), remainder.right], 3)
        # In float64 neither the sum nor the halves are rounded.
        total = 2 * space_to_depth(whole.double() - 0.5)
        difference = remainder.latent[:, :PICTURE_CHANNELS].double()
        rest = remainder.latent[:, PICTURE_CHANNELS:].chunk(2, 1)
        a, b = (
            torch.cat([half.to(restored.dtype), others], 1).contiguous(
                memory_format=torch.channels_last
            )
            for half, others in zip(
                ((total + difference) / 2, (total - difference) / 2), rest, strict=True
            )
        )
        a, b = self.flow.inverse(a, b, exact=remainder.exact)
        degraded = depth_to_space(a[:, :PICTURE_CHANNELS]) + 0.5
        if remainder.exact:
            lifted = self.lift(degraded, self._padded_condition(condition, restored), exact=True)
            if not (torch.equal(a, lifted) and torch.equal(b, lifted)):
                raise ModelError(
                    "the remainder is not of this picture, or was made by another model, machine, "
                    "device or number of threads"
                )
        return degraded[..., :height, :width]


def picture_of(a: Tensor, b: Tensor) -> Tensor:
    """Return the picture ``B 3 H W`` of two streams ``B width H/2 W/2``, not clipped."""
    mean = (first_channels(a, PICTURE_CHANNELS) + first_channels(b, PICTURE_CHANNELS)) / 2
    return depth_to_space(mean) + 0.5
