"""Salt and pepper is seen and filled; letters, dots and clipped noise are not."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from irae.imaging.analysis.impulses import find_impulses, remove_impulses
from irae.imaging.degrade import add_noise
from irae.imaging.drawing import draw_page, load_font
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


def _page(side: int, size: int, paper: int = 255, ink: int = 0, *, smooth: bool = True) -> Tensor:
    """Lines of text on paper, ``1 side side``, with or without smooth edges."""
    image = Image.new("L", (side, side), paper)
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L" if smooth else "1"
    words = ["of", "noise,", "pictures.", "by", "i.i.d.", "networks;", "a", "quick", "fox"]
    chance = random.Random(size)
    for top in range(12, side - size, round(1.5 * size)):
        draw.text((12, top), " ".join(chance.choices(words, k=9)), ink, load_font(size))
    return _as_tensor(image)


def _as_tensor(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(image)).float() / 255
    return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1)


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


@pytest.mark.parametrize("share", [0.03, 0.1])
@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (0, 255), (245, 0), (245, 20)])
@pytest.mark.parametrize("size", [10, 24])
def test_pages_too_on_any_paper(size: int, paper: int, ink: int, share: float) -> None:
    page = _page(320, size, paper, ink)
    noisy, hit = _salt_and_pepper(page, share)
    found = find_impulses(noisy)
    assert found is not None
    # Beside letters some are missed, so that no letter is taken for an impulse.
    seen = hit & ((noisy - page).abs() > 0.1)
    assert float((found & seen).sum() / seen.sum()) > 0.55
    assert float((found & ~hit).float().mean()) < 0.001
    scores = [psnr(each[None], page[None]).item() for each in (noisy, _median(noisy))]
    score = psnr(remove_impulses(noisy)[None], page[None]).item()
    assert score > scores[0] + 4.5 and score > scores[1]


def test_in_colour_each_channel_of_a_page_has_its_own() -> None:
    page = _page(256, 14).expand(3, -1, -1).contiguous()
    noisy = page.clone()
    noisy[1:2] = _salt_and_pepper(page[1:2], 0.05)[0]
    found = find_impulses(noisy)
    assert found is not None and found[1].any() and not found[0].any() and not found[2].any()


def test_a_large_picture_is_marked_in_strips(
    photo: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = [_salt_and_pepper(each, 0.05)[0] for each in (photo, _page(256, 14))]
    wholes = [find_impulses(each) for each in pictures]
    monkeypatch.setattr("irae.imaging.analysis.impulses._ROWS", 50)
    for picture, whole in zip(pictures, wholes, strict=True):
        strips = find_impulses(picture)
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


def _dotted(step: int, *, smooth: bool) -> Tensor:
    """Lines of dots as in a table of contents."""
    page = _page(256, 12, smooth=smooth)
    page[:, 24::18, 60:200:step] = 0
    return page


def _on_page(picture: Tensor) -> Tensor:
    page = _page(256, 14)
    page[:, 60:200, 40:200] = picture[:, :140, :160]
    return page


def _ordered(gray: Tensor) -> Tensor:
    """Dither by a Bayer matrix."""
    matrix = torch.zeros(1, 1)
    for _ in range(3):
        rows = (4 * matrix, 4 * matrix + 2), (4 * matrix + 3, 4 * matrix + 1)
        matrix = torch.cat([torch.cat(row, 1) for row in rows])
    return (gray > (matrix.repeat(32, 32) + 0.5) / 64).float()


def _diffused(pixels: Tensor) -> Tensor:
    """Dither by error diffusion (Floyd and Steinberg)."""
    return _as_tensor(Image.fromarray(_levels(pixels.mean(0))).convert("1").convert("L"))


def _levels(pixels: Tensor) -> np.ndarray[Any, Any]:
    return (pixels * 255).round().byte().numpy()


def test_dots_that_belong_to_a_picture_are_not_impulses(photo: Tensor) -> None:
    gray = photo.mean(0, keepdim=True)
    colours = Image.fromarray(_levels(photo.permute(1, 2, 0)))
    web = colours.convert("P", palette=Image.Palette.WEB).convert("RGB")
    few = colours.quantize(8, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB")
    stars = torch.zeros(1, 256, 256)
    places = torch.randint(0, 256, (2, 400), generator=generator(3))
    stars[0, places[0], places[1]] = 0.2 + 0.8 * torch.rand(400, generator=generator(4))
    pictures = {
        "diffused": _diffused(gray),
        "diffused on a page": _on_page(_diffused(gray)),
        "light gray, diffused, on a page": _on_page(_diffused(0.94 + 0 * gray)),
        "ordered": _ordered(gray),
        "ordered on a page": _on_page(_ordered(gray)),
        "of the colours of the web": _as_tensor(web),
        "of eight colours": _as_tensor(few),
        "stars": stars,
        "of two levels": _salt_and_pepper(_page(256, 14, smooth=False), 0.05)[0],
    }
    for size in (9, 14, 28):
        for paper, ink in ((255, 0), (0, 255)):
            pictures[f"text {size} {paper}"] = _page(256, size, paper, ink)
            pictures[f"hard text {size} {paper}"] = _page(256, size, paper, ink, smooth=False)
    for step in range(2, 8):
        pictures[f"dots {step}"] = _dotted(step, smooth=True)
        pictures[f"hard dots {step}"] = _dotted(step, smooth=False)
    assert [name for name, each in pictures.items() if find_impulses(each) is not None] == []
