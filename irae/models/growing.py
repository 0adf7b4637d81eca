"""A trained network's function in a larger one (after Net2Net, Chen et al. 2016).

What an identity start is to training from nothing, this is to going on with more: the larger
network computes at first exactly what the smaller one did, so nothing that was learned is lost.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from irae.flow.bijection import Chain
from irae.flow.glow import Glow
from irae.flow.layers import (
    AdditiveCoupling,
    AffineCoupling,
    BoundedCoupling,
    BoundedMixing,
    Shrinking,
)
from irae.flow.networks import PlainNetwork
from irae.models.irae import IRAE


def start_from(network: nn.Module, source: nn.Module) -> None:
    """Give ``network`` the weights of ``source``, or its function where it is the larger one.

    An `IRAE` may have more width, levels or condition channels than its source, larger kernels,
    bounded couplings in place of additive ones, a wider bound of its mixings, a `Shrinking`, and
    where the source has one level and no `Shrinking`, more depth.

    In one case the function is only nearly kept: an `IRAE` with fewer levels than its source and a
    `Shrinking` takes the levels it has, and shrinks what went further down to a 25th. Trained
    denoisers do no more with it than that (docs/ablation.md).

    Args:
        network: newly built; its weights are replaced.
        source: trained; it is not changed.

    Raises:
        ValueError: neither the weights nor the function fit; says why.
    """
    if isinstance(network, IRAE) and isinstance(source, IRAE):
        for ours, theirs in ((network.encoder, source.encoder), (network.decoder, source.decoder)):
            _check_kinds(ours, theirs, may_shrink=_ends_shrinking(network.encoder))
        if source.holes is not None and network.holes is None:
            raise ValueError("it has a HoleCoupling, and this network has none")
        with torch.no_grad():
            if source.holes is not None and network.holes is not None:
                _copy(network.holes, source.holes)
            # What is new is the same in both flows, and so undoes itself.
            network.mirror()
            _grow_flow(network.encoder, source.encoder)
            _grow_flow(network.decoder, source.decoder)
            if len(source.encoder.levels) > len(network.encoder.levels):
                _shrink_first_half(network.encoder)
        return
    try:
        network.load_state_dict(source.state_dict())
    except RuntimeError:
        raise ValueError("its tensors do not fit the network of this config") from None


def _check_kinds(ours: Glow, theirs: Glow, *, may_shrink: bool) -> None:
    if len(theirs.levels) > len(ours.levels) and not may_shrink:
        raise ValueError(f"it has {len(theirs.levels)} levels, more than {len(ours.levels)}")
    if _ends_shrinking(theirs) and not (
        _ends_shrinking(ours) and len(theirs.levels) == len(ours.levels)
    ):
        raise ValueError("it shrinks its last level, and this network does not, or another one")
    for number, (own, given) in enumerate(zip(ours.levels, theirs.levels, strict=False), start=1):
        here, there = _steps(own), _steps(given)
        if isinstance(here[-1], Shrinking):
            here.pop()
        shrunk = isinstance(there[-1], Shrinking)
        if shrunk:
            there.pop()
        if len(there) > len(here):
            raise ValueError(f"its level {number} has more steps")
        # After a new step other channels would go down, or be shrunk.
        if len(there) < len(here) and (number < len(theirs.levels) or shrunk):
            raise ValueError(f"its level {number} has fewer steps; only the last may have")
        for step, source in zip(here, there, strict=False):
            grown = isinstance(step, BoundedCoupling) and isinstance(source, AdditiveCoupling)
            if type(step) is not type(source) and not grown:
                raise ValueError(
                    f"its level {number} has {type(source).__name__} in place of "
                    f"{type(step).__name__}"
                )


def _ends_shrinking(flow: Glow) -> bool:
    return isinstance(_steps(flow.levels[-1])[-1], Shrinking)


def _shrink_first_half(flow: Glow) -> None:
    last = _steps(flow.levels[-1])[-1]
    assert isinstance(last, Shrinking)
    half = len(last.log_scale) // 2
    log = torch.tensor(-math.log(25), dtype=torch.float64).clamp(-0.95 * last.bound)
    last.log_scale[:half] = last.bound * torch.atanh(log / last.bound) / last.pace


def _steps(level: nn.Module) -> list[nn.Module]:
    assert isinstance(level, Chain)
    return list(level.steps)


def _grow_flow(ours: Glow, theirs: Glow) -> None:
    for own, given in zip(ours.levels, theirs.levels, strict=False):
        for step, source in zip(_steps(own), _steps(given), strict=False):
            if type(step) is type(source) and isinstance(step, BoundedMixing):
                assert isinstance(source, BoundedMixing)
                _grow_mixing(step, source)
            elif isinstance(step, (AdditiveCoupling, AffineCoupling)):
                assert isinstance(source, (AdditiveCoupling, AffineCoupling))
                _grow_coupling(step, source)
            elif not isinstance(step, Shrinking):
                _copy(step, source)


def _copy(module: nn.Module, source: nn.Module) -> None:
    try:
        module.load_state_dict(source.state_dict())
    except RuntimeError:
        raise ValueError(f"a {type(source).__name__} of it has another size") from None


def _grow_mixing(mixing: BoundedMixing, source: BoundedMixing) -> None:
    if mixing.bound < source.bound:
        raise ValueError(f"a mixing of it has the bound {source.bound}, more than {mixing.bound}")
    _copy(mixing, source)
    if mixing.bound > source.bound:
        scale = source.bound * torch.tanh(source.pace * source.log_scale.double() / source.bound)
        log_scale = mixing.bound * torch.atanh(scale / mixing.bound) / mixing.pace
        mixing.log_scale.copy_(log_scale)


def _grow_coupling(
    coupling: AdditiveCoupling | AffineCoupling, source: AdditiveCoupling | AffineCoupling
) -> None:
    bounds = {c.bound for c in (coupling, source) if isinstance(c, BoundedCoupling)}
    if len(bounds) > 1:
        raise ValueError(f"its couplings' bounds differ: {sorted(bounds)}")
    network, given = coupling.network, source.network
    if not isinstance(network, PlainNetwork) or not isinstance(given, PlainNetwork):
        _copy(network, given)
        return
    if network.conv2.out_channels < given.conv2.out_channels:
        raise ValueError(f"its width {given.conv2.out_channels} is more than this config's")
    if network.conv1.in_channels < given.conv1.in_channels:
        raise ValueError("it takes more condition channels")
    # Its units come first and see nothing of the new ones; those have random inputs, and outputs
    # of zero until they are trained.
    _embed(network.conv1, given.conv1, slice(None))
    _embed(network.conv2, given.conv2, slice(None))
    # Of a bounded coupling's outputs every other one is a shift.
    doubled = type(coupling) is not type(source)
    for parameter in network.conv3.parameters():
        parameter.zero_()
    _embed(network.conv3, given.conv3, slice(0, None, 2) if doubled else slice(None))


def _embed(layer: nn.Conv2d, source: nn.Conv2d, rows: slice) -> None:
    """Put a convolution's weights into the first of these rows, zero beside and around them."""
    count, inputs, size, _ = source.weight.shape
    weight, bias = _rows(layer, rows, count)
    margin = (weight.shape[2] - size) // 2
    if margin < 0:
        raise ValueError(f"a kernel of it, {size}, is larger than this config's")
    weight.zero_()
    inside = slice(margin, margin + size)
    weight[:, :inputs, inside, inside] = source.weight
    if bias is not None and source.bias is not None:
        bias.copy_(source.bias)


def _rows(layer: nn.Conv2d, rows: slice, count: int) -> tuple[Tensor, Tensor | None]:
    bias = None if layer.bias is None else layer.bias[rows][:count]
    return layer.weight[rows][:count], bias
