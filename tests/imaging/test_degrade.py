"""Degradations do what their units say, and the filling of holes is what it claims."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from irae.errors import UsageError
from irae.imaging.degrade import (
    add_noise,
    apply_mask,
    box_mask,
    center_mask,
    fill_holes,
    irregular_mask,
    jpeg_bytes,
    jpeg_compress,
)
from irae.imaging.metrics import psnr
from irae.runtime import generator


def smooth(height: int, width: int) -> Tensor:
    rows = torch.linspace(0, 3, height)[:, None]
    columns = torch.linspace(0, 2, width)[None]
    return torch.stack([(rows + columns).sin(), (rows * columns).cos(), columns - rows]) / 8 + 0.5


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


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_filling_keeps_what_is_known_and_ignores_what_is_not(
    height: int, width: int, share: float, seed: int
) -> None:
    picture = torch.rand(2, 3, height, width, generator=generator(seed))
    mask = torch.rand(2, 1, height, width, generator=generator(seed, 1)) < share
    filled = fill_holes(picture, mask)
    known = (~mask).expand_as(picture)
    assert torch.equal(filled[known], picture[known])
    assert filled.isfinite().all()
    assert torch.equal(fill_holes(apply_mask(picture, mask, 7.0), mask), filled)


def test_a_constant_and_a_slope_are_filled_exactly() -> None:
    mask = center_mask(48, 64, 20)[None]
    constant = torch.full((1, 3, 48, 64), 0.3)
    assert torch.allclose(fill_holes(constant, mask), constant, atol=1e-6)
    slope = torch.linspace(0, 1, 64).expand(1, 3, 48, 64)
    assert (fill_holes(slope, mask) - slope).abs().max() < 0.02


def test_filling_beats_opencv_on_a_smooth_picture() -> None:
    cv2 = pytest.importorskip("cv2", reason="extra 'peers' is not installed")
    clean = smooth(96, 128)
    mask = irregular_mask(96, 128, generator(4))
    levels = (clean.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    telea = cv2.inpaint(levels, mask[0].numpy().astype(np.uint8), 3, cv2.INPAINT_TELEA)
    theirs = torch.from_numpy(telea).permute(2, 0, 1).float()[None] / 255
    ours = fill_holes(apply_mask(clean, mask)[None], mask[None])
    assert psnr(ours, clean[None]).item() > psnr(theirs, clean[None]).item() + 3


def test_nothing_known_is_mid_gray_and_no_hole_is_the_picture() -> None:
    picture = torch.rand(1, 3, 9, 5)
    nothing = torch.ones(1, 1, 9, 5, dtype=torch.bool)
    assert torch.allclose(fill_holes(picture, nothing), torch.full_like(picture, 0.5), atol=1e-6)
    assert fill_holes(picture, ~nothing) is picture
