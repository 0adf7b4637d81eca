"""The base of loaded networks that restore nothing: densities and detectors."""

from __future__ import annotations

from typing import Generic, Self, TypeVar

import torch
from torch import nn

from irae.flow.subnets import set_network_dtype
from irae.models.loaded import ModelSpec
from irae.runtime import network_dtype, resolve_precision, use_full_float32

_Network = TypeVar("_Network", bound=nn.Module)


class LoadedNetwork(Generic[_Network]):
    """A network and its spec.

    Attributes:
        network: the network, not trained any more.
        spec: the content of its file's header.
        name: its name in messages.
        device: its device.
        precision: its precision, ``fp32`` or ``bf16``; in a flow that of the subnets.
    """

    def __init__(self, network: _Network, spec: ModelSpec, name: str) -> None:
        self.network = network.eval().requires_grad_(False)
        self.network.to(memory_format=torch.channels_last)
        self.spec, self.name = spec, name
        self.device = torch.device("cpu")
        self.precision = "fp32"

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.network.parameters())

    def to(self, device: torch.device | str, precision: str = "fp32") -> Self:
        """Move the model to a device and set its precision, in place.

        Raises:
            UsageError: the precision is unknown, or the device does not support it.
        """
        use_full_float32()
        self.device = torch.device(device)
        self.precision = resolve_precision(precision, self.device)
        self.network.to(self.device)
        set_network_dtype(self.network, network_dtype(self.precision))
        return self
