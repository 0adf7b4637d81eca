"""The two test protocols: how a clean picture is prepared, damaged and compared.

``standard`` is how the field measures; ``authors`` does what the published code of the paper did,
bugs included, and serves only for comparison with the paper's tables. Numbers of the two protocols
are not comparable.

All randomness is a function of the seed and the picture's index in its set: noise, holes and the
choice of an irregular mask come from ``generator(seed, index)``, so that a picture gets the same
noise pattern at every level and whatever else is in the set. The order of a folder's masks comes
from ``generator(seed)``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from irae.data.folder import ProtocolName
from irae.errors import UsageError
from irae.imaging import metrics
from irae.runtime import generator
from irae.tasks.base import Damaged, Degradation, Task

# Separates the random stream that dequantises a clean picture from that of its noise.
_DEQUANTISE = 1


class Protocol(ABC):
    """How a test is carried out.

    Attributes:
        name: name of the protocol.
        summary: one line for the head of a table.
        ssim_side: side in pixels below which a picture has no SSIM.
    """

    name: ClassVar[ProtocolName]
    summary: ClassVar[str]
    ssim_side: ClassVar[int]

    def batch_size(self, task: Task) -> int:
        """Return how many pictures are restored at a time; a smaller last batch is left out."""
        del task
        return 1

    def check(self, degradation: Degradation) -> None:
        """Raise `UsageError` if the protocol has no such degradation."""
        del degradation

    @abstractmethod
    def clean(self, pixels: Tensor, seed: int, index: int) -> Tensor:
        """Return the target, float32 ``3 H W`` in [0, 1], of an 8-bit picture (uint8 ``3 H W``)."""

    @abstractmethod
    def damage(self, clean: Tensor, degradation: Degradation, seed: int, index: int) -> Damaged:
        """Damage the target of picture ``index``.

        Raises:
            UsageError: the degradation does not fit the picture.
            DataError: no mask file is suitable.
            PictureError: a mask file cannot be read.
        """

    @abstractmethod
    def psnr(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the PSNR in dB, ``B``, of ``B 3 H W`` against the target."""

    @abstractmethod
    def ssim(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the SSIM, ``B``, of ``B 3 H W`` against the target; H, W >= ``ssim_side``."""


class Standard(Protocol):
    """The field's usual protocol.

    The target is the 8-bit picture. Noise is not clipped (unless `Noise.clipped`), so the input's
    PSNR is that of its sigma. Masked pixels are 0. A folder's masks are shuffled by the seed and
    used in turn.
    """

    name = "standard"
    summary = (
        "8-bit targets, noise seeded per picture and not clipped unless stated,"
        " output clipped to [0, 1], PSNR over RGB, SSIM 11x11 Gaussian sigma 1.5 range 1"
    )
    ssim_side = metrics.SSIM_WINDOW

    def clean(self, pixels: Tensor, seed: int, index: int) -> Tensor:
        """See `Protocol.clean`."""
        return pixels.to(torch.float32) / 255

    def damage(self, clean: Tensor, degradation: Degradation, seed: int, index: int) -> Damaged:
        """See `Protocol.damage`."""
        return degradation.degrade(clean, (seed, index))

    def psnr(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Protocol.psnr`."""
        return metrics.psnr(a, b)

    def ssim(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Protocol.ssim`."""
        return metrics.ssim(a, b)


class Authors(Protocol):
    """The protocol of the code published with the paper.

    The target is floor(x / 8) / 32 + U(0, 1/32): five bits, dequantised. The uniform part cannot be
    predicted from the picture, so no restorer passes about 40.9 dB. The mean squared error is
    bounded below by 1e-8, hence PSNR above by 80 dB. Pictures are tested in batches of 100, the
    incomplete last one is dropped; for inpainting they are tested one by one.

    The "centre" hole is a random box of 128x128 filled with 1. Its upper and lower sides are moved
    inwards by a random 0 to 16 pixels, its left and right sides by another such number. A box of
    another side is shrunk in proportion, by up to an eighth. Irregular masks are drawn until one
    covers at least 10 and less than 50 % of the picture; they are filled with 0.

    Source: ``fetch_dataloader``, ``denoise``, ``random_bbox``, ``bbox2mask``, ``batchPSNR`` and
    ``batchSSIM`` of github.com/Lillian1082/IRAE_pytorch.
    """

    name = "authors"
    summary = (
        "as published with the paper: 5-bit dequantised targets (PSNR below about 40.9 dB),"
        " SSIM window 3 over channel and row, range 2; not comparable with standard"
    )
    ssim_side = metrics.AUTHORS_SSIM_WINDOW

    def batch_size(self, task: Task) -> int:
        """See `Protocol.batch_size`."""
        return task.published_batch

    def check(self, degradation: Degradation) -> None:
        """See `Protocol.check`."""
        degradation.check_published()

    def clean(self, pixels: Tensor, seed: int, index: int) -> Tensor:
        """See `Protocol.clean`."""
        return dequantise(pixels, generator(seed, index, _DEQUANTISE))

    def damage(self, clean: Tensor, degradation: Degradation, seed: int, index: int) -> Damaged:
        """See `Protocol.damage`."""
        return degradation.degrade_as_published(clean, (seed, index))

    def psnr(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Protocol.psnr`."""
        return metrics.psnr(a, b).clamp(max=80.0)

    def ssim(self, a: Tensor, b: Tensor) -> Tensor:
        """See `Protocol.ssim`."""
        return metrics.ssim_authors(a, b)


def dequantise(pixels: Tensor, random: torch.Generator) -> Tensor:
    """Return floor(x / 8) / 32 + U(0, 1/32) of 8-bit ``pixels``: the published clean picture."""
    return (pixels // 8).to(torch.float32) / 32 + torch.rand(pixels.shape, generator=random) / 32


PROTOCOLS: dict[str, Protocol] = {each.name: each for each in (Standard(), Authors())}


def get_protocol(name: str) -> Protocol:
    """Return the protocol called ``name``.

    Raises:
        UsageError: no such protocol exists.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"protocol {name!r} is unknown; use {' or '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
