"""Space to depth, and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.flow.bijection import Bijection, zeros_per_sample

HAAR = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
"""The 2×2 Haar transform of the pixels (0,0), (0,1), (1,0), (1,1): their sum, three differences.

Half of this matrix is orthonormal and its own inverse.
"""


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
        # masked pixels), and the number of channels is not multiplied by four at each level.
        return None if condition is None else F.avg_pool2d(condition, 2)


class HaarSqueeze(Squeeze):
    """Space to depth in the orthonormal Haar basis: average, and three differences.

    It is orthogonal, so it preserves volume and precision. Output channels are ordered by input
    channel, then (LL, LH, HL, HH).
    """

    haar: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("haar", torch.tensor(HAAR) / 2.0, persistent=False)

    def matrix(self, channels: int) -> Tensor:
        """Return the matrix ``C C`` for ``channels`` unshuffled channels; it is its own inverse."""
        blocks = torch.eye(channels // 4, dtype=self.haar.dtype, device=self.haar.device)
        return torch.kron(blocks, self.haar)

    def _mix(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.matrix(x.shape[1]).to(x.dtype)[:, :, None, None])

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self._mix(F.pixel_unshuffle(x, 2))

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return F.pixel_shuffle(self._mix(z), 2)


SQUEEZES: dict[str, type[Squeeze]] = {"pixel": Squeeze, "haar": HaarSqueeze}
