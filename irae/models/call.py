"""Calling a network: its condition, the conversion of channels, and its precision.

The training loop, `irae.models.loaded.LoadedModel` and the evaluation share this module.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from irae.errors import ModelError
from irae.flow.subnets import CouplingNetwork
from irae.imaging.analysis.damage import measure_codes


def takes_sigma(network: nn.Module) -> bool:
    """Whether the network needs the noise level."""
    return bool(getattr(network, "takes_sigma", False))


def takes_damage(network: nn.Module) -> bool:
    """Whether the network is told the damage, as `irae.imaging.analysis.damage` measures it."""
    return bool(getattr(network, "takes_damage", False))


def inputs_besides_picture(network: nn.Module) -> frozenset[str]:
    """Return a network's inputs besides the picture: ``"sigma"``, ``"mask"``, or none."""
    if takes_sigma(network):
        return frozenset({"sigma"})
    return frozenset({"mask"} if getattr(network, "condition_channels", 0) else ())


def condition_for(
    network: nn.Module,
    *,
    mask: Tensor | None = None,
    sigma: float | Tensor | None = None,
    filled: Tensor | None = None,
    damage: Tensor | None = None,
) -> Tensor | None:
    """Return the second argument of ``network(degraded, condition)``.

    Arguments that the network does not use are ignored.

    Args:
        network: any network of the registry.
        mask: ``B 1 H W``, True in the masked region.
        sigma: noise level in 8-bit units: one number, one per picture (``B``), or a map
            ``B 1 H W``.
        filled: the picture ``B C H W`` with its masked region filled by `LoadedModel.fill`.
        damage: codes of the damage ``B CODES``, see `irae.imaging.analysis.damage`; measured in
            ``filled`` if None. Parts of a picture are given the codes of the whole.

    Returns:
        If the network takes the noise level, sigma / 255 as ``B 1 1 1`` (or the map). If it takes
        the damage, its codes as ``B CODES 1 1``. If it takes the mask, the mask as float32,
        followed by the filled picture if it takes four channels. Otherwise None.

    Raises:
        ModelError: the network needs a sigma or a mask, and there is none.
    """
    if takes_sigma(network):
        if sigma is None:
            raise ModelError("needs the noise level; give sigma (0 to 255)")
        level = torch.as_tensor(sigma, dtype=torch.float32) / 255
        return level if level.ndim == 4 else level.reshape(-1, 1, 1, 1)
    if takes_damage(network):
        if damage is None:
            if filled is None:
                raise ModelError("needs the picture, in which it measures the damage")
            damage = measure_codes(filled).to(filled)
        return damage[:, :, None, None]
    if not getattr(network, "condition_channels", 0):
        return None
    if mask is None:
        raise ModelError("needs a mask of the holes")
    if network.condition_channels == 1 or filled is None:
        return mask.float()
    return torch.cat([mask.to(filled), filled.expand(-1, 3, -1, -1)], 1)


def to_network_channels(network: nn.Module, x: Tensor) -> Tensor:
    """Convert ``B C H W`` (C 1 or 3) to pictures with the network's number of channels.

    For a one-channel network RGB becomes three gray pictures (``3B 1 H W``); for a three-channel
    network gray becomes three equal channels.
    """
    wanted = getattr(network, "channels", 3)
    if wanted is None or x.shape[1] == wanted:
        return x
    if x.shape[1] == 1:
        return x.expand(-1, 3, -1, -1)
    return x.reshape(-1, 1, *x.shape[2:])


def from_network_channels(network: nn.Module, y: Tensor, channels: int) -> Tensor:
    """Undo `to_network_channels`; three results for one gray picture are averaged.

    Args:
        network: the network that computed ``y``.
        y: output of the network.
        channels: number of channels of the pictures before `to_network_channels`.
    """
    wanted = getattr(network, "channels", 3)
    if wanted is None or channels == wanted:
        return y
    if channels == 1:
        return y.mean(1, keepdim=True)
    return y.reshape(-1, 3, *y.shape[2:])


def repeat_for_channels(network: nn.Module, each: Tensor, channels: int) -> Tensor:
    """Repeat values per picture (``B …``) in the way `to_network_channels` splits pictures."""
    if getattr(network, "channels", 3) == 1 and channels == 3:
        return each.repeat_interleave(3, 0)
    return each


def network_autocast(
    network: nn.Module, device: torch.device, precision: str
) -> AbstractContextManager[object]:
    """Return the context in which a network computes at ``precision``, ``fp32`` or ``bf16``.

    Flows, whose state stays in float32, use `irae.flow.subnets.set_network_dtype` instead; all
    other networks run under autocast.
    """
    if precision != "bf16" or any(isinstance(m, CouplingNetwork) for m in network.modules()):
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
