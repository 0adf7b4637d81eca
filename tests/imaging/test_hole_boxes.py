"""Boxes around holes: they cover all of them, do not overlap, and are few pixels."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irae.imaging.hole_boxes import cover_holes
from irae.runtime import generator


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 150),
    width=st.integers(1, 150),
    share=st.sampled_from([0.0, 0.0005, 0.01, 0.4, 1.0]),
    multiple=st.sampled_from([1, 2, 6, 16, 32]),
    thirds=st.integers(0, 3),
    longest=st.integers(32, 200),
    seed=st.integers(0, 99),
)
def test_every_hole_lies_in_one_box_on_the_grid(
    height: int, width: int, share: float, multiple: int, thirds: int, longest: int, seed: int
) -> None:
    mask = torch.rand(1, height, width, generator=generator(seed)) < share
    margin = min(thirds * multiple, longest // (3 * multiple) * multiple)
    count = torch.zeros(1, height, width, dtype=torch.int64)
    for box in cover_holes(mask, margin, longest, multiple):
        assert box.top % multiple == box.left % multiple == 0
        assert mask[box.part].any()
        crop = box.grown(margin, height, width)
        assert max(crop.bottom - crop.top, crop.right - crop.left) <= longest
        assert 0 <= crop.top <= box.top < box.bottom <= crop.bottom <= height
        assert 0 <= crop.left <= box.left < box.right <= crop.right <= width
        count[box.part] += 1
    assert count.max() <= 1
    assert (count[mask] == 1).all()


def test_a_scratch_gets_narrow_boxes_and_far_specks_their_own() -> None:
    mask = torch.zeros(1, 2000, 3000, dtype=torch.bool)
    mask[:, :, 1500:1503] = True
    scratch = cover_holes(mask, 48, 640)
    assert sum(box.grown(48, 2000, 3000).area for box in scratch) < 0.1 * mask.numel()
    mask = torch.zeros_like(mask)
    mask[:, ::500, ::500] = True
    specks = cover_holes(mask, 48, 640)
    assert len(specks) == 4 * 6
    assert all(box.area == 64 for box in specks)


def test_a_hundred_thousand_specks_and_nothing_but_hole_take_a_bounded_number_of_pixels() -> None:
    """Crops overlap, but together they are not twice the picture, and there are not many."""
    specks = torch.zeros(1, 4000, 6000, dtype=torch.bool)
    places = torch.randint(specks.numel(), (100_000,), generator=generator(1))
    specks.view(-1)[places] = True
    for mask in (specks, torch.ones_like(specks)):
        boxes = cover_holes(mask, 48, 640)
        assert len(boxes) < 1000
        assert sum(box.grown(48, 4000, 6000).area for box in boxes) < 1.6 * mask.numel()
