"""The activations of every kind of network at several stages.

A stage is a set of tensors from which the rest of the network computes its output or, if its name
says "no skips", the one among them that has passed through every layer so far. From the stages of
invertible networks the input can be recovered; the tensors of other networks are read by hooks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.errors import ModelError
from irae.flow.bijection import Chain
from irae.flow.glow import Glow
from irae.models.networks.arcnn import ARCNN
from irae.models.networks.denoising.dncnn import DnCNN
from irae.models.networks.denoising.ffdnet import FFDNet
from irae.models.networks.denoising.gradnet import GradNet
from irae.models.networks.denoising.invdn import InvDN, haar_merge, haar_split
from irae.models.networks.denoising.rdn import RDN
from irae.models.networks.denoising.rednet import REDNet
from irae.models.networks.inpainting.contextual_attention import ContextualAttentionNetwork
from irae.models.networks.inpainting.csa import CSANetwork
from irae.models.networks.inpainting.pconv import PConvUNet
from irae.models.networks.inpainting.shift_net import ShiftNet
from irae.models.networks.irae import IRAE
from irae.models.networks.lifted import LiftedIRAE, picture_of
from irae.models.networks.unet import UNet

OUTPUT = "output"
"""The last stage of every network: the restored picture."""


@dataclass(frozen=True)
class Activation:
    """The activations of one stage.

    Attributes:
        name: name of the stage, such as ``after 4 convolutions``.
        parts: tensors ``B C h w``; the input's height is a multiple of each h. In a stage with
            skips the finest tensor is the first.
        recover: recovers the input ``B C H W`` from the parts; None if the network has no inverse.
    """

    name: str
    parts: tuple[Tensor, ...]
    recover: Callable[[], Tensor] | None = None


@dataclass(frozen=True)
class _Hook:
    """A hook that reads the input or the output of a module."""

    module: nn.Module
    side: Literal["input", "output"] = "output"


_Plan = dict[str, list[_Hook]]


@torch.no_grad()
def activations_of(network: nn.Module, x: Tensor, condition: Tensor | None) -> list[Activation]:
    """Run a network and collect the activations of its stages.

    Args:
        network: any network of the registry, in evaluation mode.
        x: input ``B C H W``, H and W multiples of the network's ``size_multiple``.
        condition: condition of the network, see `irae.models.call.condition_for`.

    Returns:
        The stages in the order of computation, the output last.

    Raises:
        ModelError: this kind of network has no stages.
    """
    if isinstance(network, IRAE):
        return _irae(network, x, condition)
    if isinstance(network, LiftedIRAE):
        return _lifted(network, x, condition)
    if isinstance(network, InvDN):
        return _invdn(network, x)
    for kind, plan in _PLANS.items():
        if isinstance(network, kind):
            return _hooked(network, plan(network), x, condition)
    raise ModelError(
        f"{type(network).__name__} has no stages here; give one of "
        f"{', '.join(kind.__name__ for kind in _PLANS)}, IRAE, LiftedIRAE, InvDN"
    )


def _hooked(
    network: nn.Module, plan: _Plan, x: Tensor, condition: Tensor | None
) -> list[Activation]:
    seen: dict[_Hook, Tensor] = {}

    def keep(tap: _Hook, value: Any) -> None:
        # Partial convolutions pass features together with their validity.
        while isinstance(value, tuple):
            value = value[0]
        seen[tap] = value.detach()

    handles = []
    try:
        for tap in {tap: None for taps in plan.values() for tap in taps}:
            if tap.side == "input":
                handles.append(
                    tap.module.register_forward_pre_hook(
                        lambda _module, given, tap=tap: keep(tap, given)
                    )
                )
            else:
                handles.append(
                    tap.module.register_forward_hook(
                        lambda _module, _given, result, tap=tap: keep(tap, result)
                    )
                )
        restored = network(x, condition)
    finally:
        for handle in handles:
            handle.remove()
    stages = [Activation(name, tuple(seen[tap] for tap in taps)) for name, taps in plan.items()]
    return [*stages, Activation(OUTPUT, (restored,))]


def _irae(network: IRAE, x: Tensor, condition: Tensor | None) -> list[Activation]:
    """Collect, after each level, the state and all latents split off so far."""
    encoder, decoder = (_levels(flow, condition) for flow in (network.encoder, network.decoder))
    stages = []
    state, latents = x - 0.5, list[Tensor]()
    for depth, (chain, given) in enumerate(encoder, 1):
        state, latent = chain(state, given).chunk(2, 1)
        latents.append(latent)
        parts = (state, *latents)
        stages.append(
            Activation(
                f"encoder, after level {depth}",
                parts,
                lambda parts=parts: _up(parts, encoder) + 0.5,  # type: ignore[misc]
            )
        )
    for depth in range(len(decoder), 0, -1):
        chain, given = decoder[depth - 1]
        state = chain.inverse(torch.cat((state, latents[depth - 1]), 1), given)
        parts = (state, *latents[: depth - 1])
        stages.append(
            Activation(
                OUTPUT if depth == 1 else f"decoder, after level {depth}",
                (state + 0.5,) if depth == 1 else parts,
                lambda parts=parts: _up(_down(parts, decoder), encoder) + 0.5,  # type: ignore[misc]
            )
        )
    return stages


def _lifted(network: LiftedIRAE, x: Tensor, condition: Tensor | None) -> list[Activation]:
    """Collect both streams after some couplings; the last stage includes the restored picture."""
    flow, count = network.flow, len(network.flow.couplings)
    a = b = network.lift(x, condition)

    def back(streams: tuple[Tensor, Tensor], stop: int) -> Tensor:
        first, _ = flow.inverse(*streams, stop=stop)
        return picture_of(first, first)

    stages, start = [], 0
    for stop in _every(count, 4):
        a, b = flow(a, b, start=start, stop=stop)
        name = "restored and remainder" if stop == count else f"after coupling {stop}"
        stages.append(
            Activation(
                name,
                (torch.cat([a, b], 1),),
                lambda streams=(a, b), stop=stop: back(streams, stop),  # type: ignore[misc]
            )
        )
        start = stop
    return [*stages, Activation(OUTPUT, (picture_of(a, b),))]


def _levels(flow: Glow, condition: Tensor | None) -> list[tuple[Chain, Tensor | None]]:
    """Return the levels of a flow, each with the condition at the size of its input."""
    levels = []
    for level in flow.levels:
        chain = cast(Chain, level)
        levels.append((chain, condition))
        condition = chain.squeeze_condition(condition)
    return levels


def _up(parts: tuple[Tensor, ...], levels: list[tuple[Chain, Tensor | None]]) -> Tensor:
    """Invert levels: map a state and the finer latents, finest first, back to the picture."""
    state, *latents = parts
    for (chain, given), latent in reversed(list(zip(levels, latents, strict=False))):
        state = chain.inverse(torch.cat((state, latent), 1), given)
    return state


def _down(
    parts: tuple[Tensor, ...], levels: list[tuple[Chain, Tensor | None]]
) -> tuple[Tensor, ...]:
    """Run a state and the finer latents through the remaining, coarser levels."""
    state, *latents = parts
    for chain, given in levels[len(latents) :]:
        state, latent = chain(state, given).chunk(2, 1)
        latents.append(latent)
    return (state, *latents)


def _invdn(network: InvDN, x: Tensor) -> list[Activation]:
    """Collect each halving, which is invertible, and the small picture without its latent."""
    levels = [list(cast(nn.ModuleList, level)) for level in network.levels]

    def back(h: Tensor, count: int) -> Tensor:
        for blocks in reversed(levels[:count]):
            for block in reversed(blocks):
                h = cast(Any, block).inverse(h)
            h = haar_merge(h)
        return h

    stages = []
    h = x
    for count, blocks in enumerate(levels, 1):
        h = haar_split(h)
        for block in blocks:
            h = block(h)
        kept = h
        stages.append(
            Activation(
                f"after halving {count}",
                (kept,),
                lambda kept=kept, count=count: back(kept, count),  # type: ignore[misc]
            )
        )
    small, latent = h[:, :3], h[:, 3:]
    restored = network.decode(small, network.draw_latent(latent))
    return [
        *stages,
        Activation("small picture, latent dropped", (small,)),
        Activation(OUTPUT, (restored,)),
    ]


def _every(count: int, wanted: int = 5) -> list[int]:
    """Return about ``wanted`` evenly spaced numbers from 1 to ``count``; the first is 1."""
    return sorted({max(1, round(count * i / wanted)) for i in range(wanted + 1)})


def _stack(network: DnCNN | FFDNet) -> _Plan:
    """Plan stages between convolutions; the skip from the input to DnCNN's output is left out."""
    convolutions = list(network.body.convolutions)
    plan: _Plan = {}
    for number in _every(len(convolutions)):
        name = f"after {number} convolution{'s' if number > 1 else ''}"
        # The input of the next convolution has passed normalisation and ReLU.
        last = number == len(convolutions)
        plan[name] = [_Hook(convolutions[-1]) if last else _Hook(convolutions[number], "input")]
    return plan


