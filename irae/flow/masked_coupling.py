"""A coupling whose halves are the masked region, which changes, and the known pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.bijection import Bijection
from irae.flow.squeeze import depth_to_space, space_to_depth
from irae.flow.subnets import CouplingNetwork, convolve


class Scale(nn.Module):
    """One scale of a `MaskedNetwork` with all coarser ones below it; keeps ``B C H W``.

    All convolutions are 3×3 and residual, with a ReLU before them.
    """

    def __init__(self, width: int, below: Scale | None = None) -> None:
        super().__init__()
        self.width, self.below = width, below
        self.before = nn.Conv2d(width, width, 3, padding=1)
        self.after = nn.Conv2d(width, width, 3, padding=1)
        if below is not None:
            self.down = nn.Conv2d(width, below.width, 3, stride=2, padding=1)
            self.up = nn.Conv2d(below.width, width, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        h = h + convolve(self.before, F.relu(h), 1)
        if self.below is not None:
            coarse = self.below(convolve(self.down, F.relu(h), 1, stride=2))
            found = convolve(self.up, F.relu(coarse), 1)
            h = h + F.interpolate(found, scale_factor=2.0, mode="bilinear", align_corners=False)
        return h + convolve(self.after, F.relu(h), 1)


class MaskedNetwork(CouplingNetwork):
    """A U-shaped network (Ronneberger et al. 2015) that maps mask and filled picture to a shift.

    It starts at half the size of the picture and goes down to ``2⁻ˢᶜᵃˡᵉˢ`` of it, where holes are
    small. Its last convolution is zero-initialised, so the untrained network changes nothing.

    Args:
        width: number of channels at half the size; the coarser scales have twice as many.
        scales: number of halvings of the size.
    """

    def __init__(self, width: int, scales: int = 4) -> None:
        super().__init__()
        if width < 1 or scales < 1:
            raise ValueError(f"width {width} and scales {scales} must be at least 1")
        self.scales = scales
        scale: Scale | None = None
        for number in reversed(range(scales)):
            scale = Scale(2 * width if number else width, scale)
        assert scale is not None
        self.first = nn.Conv2d(16, width, 3, padding=1)
        self.scale = scale
        self.last = nn.Conv2d(width, 12, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias) if layer.bias is not None else None
        # Every scale's own convolutions start as the identity, and the whole as no change.
        for module in self.modules():
            if isinstance(module, Scale):
                nn.init.zeros_(module.before.weight)
                nn.init.zeros_(module.after.weight)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``B 4 H W``, the mask and the filled picture centred at 0, to ``B 3 H W``."""
        h = convolve(self.first, self._enter(space_to_depth(x)), 1)
        h = convolve(self.last, F.relu(self.scale(h)), 1)
        return depth_to_space(h.to(x.dtype))


class MaskedCoupling(Bijection):
    """``z = x + mask · t(known, mask)``: only the masked region changes, given the known pixels.

    The mask and the filled picture, which follows from the known pixels, are the condition. They
    do not change, so the inverse subtracts the same shift, and the volume is preserved.
    """

    def __init__(self, network: MaskedNetwork) -> None:
        super().__init__()
        self.network = network

    @property
    def size_multiple(self) -> int:
        """Divisor of the heights and widths that the coupling accepts."""
        return int(2**self.network.scales)

    def _shift(self, condition: Tensor | None) -> Tensor:
        if condition is None or condition.shape[1] != 4:
            raise ValueError("a MaskedCoupling needs the mask and the filled picture, 4 channels")
        mask = condition[:, :1]
        shift: Tensor = self.network(torch.cat([mask, condition[:, 1:] - 0.5], 1))
        return mask * shift

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return x + self._shift(condition)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return z - self._shift(condition)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self(x, condition), torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
