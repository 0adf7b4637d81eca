"""Where a lifted restoring network puts what it removes, as the sections of a page."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from irae.errors import ModelError
from irae.evaluation.latents.page import Figure, Section
from irae.models.call import condition_for
from irae.models.loaded import LoadedModel
from irae.models.networks.lifted import (
    PICTURE_CHANNELS,
    LiftedIRAE,
    Remainder,
    picture_of,
)
from irae.runtime import generator

SHOWN_CHANNELS = 8
"""Channels of each stream that are shown: those of the largest energy."""


def lifted_network(model: LoadedModel) -> LiftedIRAE:
    """Return the network of a lifted model that needs nothing besides the picture.

    Raises:
        ModelError: the model is of another kind.
    """
    network = model.network
    if not isinstance(network, LiftedIRAE) or model.takes_mask or model.takes_sigma:
        raise ModelError(
            f"model {model.name!r} is not a lifted network of pictures alone; its latents cannot "
            "be shown; use denoise, jpeg, photo, or a density"
        )
    return network


def _to_8_bits(picture: Tensor) -> Tensor:
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8).cpu()


def _as_gray(values: Tensor) -> Tensor:
    """Show signed numbers ``H W`` as gray: zero is the middle, the largest is black or white."""
    most = float(values.abs().quantile(0.999)) or 1.0
    return _to_8_bits(0.5 + values[None] / (2 * most))


def channel_figures(stream: Tensor, name: str) -> list[Figure]:
    """Return the channels of largest energy of a stream ``C H W``, with their share of it."""
    energy = stream.square().mean((1, 2))
    total = float(energy.sum()) or 1.0
    strongest = energy.argsort(descending=True)[:SHOWN_CHANNELS].tolist()
    return [
        Figure(
            _as_gray(stream[channel]),
            f"{name}, channel {channel}: {float(energy[channel]) / total:.1%} of the energy",
        )
        for channel in strongest
    ]


@torch.inference_mode()
def pictures_after_couplings(
    network: LiftedIRAE, x: Tensor, condition: Tensor | None = None
) -> list[Tensor]:
    """Return the picture ``3 H W`` before the first coupling and after each one.

    Args:
        network: the network.
        x: degraded ``1 3 H W``, H and W multiples of its ``size_multiple``.
        condition: what the network is told besides.
    """
    a = b = network.lift(x, condition)
    found = [picture_of(a, b)[0]]
    for number in range(len(network.flow.couplings)):
        a, b = network.flow(a, b, start=number, stop=number + 1)
        found.append(picture_of(a, b)[0])
    return found


@torch.inference_mode()
def joined(network: LiftedIRAE, restored: Tensor, remainder: Remainder, latent: Tensor) -> Tensor:
    """Return the picture of a restored one and another latent of its remainder."""
    changed = replace(remainder, latent=latent, exact=False)
    return network.join(restored, changed)[0]


@torch.inference_mode()
def restorer_sections(
    model: LoadedModel, picture: Tensor, other: Tensor | None = None, seed: int = 0
) -> list[Section]:
    """Return the sections about what a lifted model does with a picture.

    Args:
        model: a lifted model.
        picture: float32 ``3 H W`` in [0, 1].
        other: another picture, whose remainder is joined with this one; of at least its size.
        seed: seed of the redrawn remainder.

    Raises:
        ModelError: the model is of another kind, or the other picture is too small.
    """
    network = lifted_network(model)
    x = picture[None].to(model.device)
    condition = condition_for(network, filled=x)
    restored, remainder = network.split(x, condition, exact=False)
    padded = network.padded(x)
    steps = pictures_after_couplings(network, padded, condition)
    height, width = picture.shape[1:]
    latent = remainder.latent
    variants = [
        ("with its own remainder: the picture given", latent),
        ("with a remainder of zeros", torch.zeros_like(latent)),
        ("with the remainder's values redrawn by channel", _redrawn(latent, seed)),
    ]
    if other is not None:
        variants.append(("with the other picture's remainder", _foreign(network, x, other)))
    again = [
        Figure(_to_8_bits(joined(network, restored, remainder, value)), caption)
        for caption, value in variants
    ]
    a, b = network.encode(padded, condition).chunk(2, 1)
    return [
        Section(
            "Given and restored",
            "The remainder is all that the restored picture lacks: the two together give the "
            "picture back.",
            [Figure(_to_8_bits(x[0]), "given"), Figure(_to_8_bits(restored[0]), "restored")],
        ),
        Section(
            "The picture after every coupling",
            "The mean of both streams' picture channels, from the one given to the restored one.",
            [
                Figure(_to_8_bits(step[:, :height, :width]), f"after {n} of {len(steps) - 1}")
                for n, step in enumerate(steps)
            ],
        ),
        Section(
            "The remainder",
            "Its strongest channels: the difference of the streams, then both streams' own.",
            channel_figures(latent[0, :PICTURE_CHANNELS], "difference")
            + _stream_figures(latent[0, PICTURE_CHANNELS:]),
        ),
        Section(
            "The state in the middle",
            "The strongest channels of both streams after half of the couplings.",
            channel_figures(a[0], "first stream") + channel_figures(b[0], "second stream"),
        ),
        Section(
            "Joined again",
            "The network run backward from the restored picture and a remainder.",
            again,
        ),
    ]


def _stream_figures(rest: Tensor) -> list[Figure]:
    first, second = rest.chunk(2, 0)
    return channel_figures(first, "first stream") + channel_figures(second, "second stream")


def _redrawn(latent: Tensor, seed: int) -> Tensor:
    """Return normal noise with the mean and the spread of every channel."""
    noise = torch.randn(latent.shape, generator=generator(seed)).to(latent)
    mean, spread = latent.mean((2, 3), keepdim=True), latent.std((2, 3), keepdim=True)
    return mean + spread * noise


def _foreign(network: LiftedIRAE, x: Tensor, other: Tensor) -> Tensor:
    height, width = x.shape[2:]
    if other.shape[1] < height or other.shape[2] < width:
        raise ModelError(
            f"the other picture is {other.shape[2]}×{other.shape[1]}, smaller than "
            f"{width}×{height}; give one at least as large"
        )
    cut = other[None, :, :height, :width].to(x)
    condition = condition_for(network, filled=cut)
    remainder: Remainder = network.split(cut, condition, exact=False)[1]
    return remainder.latent
