"""Batches are functions of (seed, step, index), and hold what the config asks for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

from irae.config import RunConfig, load_config
from irae.errors import DataError
from irae.imaging.degrade import fill_holes
from irae.training.batches import BatchMaker


def config(task: str, root: Path, *overrides: str) -> RunConfig:
    return load_config(
        f"{task}.yaml",
        [
            f"data.root={root}",
            "data.train=[{source: train}]",
            "data.validation={source: val, images: 2, crop: 32}",
            "data.patch=16",
            "training.batch=4",
            *overrides,
        ],
    )


@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint"])
def test_a_batch_is_a_function_of_its_step(task: str, pictures: Path) -> None:
    first, second = BatchMaker(config(task, pictures)), BatchMaker(config(task, pictures))
    first.batch(0)
    a, b, other = first.batch(5), second.batch(5), second.batch(6)
    assert torch.equal(a.clean, b.clean)
    assert torch.equal(a.degraded, b.degraded)
    assert not torch.equal(a.degraded, other.degraded)
    assert a.clean.shape == a.degraded.shape == (4, 3, 16, 16)
    assert not torch.equal(a.clean, a.degraded)


def test_prefetched_batches_are_those_of_their_steps(pictures: Path) -> None:
    maker = BatchMaker(config("denoise", pictures))
    stream = maker.prefetched(3)
    for step in (3, 4, 5):
        assert torch.equal(next(stream).degraded, maker.batch(step).degraded)
    stream.close()  # type: ignore[attr-defined]


def test_noise_has_the_level_asked_for_and_half_is_clipped(pictures: Path) -> None:
    maker = BatchMaker(
        config("denoise", pictures, "degradation.sigma=40", "data.patch=32", "training.batch=64")
    )
    batch = maker.batch(0)
    levels = batch.degraded * 255
    on_grid = (levels - levels.round()).abs().amax((1, 2, 3)) < 1e-3
    assert 16 <= on_grid.sum() <= 48
    noise = (batch.degraded - batch.clean)[~on_grid] * 255
    assert noise.std().item() == pytest.approx(40, rel=0.03)


def test_gray_samples_carry_gray_noise(pictures: Path) -> None:
    batch = BatchMaker(config("denoise", pictures, "data.augment.gray=1")).batch(0)
    for x in (batch.clean, batch.degraded):
        assert torch.equal(x[:, 0], x[:, 1])
        assert torch.equal(x[:, 0], x[:, 2])


def test_masks_leave_known_pixels_and_fill_the_rest(pictures: Path) -> None:
    batch = BatchMaker(config("inpaint", pictures, "training.batch=32")).batch(0)
    assert batch.mask is not None
    share = batch.mask.float().mean((1, 2, 3))
    assert share.min() > 0
    assert share.max() < 1
    known = (~batch.mask).expand_as(batch.clean)
    assert torch.equal(batch.degraded[known], batch.clean[known])
    assert torch.equal(batch.degraded, fill_holes(batch.clean, batch.mask))


def test_a_folder_of_masks_replaces_drawn_ones(pictures: Path, shared: Path) -> None:
    folder = shared / "data" / "masks" / "irregular"
    maker = BatchMaker(
        config(
            "inpaint", pictures, f"degradation.masks={folder}", "degradation.holes={irregular: 1}"
        )
    )
    assert maker.batch(0).mask is not None


def test_a_folder_of_useless_masks_is_named(pictures: Path, tmp_path: Path) -> None:
    save_image(torch.zeros(3, 20, 20), tmp_path / "blank.png")
    save_image(torch.ones(3, 20, 20), tmp_path / "white.png")
    with pytest.raises(DataError, match="both holes"):
        BatchMaker(config("inpaint", pictures, f"degradation.masks={tmp_path}"))


def test_pictures_too_small_for_the_patch_are_named(pictures: Path) -> None:
    maker = BatchMaker(config("denoise", pictures, "data.patch=128"))
    with pytest.raises(DataError, match=r"\.png: 64×48 is too small"):
        maker.batch(0)


def test_the_papers_clean_patches_are_dequantised(pictures: Path) -> None:
    overrides = ["data.protocol=authors", "data.augment={flip: false, colour: 0, gray: 0}"]
    authors = BatchMaker(config("denoise", pictures, *overrides, "data.augment.shrink=0")).batch(0)
    levels = authors.clean * 32
    assert (levels - levels.floor()).std() > 0.2
    assert authors.clean.max() < 1
    with_constant = config("inpaint", pictures, "model.preset=paper", "model.options={depth: 1}")
    batch = BatchMaker(with_constant).batch(0)
    assert batch.mask is not None
    assert (batch.degraded[batch.mask.expand_as(batch.degraded)] == 1).all()
