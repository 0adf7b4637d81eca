"""Space to depth, and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.flow.bijection import Bijection, zeros_per_sample


class Squeeze(Bijection):
    """Space to depth: ``B C H W`` to ``B 4C H/2 W/2`` (Dinh et al. 2017, section 3.6).

    H and W must be even. Channel order is that of ``pixel_unshuffle``.
    """

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return F.pixel_unshuffle(x, 2)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return F.pixel_shuffle(z, 2)

    def forward_and_log_det(
        self, x: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        return self(x), zeros_per_sample(x)

    def squeeze_condition(self, condition: Tensor | None) -> Tensor | None:
        # Averaged rather than unshuffled: a mask stays one channel at every level (the share of
        # hole pixels), and the networks do not grow with the fourth power of the level.
        return None if condition is None else F.avg_pool2d(condition, 2)


class HaarSqueeze(Squeeze):
    """Space to depth in the orthonormal Haar basis: average, and three differences.

    Volume-preserving and its own transpose's inverse, so it costs no precision. Output channels
    are ordered by input channel, then (LL, LH, HL, HH).
    """

    haar: Tensor

    def __init__(self) -> None:
        super().__init__()
        rows = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]
        self.register_buffer("haar", torch.tensor(rows) / 2.0, persistent=False)

    def _mix(self, x: Tensor) -> Tensor:
        # The 4×4 Haar matrix is symmetric and orthogonal: the same product goes both ways.
        channels = x.shape[1] // 4
        weight = torch.kron(
            torch.eye(channels, dtype=x.dtype, device=x.device), self.haar.to(x.dtype)
        )
        return F.conv2d(x, weight[:, :, None, None])

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._mix(F.pixel_unshuffle(x, 2))

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return F.pixel_shuffle(self._mix(z), 2)


SQUEEZES: dict[str, type[Squeeze]] = {"pixel": Squeeze, "haar": HaarSqueeze}
