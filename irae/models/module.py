"""A model as an ``nn.Module`` from pictures to pictures, the form other libraries expect."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.errors import UsageError
from irae.imaging.hole_filling import fill_holes
from irae.models.call import (
    condition_for,
    from_network_channels,
    repeat_for_channels,
    to_network_channels,
)
from irae.runtime import use_full_float32


class RestoringModule(nn.Module):
    """Applies a network to pictures of any size and number of channels; differentiable.

    It can be moved, compiled, converted to half precision and trained like any module. It shares
    its weights with the network.

    Args:
        network: a network of `irae.models.networks.registry`.
        form: module that computes in place of the network, with the same arguments; the network
            itself if None.
    """

    def __init__(self, network: nn.Module, form: nn.Module | None = None) -> None:
        super().__init__()
        use_full_float32()  # The caller puts it on a device.
        self.form = network if form is None else form
        # In a list, so that its weights are not registered: only its attributes are used.
        self._network = [network]

    def forward(
        self, x: Tensor, sigma: float | Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Restore a batch.

        Args:
            x: ``B C H W`` in [0, 1] (noise may leave it), C 1 or 3.
            sigma: noise level in 8-bit units: one number, one per picture (``B``) or a map
                ``B 1 H W``. Networks that do not take it ignore it.
            mask: ``B 1 H W``, True in the masked region, which is filled smoothly before the
                network runs; known pixels are put back.

        Returns:
            ``B C H W`` of the same dtype, not clipped.

        Raises:
            ModelError: the network needs sigma or the mask, and it is missing.
            UsageError: ``x`` has another shape.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise UsageError(f"x of shape {tuple(x.shape)}: use a batch B C H W with C 1 or 3")
        if mask is None:
            return self.run(x, sigma)
        mask = mask.expand(x.shape[0], 1, *x.shape[2:])
        filled = fill_holes(x, mask, getattr(self._network[0], "hole_fill", None))
        return torch.where(mask, self.run(filled, sigma, mask), x)

    def run(
        self,
        x: Tensor,
        sigma: float | Tensor | None = None,
        mask: Tensor | None = None,
        damage: Tensor | None = None,
    ) -> Tensor:
        """Restore pictures whose holes are filled already; known pixels are not put back."""
        network = self._network[0]
        channels, height, width = x.shape[1:]
        condition = condition_for(network, mask=mask, sigma=sigma, filled=x, damage=damage)
        if condition is not None:
            condition = condition.to(x).expand(x.shape[0], -1, -1, -1)
            condition = repeat_for_channels(network, condition, channels)
            # One number for a whole picture needs no padding.
            if condition.shape[2:].numel() > 1 or x.shape[2:].numel() == 1:
                condition = self.pad(condition)
        y = self.form(self.pad(to_network_channels(network, x)), condition)
        y = from_network_channels(network, y, channels)
        return y.narrow(2, 0, height).narrow(3, 0, width)

    def pad(self, x: Tensor) -> Tensor:
        """Pad a batch to heights and widths that the network takes."""
        multiple = int(getattr(self._network[0], "size_multiple", 1))
        height, width = x.shape[2:]
        right, below = -width % multiple, -height % multiple
        if not right and not below:
            return x
        # Reflection does not repeat the border pixel's noise, but needs more than one pixel.
        fits = right < width and below < height
        return F.pad(x, (0, right, 0, below), mode="reflect" if fits else "replicate")
