"""The two protocols: what a target is, how it is damaged, what depends on the seed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from irae.errors import DataError, UsageError
from irae.imaging.metrics import psnr, ssim, ssim_authors
from irae.runtime import generator
from irae.tasks.base import Degradation
from irae.tasks.denoise import Noise
from irae.tasks.inpaint import Hole, MaskFolder
from irae.tasks.jpeg import Jpeg
from irae.tasks.protocols import PROTOCOLS, Authors, Standard, get_protocol

STANDARD, AUTHORS = Standard(), Authors()


def picture(height: int = 64, width: int = 48, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (3, height, width), generator=generator(seed), dtype=torch.uint8)


def write_masks(folder: Path, fractions: list[float], side: int = 50) -> MaskFolder:
    """Masks whose upper rows are hole; names sort in the order given."""
    folder.mkdir()
    for number, fraction in enumerate(fractions):
        rows = np.arange(side)[:, None] < round(fraction * side)
        levels = np.broadcast_to(rows, (side, side)).astype(np.uint8) * 255
        Image.fromarray(levels).save(folder / f"{number:02d}.png")
    return MaskFolder.open(folder)


def test_the_standard_target_is_the_8_bit_picture() -> None:
    pixels = picture()
    clean = STANDARD.clean(pixels, 0, 0)
    assert clean.dtype == torch.float32
    assert torch.equal((clean * 255).round().to(torch.uint8), pixels)


def test_the_authors_target_is_five_bits_and_a_uniform_rest() -> None:
    pixels = picture(256, 256)
    clean = AUTHORS.clean(pixels, 3, 5)
    rest = clean * 32 - (pixels // 8)
    assert clean.dtype == torch.float32
    assert rest.min() > -1e-5
    assert rest.max() < 1 + 1e-5
    assert rest.mean().item() == pytest.approx(0.5, abs=0.01)
    assert rest.double().std().item() == pytest.approx(math.sqrt(1 / 12), abs=0.01)
    # The best guess, the middle of each step, is what no restorer can pass.
    guess = ((pixels // 8) + 0.5) / 32
    assert psnr(guess[None], clean[None]).item() == pytest.approx(40.9, abs=0.05)


def test_the_authors_target_depends_on_seed_and_index_alone() -> None:
    pixels = picture()
    clean = AUTHORS.clean(pixels, 3, 5)
    assert torch.equal(clean, AUTHORS.clean(pixels, 3, 5))
    assert not torch.equal(clean, AUTHORS.clean(pixels, 4, 5))
    assert not torch.equal(clean, AUTHORS.clean(pixels, 3, 6))


@pytest.mark.parametrize("rules", PROTOCOLS.values(), ids=PROTOCOLS.keys())
@pytest.mark.parametrize("degradation", [Noise(25), Jpeg(10), Hole("center", 32)])
def test_damage_depends_on_seed_and_index_alone(
    rules: Standard | Authors, degradation: Degradation
) -> None:
    clean = rules.clean(picture(), 0, 0)
    first = rules.damage(clean, degradation, 7, 2)
    again = rules.damage(clean, degradation, 7, 2)
    assert torch.equal(first.pixels, again.pixels)
    assert first.pixels.shape == clean.shape
    if isinstance(degradation, Noise):
        for seed, index in ((8, 2), (7, 3)):
            other = rules.damage(clean, degradation, seed, index)
            assert not torch.equal(first.pixels, other.pixels)


@pytest.mark.parametrize("rules", PROTOCOLS.values(), ids=PROTOCOLS.keys())
def test_noise_has_its_sigma_is_not_clipped_and_is_one_pattern_at_all_levels(
    rules: Standard | Authors,
) -> None:
    clean = rules.clean(picture(256, 256), 0, 0)
    weak, strong = (rules.damage(clean, Noise(sigma), 0, 0).pixels - clean for sigma in (15, 45))
    assert strong.std().item() * 255 == pytest.approx(45, rel=0.01)
    assert torch.allclose(strong, 3 * weak, atol=1e-6)
    assert (clean + strong).min() < 0
    assert (clean + strong).max() > 1


def test_the_noise_is_not_that_of_the_authors_dequantisation() -> None:
    pixels = picture(256, 256)
    clean = AUTHORS.clean(pixels, 0, 0)
    rest = clean * 32 - (pixels // 8)
    noise = AUTHORS.damage(clean, Noise(25), 0, 0).pixels - clean
    both = torch.stack((rest.flatten(), noise.flatten()))
    assert abs(torch.corrcoef(both)[0, 1].item()) < 0.01


def test_clipped_noise_is_an_8_bit_picture() -> None:
    noisy = STANDARD.damage(torch.rand(3, 32, 32), Noise(50, clipped=True), 0, 0).pixels
    assert noisy.min() == 0
    assert noisy.max() == 1
    assert torch.allclose(noisy * 255, (noisy * 255).round(), atol=1e-4)


def test_standard_holes_are_squares_of_their_size_filled_with_0() -> None:
    clean = torch.rand(3, 64, 48, generator=generator(0)) * 0.5 + 0.25
    centre = STANDARD.damage(clean, Hole("center", 20), 0, 0)
    assert centre.mask is not None
    assert centre.mask[:, 22:42, 14:34].all()
    places = set()
    for index in range(8):
        box = STANDARD.damage(clean, Hole("box", 20), 0, index)
        assert box.mask is not None
        assert int(box.mask.sum()) == int(centre.mask.sum()) == 400
        places.add(tuple(box.mask.nonzero()[0].tolist()))
        hole = box.mask.expand_as(clean)
        assert (box.pixels[hole] == 0).all()
        assert torch.equal(box.pixels[~hole], clean[~hole])
    assert len(places) > 1


def test_standard_deals_every_mask_out_once_per_round_in_an_order_of_the_seed(
    tmp_path: Path,
) -> None:
    masks = write_masks(tmp_path / "masks", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    clean = torch.rand(3, 100, 40)

    def dealt(seed: int) -> list[Path | None]:
        return [STANDARD.damage(clean, masks, seed, index).mask_path for index in range(12)]

    first = dealt(0)
    assert sorted(map(str, first[:6])) == [str(path) for path in masks.paths]
    assert first[6:] == first[:6]
    assert dealt(0) == first
    assert dealt(1) != first


def test_a_mask_file_is_scaled_to_the_picture(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks", [0.3])
    damaged = STANDARD.damage(torch.rand(3, 100, 40), masks, 0, 0)
    assert damaged.mask is not None
    assert damaged.mask.shape == (1, 100, 40)
    assert damaged.mask[:, :30].all()
    assert not damaged.mask[:, 30:].any()
    assert damaged.mask_path == masks.paths[0]


def test_the_authors_hole_is_a_random_box_shrunk_and_filled_with_1() -> None:
    clean = torch.rand(3, 200, 180, generator=generator(0)) * 0.5
    heights, widths, tops = set(), set(), set()
    for index in range(60):
        damaged = AUTHORS.damage(clean, Hole("center", 128), 0, index)
        assert damaged.mask is not None
        rows = damaged.mask[0].any(1).nonzero().flatten()
        columns = damaged.mask[0].any(0).nonzero().flatten()
        height, width = len(rows), len(columns)
        assert int(damaged.mask.sum()) == height * width
        for side in (height, width):
            assert 96 <= side <= 128
            assert side % 2 == 0
        heights.add(height)
        widths.add(width)
        tops.add(int(rows[0]))
        hole = damaged.mask.expand_as(clean)
        assert (damaged.pixels[hole] == 1).all()
        assert torch.equal(damaged.pixels[~hole], clean[~hole])
    assert min(len(heights), len(widths), len(tops)) > 8


def test_the_authors_masks_have_10_to_50_percent_holes_filled_with_0(tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks", [0.02, 0.1, 0.3, 0.48, 0.5, 0.9])
    clean = torch.rand(3, 50, 50) * 0.5 + 0.25
    chosen = set()
    for index in range(40):
        damaged = AUTHORS.damage(clean, masks, 0, index)
        assert damaged.mask is not None
        assert 0.1 <= damaged.mask.double().mean() < 0.5
        assert (damaged.pixels[damaged.mask.expand_as(clean)] == 0).all()
        chosen.add(damaged.mask_path)
    assert chosen == set(masks.paths[1:4])
    with pytest.raises(DataError, match="no mask with 10 to 50 % holes"):
        few = write_masks(tmp_path / "few", [0.02, 0.6])
        AUTHORS.damage(clean, few, 0, 0)


def test_each_protocol_has_its_ssim() -> None:
    a, b = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    assert torch.equal(STANDARD.ssim(a, b), ssim(a, b))
    assert torch.equal(AUTHORS.ssim(a, b), ssim_authors(a, b))


def test_the_psnr_of_the_authors_ends_at_80() -> None:
    a = torch.rand(1, 3, 32, 32)
    assert AUTHORS.psnr(a, a).item() == 80
    assert STANDARD.psnr(a, a).item() == math.inf
    assert torch.equal(AUTHORS.psnr(a, a + 0.1), psnr(a, a + 0.1))


def test_what_does_not_fit_is_refused_in_one_line(tmp_path: Path) -> None:
    clean = torch.rand(3, 64, 64)
    with pytest.raises(UsageError, match="no clipped noise"):
        AUTHORS.check(Noise(25, clipped=True))
    with pytest.raises(UsageError, match="no hole 'box'"):
        AUTHORS.check(Hole("box", 32))
    with pytest.raises(UsageError, match="64 pixels does not fit a picture of 64x64"):
        AUTHORS.damage(clean, Hole("center", 64), 0, 0)
    with pytest.raises(UsageError, match="does not fit"):
        STANDARD.damage(clean, Hole("box", 65), 0, 0)
    with pytest.raises(UsageError, match="'paper' is unknown; use standard or authors"):
        get_protocol("paper")
    with pytest.raises(DataError, match="is not a folder"):
        MaskFolder.open(tmp_path / "absent")
    with pytest.raises(DataError, match="has no mask files"):
        MaskFolder.open(tmp_path)
