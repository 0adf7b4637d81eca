"""Noise and JPEG quality are measured in photographs, by a fitted network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from irae.imaging.analysis.damage import (
    CODES,
    decode_damage,
    encode_damage,
    measure_codes,
    measure_damage,
)
from irae.imaging.analysis.spectrum import FEATURES, spectral_features
from irae.imaging.io.files import read_picture
from irae.runtime import generator
from irae.tasks.photo import TASK


@given(st.floats(0, 60), st.floats(0, 0.95), st.integers(1, 100))
def test_codes_say_the_damage(sigma: float, correlation: float, quality: int) -> None:
    numbers = [torch.tensor([float(each)]) for each in (sigma, correlation, quality)]
    for told, number in zip(decode_damage(encode_damage(*numbers)), numbers, strict=True):
        torch.testing.assert_close(told, number, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (7, 90), (12, 12), (24, 200), (64, 64)])
def test_features_of_any_picture_are_numbers(channels: int, size: tuple[int, int]) -> None:
    picture = torch.rand(channels, *size, generator=generator(1))
    for pixels in (picture, torch.zeros_like(picture), torch.ones_like(picture)):
        found = spectral_features(pixels)
        assert found is None or (found.shape == (FEATURES,) and bool(found.isfinite().all()))
        assert (found is None) == (measure_damage(pixels) is None)
    assert measure_codes(picture[None]).shape == (1, CODES)


def test_transparent_pixels_do_not_count(shared: Path) -> None:
    picture = read_picture(sorted((shared / "data" / "photos_val").glob("*.jpg"))[0]).pixels
    visible = torch.ones(1, *picture.shape[1:], dtype=torch.bool)
    visible[:, :, :80] = False
    spoilt = picture.clone()
    spoilt[:, :, :80] = torch.rand(3, picture.shape[1], 80, generator=generator(2))
    whole, seen = measure_damage(picture), measure_damage(spoilt, visible)
    assert whole is not None and seen is not None
    assert seen.sigma < whole.sigma + 1
    assert measure_damage(picture, torch.zeros_like(visible)) is None


def test_damage_of_photographs_is_measured(shared: Path) -> None:
    clean, noisy, compressed = [], [], []
    for index, path in enumerate(sorted((shared / "data" / "photos_val").glob("*.jpg"))[:8]):
        picture = read_picture(path).pixels
        for found, level in ((noisy, "15"), (compressed, "0/50")):
            found.append(measure_damage(TASK.level(level).degrade(picture, (index,)).pixels))
        clean.append(measure_damage(picture))
    assert sorted(each.sigma for each in clean)[4] < 1
    assert all(12 < each.sigma < 21 and each.correlation < 0.1 for each in noisy)
    assert all(35 < each.quality < 65 for each in compressed)
