"""Noise measured in one picture and put on another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from irae.errors import UsageError
from irae.imaging.io.files import read_picture
from irae.inverse.noise_transfer import PATCH, draw_noise, noise_covariance, noise_like
from irae.runtime import generator

MIDDLE = PATCH // 2 - 1


def make_noise(kind: str, sigma: float, size: tuple[int, int]) -> Tensor:
    drawn = torch.randn(3, *size, generator=generator(7))
    if kind == "gray":
        drawn = drawn[:1].expand(3, -1, -1)
    if kind == "blurred":
        soft = torch.from_numpy(gaussian_filter(drawn.numpy(), (0, 0.7, 0.7)))
        drawn = soft / soft.std()
    return drawn * sigma / 255


def correlations(noise: Tensor) -> list[float]:
    """Of horizontal and vertical neighbours, and of red and green."""
    n = noise - noise.mean((1, 2), keepdim=True)
    power = n.square().mean()
    pairs = ((n[..., 1:], n[..., :-1]), (n[:, 1:], n[:, :-1]), (n[0], n[1]))
    return [float((a * b).mean() / power) for a, b in pairs]


@pytest.fixture(scope="module")
def photographs(shared: Path) -> tuple[Tensor, Tensor]:
    """A picture to be noisy like, and one to make noisy."""
    files = sorted((shared / "data" / "testsets" / "CBSD68").iterdir())
    return read_picture(files[5]).pixels, read_picture(files[40]).pixels[:, 40:136, 60:156]


@pytest.mark.parametrize(
    ("kind", "sigma", "apart"),
    [
        ("white", 10, 0.05),
        ("white", 25, 0.05),
        ("white", 50, 0.1),
        ("gray", 25, 0.1),
        # The quadratic surface takes some of what is coarse: neighbours 0.50 instead of 0.57.
        ("blurred", 15, 0.12),
    ],
)
def test_strength_and_correlation_are_those_of_the_noisy_picture(
    photographs: tuple[Tensor, Tensor], kind: str, sigma: float, apart: float
) -> None:
    sample, clean = photographs
    noise = make_noise(kind, sigma, (sample.shape[1], sample.shape[2]))
    noisy = ((sample + noise).clamp(0, 1) * 255).round() / 255
    added = noise_like(clean, noisy, generator(3)) - clean
    assert 255 * float(added.std()) == pytest.approx(sigma, rel=0.1)
    assert correlations(added) == pytest.approx(correlations(noise), abs=apart)


def test_another_seed_is_other_noise_and_the_same_seed_the_same(
    photographs: tuple[Tensor, Tensor],
) -> None:
    sample, clean = photographs
    one, same, other = (noise_like(clean, sample, generator(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_gray_picture_stays_gray(
    photographs: tuple[Tensor, Tensor],
) -> None:
    sample, clean = photographs
    noisy = sample + make_noise("gray", 20, (sample.shape[1], sample.shape[2]))
    added = noise_like(clean[:1], noisy.clamp(0, 1), generator(0)) - clean[:1]
    assert added.shape == clean[:1].shape
    assert 255 * float(added.std()) == pytest.approx(20, rel=0.15)


def test_drawn_noise_has_the_covariance_asked_for() -> None:
    size = 2 * MIDDLE + 1
    covariance = np.zeros((3, 3, size, size))
    covariance[:, :, MIDDLE, MIDDLE] = [[4.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]
    covariance[0, 0, MIDDLE, MIDDLE - 1 : MIDDLE + 2 : 2] = 1.0
    drawn = draw_noise(covariance, 300, 300, generator(0)).double()
    found = torch.cov(drawn.reshape(3, -1)).numpy()
    assert found == pytest.approx(covariance[:, :, MIDDLE, MIDDLE], abs=0.1)
    red = drawn[0]
    assert float((red[:, 1:] * red[:, :-1]).mean()) == pytest.approx(1.0, abs=0.1)
    assert float((red[1:] * red[:-1]).mean()) == pytest.approx(0.0, abs=0.1)


def test_a_picture_that_is_too_small_or_cmyk_is_refused() -> None:
    with pytest.raises(UsageError, match="32 pixels"):
        noise_covariance(torch.rand(3, 31, 64))
    with pytest.raises(UsageError, match="CMYK"):
        noise_like(torch.rand(4, 40, 40), torch.rand(3, 40, 40), generator(0))