def _arcnn(network: ARCNN) -> _Plan:
    relus = [module for module in network.body if isinstance(module, nn.ReLU)]
    return {f"after {i} convolution{'s' * (i > 1)}": [_Hook(m)] for i, m in enumerate(relus, 1)}


def _rednet(network: REDNet) -> _Plan:
    layers = [*network.encoder, *network.decoder]
    numbers = [number for number in _every(len(layers), 6) if number < len(layers)]
    return {
        f"after layer {number}, no skips": [_Hook(layers[number], "input")] for number in numbers
    }


def _unet(network: UNet) -> _Plan:
    """Plan stages without skips (the features alone) and with the skips yet to be used."""
    depth = len(network.up)
    taps = [_Hook(module) for module in network.down]
    plan: _Plan = {"down 1": [taps[0]]}
    for level in range(1, depth + 1):
        name = f"down {level + 1}" if level < depth else "bottom"
        plan[f"{name}, no skips"] = [taps[level]]
        plan[f"{name}, with skips"] = taps[: level + 1]
    for number, module in enumerate(network.merge, 1):
        left = taps[: depth - number]
        name = f"up {number}"
        plan[f"{name}, no skips" if left else name] = [_Hook(module)]
        if left:
            plan[f"{name}, with skips"] = [*left, _Hook(module)]
    return plan


