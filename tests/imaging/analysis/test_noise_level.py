"""The noise level of a picture, against the noise that was put into it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from irae.imaging.analysis.noise_level import estimate_noise
from irae.imaging.degrade import add_noise, jpeg_compress
from irae.imaging.io.files import read_picture
from irae.imaging.io.pillow import picture_from_pil
from irae.runtime import generator


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[Tensor]:
    """Every fourth validation photograph."""
    paths = sorted((shared / "data" / "photos_val").glob("*.jpg"))[::4]
    if not paths:
        pytest.skip("data/photos_val is not there")
    return [read_picture(path).pixels for path in paths]


def _noisy(clean: Tensor, sigma: float, *, clip: bool = True) -> Tensor:
    return add_noise(clean, sigma, generator(int(sigma)), clip=clip)


def _errors(photos: list[Tensor], sigma: float) -> list[float]:
    found = [estimate_noise(_noisy(photo, sigma)) for photo in photos]
    return [abs(one - sigma) for one in found if one is not None]


@pytest.mark.slow
# Measured on these: 0.23 0.51 0.31 0.72 on average and 0.63 1.07 0.55 1.85 at most.
@pytest.mark.parametrize(
    ("sigma", "mean", "most"), [(5, 0.5, 1.4), (15, 1.0, 2.0), (25, 0.8, 1.6), (50, 1.6, 4.0)]
)
def test_photographs(photos: list[Tensor], sigma: float, mean: float, most: float) -> None:
    errors = _errors(photos, sigma)
    assert len(errors) == len(photos)
    assert sum(errors) / len(errors) <= mean
    assert max(errors) <= most


@pytest.mark.slow
def test_texture_and_jpeg_blocks_are_no_noise(photos: list[Tensor]) -> None:
    for photo in photos:
        assert (estimate_noise(photo) or 0) < 2.0
        assert (estimate_noise(jpeg_compress(photo, 30)) or 0) < 0.5


def test_gray_is_judged_too(photos: list[Tensor]) -> None:
    for photo in photos[:3]:
        gray = photo.mean(0, keepdim=True)
        assert estimate_noise(_noisy(gray, 15)) == pytest.approx(15, abs=2)


def test_noise_without_clipping_goes_beyond_the_range() -> None:
    ramp = torch.linspace(0.0, 1.0, 200).expand(3, 150, 200)
    assert estimate_noise(_noisy(ramp, 40, clip=False)) == pytest.approx(40, abs=2)


def test_dark_parts_do_not_hide_the_noise() -> None:
    # Black above, where half of the noise is cut off, and gray below.
    picture = torch.cat((torch.zeros(3, 120, 150), torch.full((3, 60, 150), 0.5)), dim=1)
    assert estimate_noise(_noisy(picture, 20)) == pytest.approx(20, abs=1.5)


def test_a_drawing_has_no_noise() -> None:
    image = Image.new("RGB", (240, 160), "white")
    draw = ImageDraw.Draw(image)
    for row in range(8):
        draw.text((5, 20 * row), "The quick brown fox jumps over the lazy dog", fill="black")
    drawn = picture_from_pil(image).pixels
    assert estimate_noise(drawn) == 0
    assert estimate_noise(torch.zeros(1, 40, 40)) == 0
    # Noise over the same drawing is seen.
    assert (estimate_noise(_noisy(drawn * 0.8 + 0.1, 10)) or 0) == pytest.approx(10, abs=3)


def test_a_flat_channel_does_not_thin_the_noise() -> None:
    noisy = _noisy(torch.full((3, 80, 80), 0.5), 12)
    noisy[2] = 0
    assert estimate_noise(noisy) == pytest.approx(12, abs=1)


def test_invisible_pixels_do_not_count() -> None:
    picture = _noisy(torch.full((3, 80, 160), 0.5), 10)
    picture[:, :, 80:] = torch.rand(3, 80, 80, generator=generator(9))
    visible = torch.ones(1, 80, 160, dtype=torch.bool)
    visible[:, :, 80:] = False
    assert estimate_noise(picture, visible) == pytest.approx(10, abs=1)
    assert estimate_noise(picture, torch.zeros_like(visible)) is None


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 500), (14, 14), (8, 8)])
def test_too_small_to_tell(height: int, width: int) -> None:
    assert estimate_noise(torch.rand(3, height, width, generator=generator(0))) is None
