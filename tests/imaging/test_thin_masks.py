"""Masks of thin damage: seeded, of any size, and as thin as each kind is."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from irae.imaging.thin_masks import KINDS, thin_mask
from irae.runtime import generator


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(2, 70),
    width=st.integers(2, 70),
    seed=st.integers(0, 999),
    kind=st.sampled_from([None, *KINDS]),
)
def test_masks_hide_some_and_leave_some(
    height: int, width: int, seed: int, kind: str | None
) -> None:
    mask = thin_mask(height, width, generator(seed), kind)
    assert mask.dtype == torch.bool and mask.shape == (1, height, width)
    assert mask.any() and not mask.all()
    assert torch.equal(mask, thin_mask(height, width, generator(seed), kind))


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_thin_and_takes_a_plausible_share(kind: str) -> None:
    masks = torch.stack([thin_mask(256, 256, generator(seed), kind) for seed in range(12)])
    share = float(masks.float().mean())
    assert 0.001 < share < 0.2
    # Almost nothing is left of it when seven pixels are taken from all sides.
    core = 1 - F.max_pool2d(1 - masks.float(), 15, stride=1, padding=7)
    assert float(core.mean()) < 0.02 * share
    assert not torch.equal(masks[0], masks[1])
