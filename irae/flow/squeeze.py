"""Space to depth, and back."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.flow.bijection import Bijection, zeros_per_sample

HAAR = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
"""The 2×2 Haar transform of the pixels (0,0), (0,1), (1,0), (1,1): their sum, three differences.

Half of this matrix is orthonormal and its own inverse.
"""


def space_to_depth(x: Tensor) -> Tensor:
    """Compute ``F.pixel_unshuffle(x, 2)``, in channels-last order also on a GPU.

    There PyTorch returns both operations' results, and their gradients, in contiguous order. The
    convolutions after it would be given that order, or convert it one by one.
    """
    if _keeps_order(x):
        return F.pixel_unshuffle(x, 2)
    batch, channels, height, width = x.shape
    pixels = x.permute(0, 2, 3, 1).reshape(batch, height // 2, 2, width // 2, 2, channels)
    cells = pixels.permute(0, 1, 3, 5, 2, 4).reshape(batch, height // 2, width // 2, 4 * channels)
    return cells.permute(0, 3, 1, 2)


def depth_to_space(x: Tensor) -> Tensor:
    """Compute ``F.pixel_shuffle(x, 2)``, in channels-last order also on a GPU."""
    if _keeps_order(x):
        return F.pixel_shuffle(x, 2)
    batch, channels, height, width = x.shape
    cells = x.permute(0, 2, 3, 1).reshape(batch, height, width, channels // 4, 2, 2)
    pixels = cells.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2 * height, 2 * width, channels // 4)
    return pixels.permute(0, 3, 1, 2)


class _FirstChannels(torch.autograd.Function):
    """A slice of the channels whose gradient keeps the order; PyTorch's is contiguous."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, count: int) -> Tensor:
        ctx.others = x.shape[1] - count
        return x[:, :count]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return F.pad(grad, (0, 0, 0, 0, 0, ctx.others)), None


def first_channels(x: Tensor, count: int | None) -> Tensor:
    """Return ``x[:, :count]``; its gradient keeps the order of memory that the result's has."""
    if count is None or count == x.shape[1]:
        return x
    if not torch.is_grad_enabled() or torch.compiler.is_compiling():
        return x[:, :count]
    result: Tensor = _FirstChannels.apply(x, count)
    return result


def _keeps_order(x: Tensor) -> bool:
    """Whether PyTorch's own operations keep the order; the compiler chooses one itself."""
    return x.is_cpu or torch.compiler.is_compiling() or torch.onnx.is_in_onnx_export()


class Squeeze(Bijection):
    """Space to depth: ``B C H W`` to ``B 4C H/2 W/2`` (Dinh et al. 2017, section 3.6).

    H and W must be even. Channel order is that of ``pixel_unshuffle``.
    """

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return space_to_depth(x)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return depth_to_space(z)

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
        return self._mix(space_to_depth(x))

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        return depth_to_space(self._mix(z))


SQUEEZES: dict[str, type[Squeeze]] = {"pixel": Squeeze, "haar": HaarSqueeze}
