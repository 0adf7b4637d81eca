"""Toned pictures are found, and their tone is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from irae.imaging.analysis.tone import find_tone
from irae.imaging.blur import blurred_noise
from irae.imaging.io.files import read_picture
from irae.runtime import generator


@pytest.fixture(scope="module")
def photo(shared: Path) -> Tensor:
    """A colourful validation photograph."""
    path = shared / "data" / "photos_val" / "41069.jpg"
    if not path.is_file():
        pytest.skip("data/photos_val is not there")
    return read_picture(path).pixels[:, :256, :256]


def _toned(photo: Tensor, tint: float) -> Tensor:
    gray = photo.mean(0, keepdim=True)
    return gray + torch.tensor([1.0, 0.2, -0.8])[:, None, None] * tint * 4 * gray * (1 - gray)


@pytest.mark.parametrize("tint", [0.0, 0.02, 0.06, 0.12])
@pytest.mark.parametrize("sigma", [0.0, 18.0])
def test_the_tone_is_found_under_grain(photo: Tensor, tint: float, sigma: float) -> None:
    clean = _toned(photo, tint)
    noise = torch.randn(1, 1, 256, 256, generator=generator(0))
    grain = blurred_noise(noise, torch.tensor([0.7]), largest=0.7)[0] * (sigma / 255)
    noisy = (((clean + grain).clamp(0, 1)) * 255).round() / 255
    tone = find_tone(noisy)
    assert tone is not None
    assert tone.tint == pytest.approx(tint, abs=0.02)
    # Along the line and back, the clean picture stays what it is.
    again = tone.to_colour(tone.to_gray(clean))
    assert float((again - clean).square().mean().sqrt()) * 255 < 3


def test_a_straight_line_is_found_exactly(photo: Tensor) -> None:
    gray = photo.mean(0, keepdim=True)
    sepia = gray * torch.tensor([0.95, 0.85, 0.6])[:, None, None] + 0.03
    tone = find_tone(sepia)
    assert tone is not None
    torch.testing.assert_close(tone.to_colour(tone.to_gray(sepia)), sepia, atol=2e-3, rtol=0)


def test_photographs_in_colour_have_none(photo: Tensor, shared: Path) -> None:
    assert find_tone(photo) is None
    for path in sorted((shared / "data" / "photos_val").glob("*.jpg"))[::6]:
        assert find_tone(read_picture(path).pixels) is None


def test_small_pictures_are_not_judged() -> None:
    assert find_tone(torch.zeros(3, 32, 32)) is None
