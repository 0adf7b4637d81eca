"""The packaged weights on a real photograph: they restore it, and give it back."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from irae import Restorer, load_model
from irae.flow.lifted import GRID
from irae.imaging.degrade import add_noise, jpeg_compress
from irae.imaging.io.files import read_picture
from irae.imaging.metrics import psnr
from irae.imaging.thin_masks import thin_mask
from irae.models.checkpoints.model_file import (
    load_density,
    load_patch_density,
    packaged_densities,
    packaged_models,
    packaged_patch_densities,
)
from irae.runtime import generator
from irae.tasks.base import Degradation

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))
from portable_config import without_folders  # noqa: E402
from regression_scores import LEVELS, regression_pictures, regression_scores  # noqa: E402

# The least gain in dB that the weights must bring at each level of `LEVELS` on this photograph.
CASES = {
    "denoise": [5.0, 7.5, 11.0, 7.5],
    "jpeg": [0.7, 0.4],
    "inpaint": [8.0],
    "photo": [1.5, 4.5],
}


@pytest.fixture(scope="module")
def clean() -> Tensor:
    """Chelsea, a photograph of 300 by 451 pixels (CC0), less a border."""
    picture = np.ascontiguousarray(data.chelsea()[8:264, 40:360])
    return torch.from_numpy(picture).permute(2, 0, 1).float()[None] / 255


def damage(clean: Tensor, level: Degradation) -> tuple[Tensor, Tensor | None]:
    damaged = level.degrade(clean[0], (3,))
    mask = None if damaged.mask is None else damaged.mask[None]
    return damaged.pixels[None], mask


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "kind", "gain"),
    [
        (task, kind, gain)
        for task, gains in CASES.items()
        for kind, gain in zip(LEVELS[task], gains, strict=True)
    ],
)
def test_a_photograph_gets_better_and_comes_back(
    clean: Tensor, task: str, kind: str, gain: float
) -> None:
    model = load_model(task)
    degraded, mask = damage(clean, LEVELS[task][kind])
    restored = model.restore(degraded, mask).clamp(0, 1)
    assert psnr(restored, clean).item() >= psnr(degraded, clean).item() + gain
    given, _, recovered = model.round_trip(degraded, mask)
    assert (given - recovered).abs().max().item() * 255 <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("task", CASES)
def test_the_figures_are_those_of_the_card(task: str, precision: str) -> None:
    model = load_model(task)
    stated = model.spec.card["guard"]
    measured = regression_scores(model.to("cpu", precision))
    assert measured.keys() == stated.keys()
    for level, figure in measured.items():
        assert abs(figure - stated[level]) <= 0.02, level


@pytest.mark.slow
@pytest.mark.parametrize("task", CASES)
def test_regression_pictures_come_back(task: str) -> None:
    model = load_model(task)
    for picture in regression_pictures():
        for level in LEVELS[task].values():
            given, _, recovered = model.round_trip(*damage(picture, level))
            assert (given - recovered).abs().max().item() * 255 <= 0.5


@pytest.mark.parametrize("task", CASES)
def test_tiles_leave_no_seams(clean: Tensor, task: str) -> None:
    degraded, mask = damage(clean, next(iter(LEVELS[task].values())))
    hole = None if mask is None else mask[0]
    whole = Restorer(task, tile=0).restore_pixels(degraded[0], hole)
    tiled = Restorer(task, tile=160).restore_pixels(degraded[0], hole)
    assert (whole - tiled).square().mean().sqrt().item() * 255 <= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("task", CASES)
def test_a_hundred_photographs_come_back_bit_for_bit(task: str, shared: Path) -> None:
    model = load_model(task)
    assert model.exact
    paths = sorted((shared / "data" / "photos" / "objects").glob("*.jpg"))[:100]
    assert len(paths) == 100
    for index, path in enumerate(paths):
        picture = read_picture(path).pixels[:, : 61 + index % 3, : 80 - index % 5]
        if task == "denoise":
            degraded = add_noise(picture, 5 + index % 50, generator(index), clip=True)
        else:
            degraded = jpeg_compress(picture, 10 + index % 80)
        mask = None
        if model.takes_mask:
            mask = thin_mask(*picture.shape[1:], generator(index))[None]
        # In bfloat16 some: processors that emulate it are slow.
        for precision in ("fp32", "bf16") if index % 10 == 0 else ("fp32",):
            given, _, recovered = model.to("cpu", precision).round_trip(degraded[None], mask)
            same = (recovered * 255).round() == (degraded * 255).round()
            # What fills a hole is not in 8 bits; it comes back to the grid that the state is on.
            if mask is not None:
                same |= mask & ((recovered - given).abs() <= GRID)
            assert bool(same.all()), path.name


def test_a_gray_photograph_is_denoised_too(clean: Tensor) -> None:
    gray = clean.mean(1, keepdim=True)[0]
    noisy = add_noise(gray, 25, generator(2), clip=True)
    restored = Restorer("denoise").restore_pixels(noisy)
    assert psnr(restored[None], gray[None]).item() >= psnr(noisy[None], gray[None]).item() + 6


def test_every_packaged_model_has_its_card() -> None:
    for name, path in packaged_models().items():
        page = path.with_suffix(".md").read_text(encoding="utf-8")
        card = load_model(name).spec.card
        assert page.startswith(f"# {name}\n")
        assert all(row in page for row in card["measured"])
        assert "config" in card
        assert str(Path.cwd()) not in page


def strings(value: object) -> Iterator[str]:
    """All strings in nested lists and dicts."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, str):
        yield value


def test_no_card_names_a_folder_of_the_machine_that_trained() -> None:
    cards = [load_model(name).spec.card for name in packaged_models()]
    cards += [load_density(name).spec.card for name in packaged_densities()]
    cards += [load_patch_density(name).spec.card for name in packaged_patch_densities()]
    assert len(cards) > 4
    absolute = [text for text in strings(cards) if Path(text).is_absolute()]
    assert not absolute


def test_a_packaged_config_names_folders_below_the_data_root() -> None:
    config = {
        "data": {"root": "/d", "train": [{"source": "/d/photos/a"}, {"source": "celeba"}]},
        "degradation": {"pairs": "/elsewhere/pairs", "sigma": [0, 55]},
    }
    assert without_folders(config) == {
        "data": {"train": [{"source": "photos/a"}, {"source": "celeba"}]},
        "degradation": {"pairs": "pairs", "sigma": [0, 55]},
    }
