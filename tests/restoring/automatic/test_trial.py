"""Trying the denoiser: it must remove noise, and nothing but noise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from irae.imaging.degrade import add_noise
from irae.imaging.metrics import psnr
from irae.models.checkpoints.model_file import load_model
from irae.restoring.automatic.trial import denoiser_suits, parts_of, removes_only_noise
from irae.restoring.restorer import Restorer
from irae.runtime import generator


def _text(side: int) -> Tensor:
    """Small letters, as many as fit."""
    page = Image.new("L", (side, side), 250)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(9)
    for row in range(2, side - 8, 9):
        draw.text((2, row), "wir lesen kleine Buchstaben, dicht gesetzt " * 3, fill=5, font=font)
    return torch.from_numpy(np.array(page))[None].float() / 255


def _smooth(side: int) -> Tensor:
    along = torch.linspace(0.2, 0.8, side)
    return torch.stack([along.expand(side, side), along[:, None].expand(side, side)]).mean(0)[None]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [0.9, 1.5])
def test_a_change_larger_than_the_noise_is_more_than_noise(channels: int, factor: float) -> None:
    clean = _smooth(64).expand(channels, -1, -1)
    change = torch.randn(clean.shape, generator=generator(0)) * (factor * 8 / 255)
    in_mean = 8 / math.sqrt(channels)
    only = removes_only_noise([clean + change], [clean], in_mean)
    assert only == (factor < 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_denoiser_suits_a_smooth_picture(channels: int) -> None:
    noisy = add_noise(_smooth(96).expand(channels, -1, -1), 8, generator(1), clip=True)
    assert denoiser_suits(parts_of(noisy), 8.0)


def test_where_it_is_said_to_suit_text_it_makes_text_no_worse() -> None:
    clean = _text(160).expand(3, -1, -1)
    for sigma in (3, 6, 15):
        noisy = add_noise(clean, sigma, generator(sigma), clip=True)
        restored = Restorer("denoise", device="cpu", precision="fp32").restore(noisy)
        gain = float(psnr(restored[None], clean[None]) - psnr(noisy[None], clean[None]))
        assert gain > 0 or not denoiser_suits(parts_of(noisy), float(sigma)), sigma


@pytest.mark.parametrize("sigma", [4, 10])
def test_shared_noise_on_text_is_left_to_the_denoiser_only_if_it_suits(sigma: int) -> None:
    clean = _text(160)
    noisy = add_noise(clean, sigma, generator(2), clip=True).expand(3, -1, -1).contiguous()
    clean = clean.expand(3, -1, -1)
    model = load_model("photo")
    model.name = "alone"
    restored = [
        Restorer(each, device="cpu", precision="fp32").restore(noisy) for each in ("photo", model)
    ]
    scores = [float(psnr(each[None], clean[None])) for each in restored]
    given = float(psnr(noisy[None], clean[None]))
    assert scores[0] >= min(scores[1], given) - 0.05