def _normalised(network: PConvUNet | ShiftNet) -> _Plan:
    """Plan stages before the ReLUs, without skips, because one skip may pass the picture itself."""
    norms = list(network.encoder_norms)
    plan: _Plan = {f"down {i}, no skips": [_Hook(norm)] for i, norm in enumerate(norms, 1)}
    # The last layer has no normalisation; its result is the output.
    ups = [norm for norm in network.decoder_norms if not isinstance(norm, nn.Identity)]
    for number, norm in enumerate(ups, 1):
        plan[f"up {number}, no skips"] = [_Hook(norm)]
    return plan


def _gradnet(network: GradNet) -> _Plan:
    plan: _Plan = {"features and gradient": [_Hook(network.units, "input")]}
    for number, unit in enumerate(network.units, 1):
        plan[f"after unit {number}, no skips"] = [_Hook(unit)]
    return plan


def _contextual_attention(network: ContextualAttentionNetwork) -> _Plan:
    """Plan stages of both networks; the known pixels also go around the coarse one."""
    return {
        "coarse, at a quarter of the size": [_Hook(network.coarse[9])],
        "coarse picture": [_Hook(network.coarse)],
        "refined, at a quarter of the size": [_Hook(network.tail[1])],
    }


def _csa(network: CSANetwork) -> _Plan:
    """Plan stages of both networks; the known pixels also go around the rough one."""
    levels = network.refinement.each_level()
    plan: _Plan = {"rough picture": [_Hook(network.rough)]}
    for number, level in enumerate(levels, 1):
        at = ", attended" if number == network.refinement.attention_level else ""
        plan[f"down {number}{at}, no skips"] = [_Hook(level.widen_norm)]
    for number, level in enumerate(reversed(levels), 1):
        plan[f"up {number}, no skips"] = [_Hook(level.enlarge_norm)]
    return plan


def _rdn(network: RDN) -> _Plan:
    plan = {"shallow features": [_Hook(network.shallow2)]}
    for number in _every(len(network.blocks), 3):
        plan[f"after block {number}, no skips"] = [_Hook(network.blocks[number - 1])]
    return {**plan, "fused, no skips": [_Hook(network.fuse2)]}


_PLANS: dict[type[nn.Module], Callable[[Any], _Plan]] = {
    DnCNN: _stack,
    FFDNet: _stack,
    ARCNN: _arcnn,
    REDNet: _rednet,
    UNet: _unet,
    PConvUNet: _normalised,
    ShiftNet: _normalised,
    GradNet: _gradnet,
    ContextualAttentionNetwork: _contextual_attention,
    CSANetwork: _csa,
    RDN: _rdn,
}


def scale_of(part: Tensor, height: int) -> int:
    """Return the number of input rows for one row of ``part`` (``B C h w``)."""
    return height // part.shape[2]


def patches(part: Tensor, height: int, side: int) -> Tensor:
    """Collect the values of a part at each patch of ``side`` pixels of the input.

    Args:
        part: ``B C h w``.
        height: height of the input, a multiple of ``side``.
        side: side of a patch in pixels of the input, a multiple of the part's scale.

    Returns:
        ``N D``: one row per patch, in the order of pictures, rows and columns.
    """
    cells = F.pixel_unshuffle(part, side // scale_of(part, height))
    return cells.permute(0, 2, 3, 1).flatten(0, 2)
