"""Salt and pepper is seen and filled; letters, dots and clipped noise are not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from irae.imaging.analysis.impulses import find_impulses, remove_impulses
from irae.imaging.degrade import add_noise
from irae.imaging.drawing import draw_page
from irae.imaging.io.files import read_picture
from irae.imaging.metrics import psnr
from irae.runtime import generator


@pytest.fixture(scope="module")
def photo(shared: Path) -> Tensor:
    """A part of a validation photograph."""
    path = shared / "data" / "photos_val" / "66053.jpg"
    if not path.is_file():
        pytest.skip("data/photos_val is not there")
    return read_picture(path).pixels[:, 30:286, 60:316]


def _salt_and_pepper(clean: Tensor, share: float, *, equal: bool = False) -> tuple[Tensor, Tensor]:
    shape = (1, *clean.shape[1:]) if equal else clean.shape
    hit = (torch.rand(shape, generator=generator(1)) < share).expand_as(clean)
    salt = (torch.rand(shape, generator=generator(2)) < 0.5).float()
    return torch.where(hit, salt, clean), hit


def _median(pixels: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(pixels[None], (1, 1, 1, 1), mode="reflect")[0]
    windows = padded.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)
    return windows.median(3).values


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.05, 0.2])
def test_they_are_found_and_filled_better_than_by_a_median(
    photo: Tensor, share: float, equal: bool
) -> None:
    noisy, hit = _salt_and_pepper(photo, share, equal=equal)
    found = find_impulses(noisy)
    assert found is not None
    assert float((found & hit).sum() / hit.sum()) > 0.9
    assert float((found & ~hit).float().mean()) < 0.01
    filled = remove_impulses(noisy)
    assert torch.equal(filled[~found], noisy[~found])
    score = psnr(filled[None], photo[None]).item()
    assert score > max(29, psnr(_median(noisy)[None], photo[None]).item() + 3)


def test_gray_pictures_too(photo: Tensor) -> None:
    noisy, _ = _salt_and_pepper(photo.mean(0, keepdim=True), 0.05)
    assert psnr(remove_impulses(noisy)[None], photo.mean(0, keepdim=True)[None]).item() > 33


def test_a_large_picture_is_marked_in_strips(
    photo: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy, _ = _salt_and_pepper(photo, 0.05)
    whole = find_impulses(noisy)
    monkeypatch.setattr("irae.imaging.analysis.impulses._ROWS", 50)
    strips = find_impulses(noisy)
    assert whole is not None and strips is not None
    assert torch.equal(whole, strips)


@pytest.mark.parametrize("sigma", [25, 50])
def test_clipped_noise_is_not_impulses(photo: Tensor, sigma: float) -> None:
    assert find_impulses(add_noise(photo, sigma, generator(0), clip=True)) is None


def test_clean_pictures_have_none(photo: Tensor) -> None:
    assert find_impulses(photo) is None
    for seed in range(8):
        page = draw_page(160, seed)
        assert find_impulses(page) is None
        assert torch.equal(remove_impulses(page), page)
    dots = torch.zeros(1, 64, 64)
    dots[:, ::8, ::8] = 1
    assert find_impulses(dots) is None
    assert find_impulses(torch.zeros(3, 8, 8)) is None
