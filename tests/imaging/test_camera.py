"""Photographs taken by a simulated camera: what is exact, and what real noise is like."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from irae.imaging.blur import blurred_noise, gaussian_blur
from irae.imaging.camera import (
    Sensor,
    bayer_masks,
    demosaic,
    demosaic_by_edges,
    linear_to_srgb,
    photograph,
    srgb_to_linear,
)
from irae.imaging.drawing import draw_page
from irae.runtime import generator


def sensor(shot: float, read: float = 0.0, count: int = 1, **changed: Tensor) -> Sensor:
    one = torch.ones(count)
    zero = torch.zeros(count, dtype=torch.int64)
    given_ = {
        "shot": shot * one,
        "read": read * one,
        "red": 2.0 * one,
        "blue": 1.5 * one,
        "exposure": 0.8 * one,
        "row": zero,
        "column": zero,
        "edge_aware": zero.bool(),
    }
    return Sensor(**{**given_, **changed})


def correlation(noise: Tensor, down: int, right: int) -> float:
    """Of a channel with itself, moved; ``H W``."""
    height, width = noise.shape
    a = noise[: height - down, : width - right]
    b = noise[down:, right:]
    return float((a * b).mean() / noise.square().mean())


def test_the_curve_of_srgb_is_undone() -> None:
    levels = torch.arange(256) / 255
    assert torch.allclose(linear_to_srgb(srgb_to_linear(levels)), levels, atol=1e-6)
    # IEC 61966-2-1: half of the light is level 188.
    assert round(float(linear_to_srgb(torch.tensor(0.5))) * 255) == 188


@settings(max_examples=20, deadline=None)
@given(height=st.integers(5, 20), width=st.integers(5, 20), at=st.integers(0, 3))
def test_every_cell_sees_one_colour(height: int, width: int, at: int) -> None:
    row, column = torch.tensor([at // 2]), torch.tensor([at % 2])
    masks = bayer_masks(row, column, height, width)
    assert torch.equal(masks.sum(1), torch.ones(1, height, width, dtype=torch.int64))
    # The red cell of the pattern lies where the offsets say.
    assert masks[0, 0, at // 2, at % 2] == 1


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("edge_aware", [False, True])
def test_without_noise_one_colour_stays_what_it_is(at: int, edge_aware: bool) -> None:
    clean = torch.tensor([0.2, 0.55, 0.4])[None, :, None, None].expand(1, 3, 24, 31)
    taken = photograph(
        clean,
        sensor(
            0.0,
            row=torch.tensor([at // 2]),
            column=torch.tensor([at % 2]),
            edge_aware=torch.tensor([edge_aware]),
        ),
        torch.randn(1, 1, 24, 31),
    )
    assert torch.allclose(taken, clean, atol=1e-5)


def test_by_edges_is_better_at_an_edge() -> None:
    light = torch.zeros(1, 3, 32, 32)
    light[..., 13:] = 1.0
    masks = bayer_masks(torch.zeros(1).long(), torch.zeros(1).long(), 32, 32).float()
    raw = (light * masks).sum(1, keepdim=True)
    inner = (..., slice(4, -4), slice(4, -4))
    plain = (demosaic(raw, masks) - light)[inner].square().mean()
    aware = (demosaic_by_edges(raw, masks) - light)[inner].square().mean()
    assert aware < 0.5 * plain


def test_noise_of_a_camera_is_shared_by_neighbours_and_grows_with_light() -> None:
    random = generator(0)
    clean = torch.full((2, 3, 128, 128), 0.3)
    clean[1] = 0.8
    noise = torch.randn(2, 1, 128, 128, generator=random)
    light = srgb_to_linear(photograph(clean, sensor(2e-3, 1e-5, 2), noise))
    added = light - srgb_to_linear(clean)
    # Real camera JPEGs have 0.59 (lag 1), white noise has 0.
    assert 0.35 < correlation(added[0, 0], 0, 1) < 0.7
    assert abs(correlation(added[0, 0], 0, 5)) < 0.1
    assert added[1].std() > 1.5 * added[0].std()


def test_blurs_have_the_width_they_are_asked_for() -> None:
    point = torch.zeros(3, 1, 41, 41)
    point[..., 20, 20] = 1
    sigma = torch.tensor([0.0, 1.0, 2.5])
    blurred = gaussian_blur(point, sigma, largest=2.5)
    assert torch.allclose(blurred.sum((1, 2, 3)), torch.ones(3), atol=1e-5)
    assert torch.equal(blurred[0], point[0])
    along = torch.arange(41) - 20.0
    widths = (blurred.sum((1, 2)) * along.square()).sum(1).sqrt()
    assert torch.allclose(widths, sigma, atol=0.03)


def test_blurred_noise_keeps_its_strength() -> None:
    noise = torch.randn(3, 1, 256, 256, generator=generator(1))
    blurred = blurred_noise(noise, torch.tensor([0.0, 0.7, 2.0]), largest=2.0)
    assert torch.allclose(blurred.std((1, 2, 3)), torch.ones(3), atol=0.05)
    assert correlation(blurred[2, 0], 0, 1) > 0.9


def test_pages_are_their_seed_and_have_contrast() -> None:
    pages = [draw_page(96, seed) for seed in range(40)]
    again = draw_page(96, 7)
    assert torch.equal(pages[7], again)
    assert not torch.equal(pages[7], pages[8])
    for page in pages:
        assert page.shape == (3, 96, 96)
        assert page.min() >= 0
        assert page.max() <= 1
        assert torch.equal((page * 255).round() / 255, page)
    assert sum(float(page.max() - page.min()) > 0.5 for page in pages) > 30
