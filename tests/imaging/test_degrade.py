"""Degradations do what their units say."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from irae.errors import UsageError
from irae.imaging.degrade import (
    add_noise,
    box_mask,
    center_mask,
    irregular_mask,
    jpeg_bytes,
    jpeg_compress,
)
from irae.imaging.metrics import psnr
from irae.runtime import generator


def test_noise_is_in_8_bit_units_and_seeded() -> None:
    clean = torch.full((3, 100, 100), 0.5)
    noise = add_noise(clean, 25, generator(1)) - clean
    assert (noise.std() * 255).item() == pytest.approx(25, rel=0.02)
    assert torch.equal(add_noise(clean, 25, generator(1)) - clean, noise)
    assert not torch.equal(add_noise(clean, 25, generator(2)) - clean, noise)


def test_clipped_noise_lies_on_the_8_bit_grid() -> None:
    noisy = add_noise(torch.rand(3, 50, 50), 80, generator(1), clip=True)
    assert noisy.min() == 0
    assert noisy.max() == 1
    assert torch.equal((noisy * 255).round() / 255, noisy)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_jpeg_is_pillows(channels: int, subsampling: str) -> None:
    clean = torch.rand(channels, 24, 40)
    array = (clean * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    buffer = io.BytesIO()
    image = Image.fromarray(array if channels == 3 else array[..., 0])
    image.save(buffer, "JPEG", quality=30, subsampling=subsampling)
    expected = np.atleast_3d(np.asarray(Image.open(buffer))).astype(np.float32) / 255
    ours = jpeg_compress(clean, 30, subsampling=subsampling)  # type: ignore[arg-type]
    assert np.array_equal(ours.permute(1, 2, 0).numpy(), expected)
    assert jpeg_bytes(clean, 30, subsampling=subsampling) == buffer.getvalue()  # type: ignore[arg-type]


def test_lower_quality_is_worse() -> None:
    clean = torch.rand(3, 64, 64)
    scores = [psnr(jpeg_compress(clean, q)[None], clean[None]).item() for q in (5, 30, 60, 95)]
    assert scores == sorted(scores)


@pytest.mark.parametrize("sigma", [-1, 256, float("nan")])
def test_sigma_out_of_range_is_named(sigma: float) -> None:
    with pytest.raises(UsageError, match="sigma"):
        add_noise(torch.zeros(3, 4, 4), sigma, generator(0))


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_out_of_range_is_named(quality: int) -> None:
    with pytest.raises(UsageError, match="quality"):
        jpeg_compress(torch.zeros(3, 8, 8), quality)


@settings(max_examples=40, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99))
def test_boxes_and_centres_have_their_size(height: int, width: int, seed: int) -> None:
    side = 1 + seed % min(height, width)
    for mask in (center_mask(height, width, side), box_mask(height, width, side, generator(seed))):
        assert mask.shape == (1, height, width)
        assert mask.sum() == side * side
        rows = mask[0].any(1).nonzero().flatten()
        assert len(rows) == side
    with pytest.raises(UsageError, match="does not fit"):
        center_mask(height, width, min(height, width) + 1)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(2, 60), width=st.integers(2, 60), seed=st.integers(0, 999))
def test_irregular_masks_hide_some_and_leave_some(height: int, width: int, seed: int) -> None:
    mask = irregular_mask(height, width, generator(seed))
    assert mask.shape == (1, height, width)
    assert mask.any()
    assert not mask.all()
    assert torch.equal(mask, irregular_mask(height, width, generator(seed)))
