"""The form of a network used for restoring: a faster form of the same function if there is one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from irae.models.inference.folded import FoldedIRAE
from irae.models.inference.folding import can_fold
from irae.models.inference.lifted_form import LiftedForm
from irae.models.networks.irae import IRAE
from irae.models.networks.lifted import LiftedIRAE

Form = Callable[[Tensor, Tensor | None], Tensor]


def has_restoring_form(network: nn.Module) -> bool:
    """Whether a network has a separate form for restoring."""
    if isinstance(network, IRAE):
        return can_fold(network)
    # Subclasses are excluded, because they may compute something else.
    return type(network) is LiftedIRAE


def restoring_form(network: nn.Module, device: torch.device, dtype: torch.dtype) -> Form:
    """Return the form for restoring, which maps a batch ``B C H W`` and its condition to restored.

    Args:
        network: the network on ``device``, in evaluation mode.
        device: the device on which it runs.
        dtype: type in which the subnets compute; the state is float32.

    Returns:
        A form whose weights are a copy; or the network, in channels-last order, if it has none.
    """
    if isinstance(network, IRAE) and can_fold(network):
        return FoldedIRAE(network, device, dtype)
    if type(network) is LiftedIRAE:
        return torch.inference_mode()(LiftedForm(network, device, dtype))

    def plain(x: Tensor, condition: Tensor | None) -> Tensor:
        restored: Tensor = network(x.contiguous(memory_format=torch.channels_last), condition)
        return restored

    return plain
