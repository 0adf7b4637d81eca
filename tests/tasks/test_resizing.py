"""Patches that change their size after the damage, together with what they were before it."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from irae.imaging.metrics import psnr
from irae.runtime import generator
from irae.tasks.batch_random import RandomColumns
from irae.tasks.resizing import Resizing

COUNT, SIDE = 24, 48


def patches(seed: int = 0) -> Tensor:
    coarse = torch.rand(COUNT, 3, 7, 7, generator=generator(seed))
    size = (SIDE, SIDE)
    return torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)


def columns(seed: int = 0, rows: slice = slice(0, COUNT)) -> RandomColumns:
    return RandomColumns(generator(seed), COUNT, rows)


def resized(share: float, noise: float, compressed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Clean and degraded patches after resizing, and their qualities, which were 50."""
    clean = patches()
    degraded = (clean + noise * torch.randn(clean.shape, generator=generator(1))).clamp(0, 1)
    quality = torch.full((COUNT,), 50)
    saved = torch.full((COUNT,), compressed)
    quality = Resizing(share, columns()).apply(clean, degraded, saved, quality)
    return clean, degraded, quality


def test_no_share_changes_nothing() -> None:
    clean, degraded, quality = resized(0, 0, compressed=True)
    assert torch.equal(clean, patches())
    assert torch.equal(degraded, clean)
    assert bool((quality == 50).all())


def test_some_are_resized_and_both_halves_alike() -> None:
    clean, degraded, quality = resized(0.5, 0, compressed=False)
    assert torch.equal(degraded, clean)
    assert bool((quality == 50).all())
    changed = (clean != patches()).flatten(1).any(1)
    assert 0.25 * COUNT < int(changed.sum()) < 0.75 * COUNT


def test_what_is_saved_again_has_the_quality_that_is_told() -> None:
    clean, degraded, quality = resized(1, 0, compressed=True)
    saved = quality != 50
    assert 0.3 * COUNT < int(saved.sum()) < 0.9 * COUNT
    assert bool((quality[saved] >= 70).all())
    differs = (degraded != clean).flatten(1).any(1)
    assert torch.equal(differs, saved)
    assert float(psnr(degraded, clean).min()) > 25


def test_reducing_makes_noise_weaker_and_enlarging_makes_it_coarser() -> None:
    clean, degraded, _ = resized(1, 0.05, compressed=False)
    error = degraded - clean
    level = error.square().mean((1, 2, 3)).sqrt()
    along = (error[..., 1:] * error[..., :-1]).mean((1, 2, 3)) / level.square()
    assert float(level.min()) < 0.04
    assert float(level.max()) <= 0.055
    assert float(along.max()) > 0.4


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**31), st.integers(8, 70))
def test_any_patch_keeps_its_size_and_range(seed: int, side: int) -> None:
    clean = torch.rand(COUNT, 3, side, side, generator=generator(seed))
    degraded = clean.clone()
    Resizing(1, columns(seed)).apply(
        clean, degraded, torch.ones(COUNT, dtype=torch.bool), torch.full((COUNT,), 90)
    )
    for each in (clean, degraded):
        assert each.shape == (COUNT, 3, side, side)
        assert 0 <= float(each.min()) <= float(each.max()) <= 1


def test_a_part_of_the_batch_gets_what_the_whole_does() -> None:
    whole = patches()
    Resizing(1, columns()).apply(
        whole, whole.clone(), torch.zeros(COUNT, dtype=torch.bool), torch.full((COUNT,), 90)
    )
    rows = slice(5, 11)
    part = patches()[rows]
    Resizing(1, columns(rows=rows)).apply(
        part, part.clone(), torch.zeros(6, dtype=torch.bool), torch.full((6,), 90)
    )
    assert torch.equal(part, whole[rows])
