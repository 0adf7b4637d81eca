"""The form in which a network is exported, made of operations that every runtime has."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.subnets import set_network_dtype
from irae.models.inference.folding import FoldedCoupling, FoldedLevel, Linear, can_fold, fold
from irae.models.inference.lifted_form import LiftedForm
from irae.models.networks.irae import IRAE
from irae.models.networks.lifted import LiftedIRAE


def exportable(network: nn.Module) -> nn.Module:
    """Return a traceable module that computes the same function as a network.

    Args:
        network: a network of the registry, on any device; its weights are copied.

    Returns:
        A module that maps ``B C H W`` and its condition to restored, in float32 on the CPU: a
        folded strict flow, the restoring form of a lifted network, or a copy of any other network.
    """
    copied = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format)
    set_network_dtype(copied, None)
    if isinstance(copied, IRAE) and can_fold(copied):
        return FoldedFlow(copied)
    # Subclasses are excluded, because they may compute something else.
    return LiftedForm(copied) if type(copied) is LiftedIRAE else copied


class FoldedFlow(nn.Module):
    """A strict flow with folded weights that runs on the whole state: for tracing, not for speed.

    `irae.models.inference.folded.FoldedIRAE` computes the same in strips and in place.
    """

    def __init__(self, network: IRAE) -> None:
        super().__init__()
        cpu = torch.device("cpu")
        self.levels = [level.to(cpu, torch.float32) for level in fold(network)]

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Map ``B 3 H W`` in [0, 1] and its condition to restored, as `IRAE.forward`."""
        return _run(self.levels, x, condition)


def _run(levels: list[FoldedLevel], x: Tensor, condition: Tensor | None) -> Tensor:
    """Run ``B C H W`` through the finest level and all below it, forward and backward."""
    level, *below = levels
    condition = None if condition is None else F.avg_pool2d(condition, 2)
    state = _apply(level.enter, F.pixel_unshuffle(x, 2))
    for coupling, following in level.encoder:
        state = _couple(coupling, state, condition, inverse=False)
        state = state if following is None else _apply(following, state)
    if below:
        down, latent = state.chunk(2, 1)
        state = torch.cat((_run(below, down, condition), latent), 1)
    for coupling, following in level.decoder:
        state = _apply(following, _couple(coupling, state, condition, inverse=True))
    return F.pixel_shuffle(state, 2)


def _apply(linear: Linear, x: Tensor) -> Tensor:
    return F.conv2d(x, linear.matrix[:, :, None, None], linear.bias)


def _couple(
    coupling: FoldedCoupling, x: Tensor, condition: Tensor | None, *, inverse: bool
) -> Tensor:
    changed, kept = x.chunk(2, 1)
    given = kept if condition is None else torch.cat((kept, condition), 1)
    (w1, w2, w3), (b1, b2, b3) = coupling.weights, coupling.biases
    h = F.relu(F.conv2d(given, w1, b1, padding=1))
    h = F.relu(F.conv2d(h, w2, b2, padding=1 if coupling.ring else coupling.reach))
    shift = F.conv2d(h, w3, b3, padding=int(not coupling.ring))
    scale: Tensor | float = 1.0
    if coupling.affine:
        shift, raw = shift.chunk(2, 1)
        bound = coupling.bound
        scale = torch.sigmoid(raw) if bound is None else torch.exp(torch.tanh(raw) * bound)
    changed = (changed - shift) / scale if inverse else changed * scale + shift
    return torch.cat((changed, kept), 1)
