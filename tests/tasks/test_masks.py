"""The masks of a batch: the kinds a config asks for, from pools that are drawn or read."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from irae.errors import DataError
from irae.imaging.thin_masks import thin_mask
from irae.runtime import generator
from irae.tasks import get_task
from irae.tasks.batch_random import BatchRandom
from irae.tasks.inpaint import InpaintSection
from irae.tasks.masks import MaskMaker

SIDE, ROWS = 48, 24

pytestmark = pytest.mark.usefixtures("few_masks")


def draw(section: InpaintSection, step: int = 0) -> Tensor:
    random = BatchRandom(0, step, ROWS, slice(0, ROWS), torch.device("cpu"))
    return MaskMaker(section, 0, SIDE).draw(random)


def thickness(masks: Tensor) -> float:
    """Share of the holes that lies more than four pixels from all known pixels."""
    core = 1 - F.max_pool2d(1 - masks.float(), 9, stride=1, padding=4)
    return float(core.mean() / masks.float().mean())


def test_thin_masks_are_thin_and_boxes_are_not() -> None:
    thin = draw(InpaintSection(holes={"thin": 1}))
    assert thin.shape == (ROWS, 1, SIDE, SIDE) and thin.dtype == torch.bool
    share = thin.float().mean((1, 2, 3))
    assert (share > 0).all() and (share < 1).all()
    assert thickness(thin) < 0.1 < thickness(draw(InpaintSection(holes={"box": 1})))
    assert torch.equal(thin, draw(InpaintSection(holes={"thin": 1})))
    assert not torch.equal(thin, draw(InpaintSection(holes={"thin": 1}), step=1))


def test_another_kind_does_not_change_the_masks_of_the_old_ones() -> None:
    """A config that names no thin holes has the batches that it had before there were any."""
    both = draw(InpaintSection(holes={"irregular": 0.5, "box": 0.5}))
    three = draw(InpaintSection(holes={"irregular": 0.5, "box": 0.5, "thin": 0.0}))
    assert torch.equal(both, three)


def test_overlays_join_the_drawn_masks(tmp_path: Path) -> None:
    """Half of the pool is drawn, and the other half is what the folder holds."""
    cross = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    cross[20:24] = cross[:, 20:24] = 255
    for name in range(8):
        Image.fromarray(cross.numpy()).save(tmp_path / f"{name}.png")
    masks = draw(InpaintSection(holes={"thin": 1}, overlays=str(tmp_path)))
    crosses = sum(int(mask.sum()) == int((cross > 0).sum()) for mask in masks)
    assert ROWS // 4 < crosses < ROWS
    (tmp_path / "empty").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "empty" / "1.png")
    with pytest.raises(DataError, match="too few overlays"):
        draw(InpaintSection(holes={"thin": 1}, overlays=str(tmp_path / "empty")))
    Image.new("L", (8, 8)).save(tmp_path / "empty" / "2.png")
    with pytest.raises(DataError, match="no mask in it has both"):
        draw(InpaintSection(holes={"thin": 1}, overlays=str(tmp_path / "empty")))


def test_levels_of_thin_damage() -> None:
    task = get_task("inpaint")
    clean = torch.rand(3, 64, 96)
    for level in task.levels("thin,scratches,hairs,specks,text,stamp"):
        damaged = level.degrade(clean, (0, 1))
        assert damaged.mask is not None
        kind = None if level.describe() == "thin" else level.describe()
        assert torch.equal(damaged.mask, thin_mask(64, 96, generator(0, 1), kind))
        known = ~damaged.mask.expand(3, -1, -1)
        assert torch.equal(damaged.pixels[known], clean[known])
