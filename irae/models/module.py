"""A model as other libraries want a denoiser: an ``nn.Module`` from pictures to pictures."""

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
    takes_sigma,
    to_network_channels,
)


class RestoringModule(nn.Module):
    """Pictures of any size and number of channels through a network; differentiable.

    It can be moved, compiled, put in half precision and trained on like any module. It shares its
    weights with the network it is made of.

    Args:
        network: one of `irae.models.networks.registry`.
        form: what computes in the network's place, called alike; the network itself if None.
    """

    def __init__(self, network: nn.Module, form: nn.Module | None = None) -> None:
        super().__init__()
        self.form = network if form is None else form
        # Its attributes say how it is to be called; its weights are the form's.
        self._network = [network]

    def forward(
        self, x: Tensor, sigma: float | Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Restore a batch.

        Args:
            x: ``B C H W`` in [0, 1] (noise may pass it), C 1 or 3.
            sigma: the noise level in 8-bit units: one number, one per picture (``B``) or a map
                ``B 1 H W``. Networks that are not told it take no notice.
            mask: ``B 1 H W``, True in the holes. They are filled smoothly before the network runs,
                and known pixels are put back.

        Returns:
            ``B C H W`` of the same dtype, not clipped.

        Raises:
            ModelError: the network must be told sigma, or where the holes are.
            UsageError: ``x`` is of another shape.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise UsageError(f"x of shape {tuple(x.shape)}: use a batch B C H W with C 1 or 3")
        if mask is None:
            return self.run(x, sigma)
        mask = mask.expand(x.shape[0], 1, *x.shape[2:])
        filled = fill_holes(x, mask, getattr(self._network[0], "hole_fill", None))
        return torch.where(mask, self.run(filled, sigma, mask), x)

    def run(
        self, x: Tensor, sigma: float | Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """As `forward`, of pictures whose holes are filled; known pixels are not put back."""
        network = self._network[0]
        channels, height, width = x.shape[1:]
        condition = condition_for(network, mask=mask, sigma=sigma, filled=x)
        if condition is not None:
            condition = condition.to(x).expand(x.shape[0], -1, -1, -1)
            condition = repeat_for_channels(network, condition, channels)
            # One number for a whole picture needs no border.
            if not takes_sigma(network) or condition.shape[2:].numel() > 1:
                condition = self.pad(condition)
        y = self.form(self.pad(to_network_channels(network, x)), condition)
        y = from_network_channels(network, y, channels)
        return y.narrow(2, 0, height).narrow(3, 0, width)

    def pad(self, x: Tensor) -> Tensor:
        """A batch with heights and widths that the network takes."""
        multiple = int(getattr(self._network[0], "size_multiple", 1))
        height, width = x.shape[2:]
        right, below = -width % multiple, -height % multiple
        if not right and not below:
            return x
        # Reflecting does not repeat the noise of the border pixel, but needs more than one pixel.
        fits = right < width and below < height
        return F.pad(x, (0, right, 0, below), mode="reflect" if fits else "replicate")
