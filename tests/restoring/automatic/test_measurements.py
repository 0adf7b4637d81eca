"""What is measured before a model is tried: the noise, and what models are told."""

from __future__ import annotations

import torch
from torch import Tensor

from irae.imaging.degrade import jpeg_compress
from irae.restoring.automatic.measurements import Measurements, take_measurements


def gradient(side: int = 160) -> Tensor:
    """A smooth colour picture without damage."""
    x = torch.linspace(0.2, 0.8, side)
    return torch.stack([x.expand(side, side), x[:, None].expand(side, side), 1 - x[:, None] * x])


def noisy(level: float, *, shared: bool = False) -> Tensor:
    random = torch.Generator().manual_seed(1)
    clean = gradient()
    noise = torch.randn(clean[:1].shape if shared else clean.shape, generator=random)
    return (clean + level / 255 * noise).clamp(0, 1).mul(255).round() / 255


def test_white_noise_is_for_the_denoiser_unless_it_is_under_jpeg() -> None:
    pixels = noisy(15)
    found = take_measurements(pixels, jpeg=False)
    assert found.white and found.noise is not None and abs(found.noise.sigma - 15) < 1.5
    under = jpeg_compress(pixels, 90, subsampling="4:4:4")
    assert not take_measurements(under, jpeg=True).white


def test_models_are_told_that_all_channels_share_their_noise_unless_it_is_under_jpeg() -> None:
    pixels = noisy(15, shared=True)
    found = take_measurements(pixels, jpeg=False)
    assert found.noise is not None and found.noise.shared and not found.white
    assert found.told != found.damage
    under = take_measurements(pixels, jpeg=True)
    assert under.told == under.damage is not None


def test_few_colours_and_two_levels_are_not_measured() -> None:
    few = (gradient() * 2).round() / 2
    assert take_measurements(few, jpeg=False) == Measurements(few_colours=True)
    assert not take_measurements(few, jpeg=True).few_colours
    assert take_measurements(noisy(15), jpeg=False, two_levels=True).few_colours


def test_transparent_pixels_are_not_measured() -> None:
    pixels = noisy(4)
    hidden = torch.zeros(1, 160, 160, dtype=torch.bool)
    hidden[:, :80] = True
    loud = torch.where(hidden, torch.rand(pixels.shape), pixels)
    found = take_measurements(loud, ~hidden, jpeg=False)
    assert found.noise is not None and found.noise.sigma < 8


def test_a_picture_that_is_too_small_has_no_measurements() -> None:
    found = take_measurements(noisy(15)[:, :5, :5], jpeg=False)
    assert found.noise is None and found.told is None and not found.white
