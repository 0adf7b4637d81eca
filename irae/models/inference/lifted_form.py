"""The inference form of a lifted network: the same function in place, with prepared weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.models.networks.lifted import PICTURE_CHANNELS, LiftedIRAE, picture_of


class LiftedForm(nn.Module):
    """A trained `LiftedIRAE` prepared for restoring; it has a copy of the weights.

    The two streams are changed in place, in float32 and channels-last order. The subnets compute
    in ``dtype``, with weights that were converted once. Channels that are zero for the first
    coupling, and channels that nobody reads after the last, are left out.

    Args:
        network: the network to prepare.
        device: the device on which it will run.
        dtype: type in which the subnets compute.
    """

    def __init__(
        self,
        network: LiftedIRAE,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self.dtype, self.filled, self.width = dtype, network.filled, network.width
        self.lift, self.content = network.lift, network.content
        self.weights: list[tuple[Tensor, ...]] = []
        couplings = network.flow.networks()
        for number, coupling in enumerate(couplings):
            first, second = coupling.conv1, coupling.conv2
            assert first.bias is not None and second.bias is not None
            given = self.filled if number == 0 else self.width
            wanted = PICTURE_CHANNELS if number == len(couplings) - 1 else self.width
            parts = (
                first.weight[:, :given],
                first.bias,
                second.weight[:wanted],
                second.bias[:wanted],
            )
            self.weights.append(tuple(_prepared(part, device, dtype) for part in parts))
        self._fused = torch.device(device).type == "cpu" and _fuses(dtype)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map ``B 3 H W`` in [0, 1] (H and W even) to restored, as `LiftedIRAE.forward`."""
        streams = self._streams(x, condition)
        for number, weights in enumerate(self.weights):
            source = streams[1 - number % 2][:, : weights[0].shape[1]]
            changed = streams[number % 2][:, : weights[2].shape[0]]
            shift = self._shift(source, *weights)
            # In a traced graph an in-place change would become copies of the whole stream.
            traced = torch.compiler.is_compiling()
            streams[number % 2] = changed + shift if traced else changed.add_(shift)
        return picture_of(*streams)

    def _streams(self, x: Tensor, condition: Tensor | None) -> list[Tensor]:
        """Return both streams before the first coupling."""
        if torch.compiler.is_compiling():
            u = self.lift(x, condition)
            return [u, u]
        # `lift` is not used, since it would briefly hold two more streams in memory.
        content = self.content(x, condition)
        size = (len(content), self.width, *content.shape[2:])
        streams = []
        for _ in range(2):
            stream = torch.empty(
                size, dtype=content.dtype, device=content.device, memory_format=torch.channels_last
            ).zero_()
            stream[:, : self.filled] = content
            streams.append(stream)
        return streams

    def _shift(self, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
        given = x.to(self.dtype)
        if self._fused and not torch.compiler.is_compiling():
            # The fused operator that PyTorch's compiler uses saves one pass over memory.
            hidden = torch.ops.mkldnn._convolution_pointwise(
                given, w1, b1, (1, 1), (1, 1), (1, 1), 1, "relu", [], ""
            )
        else:
            hidden = F.conv2d(given, w1, b1, padding=1).relu_()
        return F.conv2d(hidden, w2, b2, padding=1)


def _fuses(dtype: torch.dtype) -> bool:
    """Whether PyTorch can fuse a convolution with its ReLU for this type on this processor."""
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    # The fused operator refuses bfloat16 on processors that emulate it.
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _prepared(value: Tensor, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    value = value.detach().to(device, dtype)
    order = torch.channels_last if value.ndim == 4 else torch.contiguous_format
    return value.clone(memory_format=order)
