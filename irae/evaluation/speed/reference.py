"""A plain rendition of the published layers (arXiv 2009.03173), to measure others against.

What one writes down from the paper: NCHW float32, every layer by itself, the matrices inverted
when they are needed. It runs on the weights of an `IRAE` of the ``paper`` form.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.flow.actnorm import ActNorm
from irae.flow.coupling import AffineCoupling
from irae.flow.mixing import InvertibleConv1x1
from irae.flow.squeeze import Squeeze
from irae.flow.subnets import ActNormNetwork
from irae.models.networks.irae import IRAE


def _scale_and_shift(network: nn.Module, half: Tensor) -> tuple[Tensor, Tensor]:
    assert isinstance(network, ActNormNetwork)
    first, second = network.actnorm1, network.actnorm2
    h = F.conv2d(half, network.conv1.weight, padding=1)
    h = F.relu((h - first.bias) / first.scale)
    h = F.conv2d(h, network.conv2.weight, padding=1)
    h = F.relu((h - second.bias) / second.scale)
    h = F.conv2d(h, network.conv3.weight, network.conv3.bias)
    h = h * network.log_scale.exp()
    return torch.sigmoid(h[:, 1::2] + 2), h[:, 0::2]


def _forward(step: nn.Module, x: Tensor) -> Tensor:
    if isinstance(step, AffineCoupling):
        a, b = x.chunk(2, 1)
        scale, shift = _scale_and_shift(step.network, b)
        return torch.cat([scale * a + shift, b], 1)
    if isinstance(step, InvertibleConv1x1):
        return F.conv2d(x, step.weight[:, :, None, None])
    if isinstance(step, ActNorm):
        return (x - step.bias) / step.scale
    return F.pixel_unshuffle(x, 2)


def _backward(step: nn.Module, z: Tensor) -> Tensor:
    if isinstance(step, AffineCoupling):
        a, b = z.chunk(2, 1)
        scale, shift = _scale_and_shift(step.network, b)
        return torch.cat([(a - shift) / scale, b], 1)
    if isinstance(step, InvertibleConv1x1):
        return F.conv2d(z, torch.linalg.inv(step.weight)[:, :, None, None])
    if isinstance(step, ActNorm):
        return z * step.scale + step.bias
    return F.pixel_shuffle(z, 2)


def reference_implementation(network: IRAE) -> Callable[[Tensor], Tensor]:
    """``B 3 H W`` to restored, layer by layer; H and W must be multiples of ``size_multiple``.

    Raises:
        ValueError: the network has layers that the publication does not.
    """
    encoder = [list(level.get_submodule("steps").children()) for level in network.encoder.levels]
    decoder = [list(level.get_submodule("steps").children()) for level in network.decoder.levels]
    for step in [step for level in encoder for step in level]:
        published = type(step) in (Squeeze, ActNorm, InvertibleConv1x1, AffineCoupling)
        if isinstance(step, AffineCoupling):
            published = isinstance(step.network, ActNormNetwork)
        if not published or network.condition_channels:
            raise ValueError("only networks of the paper's layers have a published form")

    def run(x: Tensor) -> Tensor:
        latents = []
        x = x - 0.5
        for level in encoder:
            for step in level:
                x = _forward(step, x)
            x, latent = x.chunk(2, 1)
            latents.append(latent)
        for level in reversed(decoder):
            x = torch.cat([x, latents.pop()], 1)
            for step in reversed(level):
                x = _backward(step, x)
        return x + 0.5

    return run
