"""Damage that is pasted onto pictures."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch

from irae.imaging import film_damage
from irae.imaging.film_damage import VISIBLE, paste_damage
from irae.runtime import generator


def test_the_mask_has_what_damage_has_changed() -> None:
    clean = torch.rand(3, 61, 83, generator=generator(0))
    for seed in range(12):
        damaged, mask = paste_damage(clean, generator(seed))
        assert damaged.shape == clean.shape
        assert mask.shape == (1, 61, 83)
        changed = (damaged - clean).abs().amax(0, keepdim=True)
        # There are at most four layers, and each of them has changed less than that there.
        assert float(changed[~mask].max()) < 4 * VISIBLE
        assert float(changed[mask].mean()) > 4 * VISIBLE


def test_drawn_damage_is_as_large_as_in_small_and_in_large_scans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    def draw(height: int, width: int, kinds: Sequence[str], chance: random.Random) -> torch.Tensor:
        sizes.append((height, width))
        return torch.ones(1, height, width)

    monkeypatch.setattr(film_damage, "draw_thin", draw)
    gray = torch.full((3, 61, 83), 0.45)
    for seed in range(40):
        damaged, mask = paste_damage(gray, generator(seed))
        assert damaged.shape == gray.shape
        assert mask.all()
    assert sizes.count((61, 83)) > len(sizes) / 4
    least = min(sizes)
    assert 61 / 2.5 <= least[0] < 61 / 2
    assert 83 / 2.5 <= least[1] < 83 / 2
