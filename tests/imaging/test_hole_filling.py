"""What holes are filled with: nothing from inside them, slopes and edges from around them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from irae.imaging import hole_filling as filling
from irae.imaging.degrade import apply_mask, center_mask, irregular_mask
from irae.imaging.hole_filling import fill_holes
from irae.imaging.metrics import psnr
from irae.imaging.thin_masks import thin_mask
from irae.runtime import generator


def smooth(height: int, width: int) -> Tensor:
    rows = torch.linspace(0, 3, height)[:, None]
    columns = torch.linspace(0, 2, width)[None]
    return torch.stack([(rows + columns).sin(), (rows * columns).cos(), columns - rows]) / 8 + 0.5


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(1, 33),
    width=st.integers(1, 33),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_filling_keeps_what_is_known_and_ignores_what_is_not(
    height: int, width: int, share: float, seed: int
) -> None:
    picture = torch.rand(2, 3, height, width, generator=generator(seed))
    mask = torch.rand(2, 1, height, width, generator=generator(seed, 1)) < share
    filled = fill_holes(picture, mask)
    known = (~mask).expand_as(picture)
    assert torch.equal(filled[known], picture[known])
    assert filled.isfinite().all()
    assert torch.equal(fill_holes(apply_mask(picture, mask, 7.0), mask), filled)


def test_a_constant_and_a_slope_are_filled_exactly() -> None:
    mask = center_mask(48, 64, 20)[None]
    constant = torch.full((1, 3, 48, 64), 0.3)
    assert torch.allclose(fill_holes(constant, mask), constant, atol=1e-6)
    slope = torch.linspace(0, 1, 64).expand(1, 3, 48, 64)
    assert (fill_holes(slope, mask) - slope).abs().max() < 0.02


def test_filling_beats_opencv_on_a_smooth_picture() -> None:
    cv2 = pytest.importorskip("cv2", reason="extra 'peers' is not installed")
    clean = smooth(96, 128)
    mask = irregular_mask(96, 128, generator(4))
    levels = (clean.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    telea = cv2.inpaint(levels, mask[0].numpy().astype(np.uint8), 3, cv2.INPAINT_TELEA)
    theirs = torch.from_numpy(telea).permute(2, 0, 1).float()[None] / 255
    ours = fill_holes(apply_mask(clean, mask)[None], mask[None])
    assert psnr(ours, clean[None]).item() > psnr(theirs, clean[None]).item() + 3


def test_nothing_known_is_mid_gray_and_no_hole_is_the_picture() -> None:
    picture = torch.rand(1, 3, 9, 5)
    nothing = torch.ones(1, 1, 9, 5, dtype=torch.bool)
    assert torch.allclose(fill_holes(picture, nothing), torch.full_like(picture, 0.5), atol=1e-6)
    assert fill_holes(picture, ~nothing) is picture


@pytest.mark.parametrize("angle", [0.0, 0.4, 0.8, 1.2])
def test_an_edge_goes_on_through_a_hole(angle: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    across = (columns - 48) * np.cos(angle) + (rows - 48) * np.sin(angle)
    clean = (0.2 + 0.6 * torch.sigmoid(across / 0.7)).expand(1, 3, 96, 96)
    mask = center_mask(96, 96, 16)[None]
    with_edges = psnr(fill_holes(clean, mask), clean).item()
    monkeypatch.setattr(filling, "_continue_edges", lambda filled, mask: filled)
    smooth_only = psnr(fill_holes(clean, mask), clean).item()
    assert with_edges > smooth_only + 1


def test_the_stencils_are_of_a_stable_diffusion() -> None:
    height, width = 12, 9
    picture = torch.rand(1, 3, height, width, dtype=torch.float64)
    everywhere = torch.ones(1, 1, height, width, dtype=torch.bool).nonzero()
    tensors = filling._tensors(filling._inwards(picture))
    weights = torch.stack(filling._stencils_at(tensors, everywhere), 1)
    all_at_once = torch.stack(filling._stencils(tensors))
    assert torch.equal(all_at_once.flatten(1).T, weights)
    operator = torch.zeros(height * width, height + 2, width + 2, dtype=torch.float64)
    for index, (_, _, row, column) in enumerate(everywhere.tolist()):
        operator[index, row : row + 3, column : column + 3] = weights[index].view(3, 3)
    outside = operator.clone()
    outside[:, 1:-1, 1:-1] = 0
    assert not outside.any()
    matrix = operator[:, 1:-1, 1:-1].flatten(1)
    assert (matrix - matrix.T).abs().max() < 1e-12
    # A constant stays, everything else dies down, and no step is too long.
    assert matrix.sum(1).abs().max() < 1e-12
    rates = torch.linalg.eigvalsh(matrix)
    assert rates[:-1].max() < -1e-6 and rates[-1].abs() < 1e-12
    assert rates.min() > -2 / filling._STEP_SIZE


def test_edges_are_followed_alike_in_a_part_of_the_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    picture = torch.rand(1, 3, 90, 80)
    mask = torch.zeros(1, 1, 90, 80, dtype=torch.bool)
    mask[..., 40:47, 60:75] = True
    part = filling._continue_edges(picture.clone(), mask)
    monkeypatch.setattr(filling, "_SEEN", 100)
    whole = filling._continue_edges(picture.clone(), mask)
    torch.testing.assert_close(whole, part, atol=1e-6, rtol=0)
    assert (part - picture).abs().max() > 0.1


@pytest.mark.parametrize(("height", "width"), [(8, 8), (40, 37), (64, 64)])
def test_edges_are_followed_alike_at_some_places_and_everywhere(height: int, width: int) -> None:
    pictures = torch.rand(5, 3, height, width, generator=generator(1))
    masks = torch.rand(5, 1, height, width, generator=generator(2)) < 0.3
    everywhere = filling._diffuse_all(pictures, masks)
    some = filling._diffuse_at(pictures, masks.nonzero())
    torch.testing.assert_close(everywhere, some, atol=1e-6, rtol=0)
    known = (~masks).expand_as(pictures)
    assert torch.equal(everywhere[known], pictures[known])
    assert (everywhere - pictures).abs().max() > 0.05


def test_few_pixels_of_a_large_picture_are_not_paid_for_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(filling, "_diffuse_all", lambda *given: pytest.fail("everywhere"))
    mask = torch.zeros(1, 1, 300, 300, dtype=torch.bool)
    mask[..., 3:297:60, 150] = True
    fill_holes(torch.rand(1, 3, 300, 300), mask)


@pytest.mark.parametrize("kind", ["scratches", "specks", "stamp", "a large hole", "all but one"])
@pytest.mark.parametrize(("height", "width"), [(301, 270), (7, 600), (256, 256)])
def test_a_large_picture_is_filled_alike_crop_by_crop(
    kind: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = torch.rand(2, 3, height, width, generator=generator(1))
    if kind == "a large hole":
        masks = [center_mask(height, width, side) for side in (3, min(height, 200))]
    elif kind == "all but one":
        masks = [torch.ones(1, height, width, dtype=torch.bool) for _ in range(2)]
        masks[0][:, 3, 5] = masks[1][:, height - 1, width - 1] = False
    else:
        masks = [thin_mask(height, width, generator(seed), kind) for seed in range(2)]
    mask = torch.stack(masks)
    whole = fill_holes(picture, mask)
    monkeypatch.setattr(filling, "_LARGE", 0)
    monkeypatch.setattr(filling, "_CROP", 3 * filling._REACH)
    before = picture.clone()
    torch.testing.assert_close(fill_holes(picture, mask), whole, atol=1e-6, rtol=0)
    assert torch.equal(picture, before)


def test_gradients_pass_through_the_filling() -> None:
    picture = torch.rand(1, 3, 20, 20, generator=generator(3)).requires_grad_()
    mask = torch.rand(1, 1, 20, 20, generator=generator(4)) < 0.4
    (gradient,) = torch.autograd.grad(fill_holes(picture, mask).square().sum(), picture)
    assert torch.equal(fill_holes(picture.detach(), mask), fill_holes(picture, mask).detach())
    assert gradient[(~mask).expand_as(gradient)].abs().min() > 0
    assert (gradient[mask.expand_as(gradient)] == 0).all()


@pytest.mark.parametrize("side", [64, 33])
def test_filling_never_waits_for_the_device(
    side: int, no_waits: Callable[[str], AbstractContextManager[object]]
) -> None:
    pictures = torch.empty(4, 3, side, side, device="meta")
    masks = torch.empty(4, 1, side, side, dtype=torch.bool, device="meta")
    with no_waits("meta"):
        filled = fill_holes(pictures, masks)
    assert filled.shape == pictures.shape


def test_the_filling_stays_in_channels_last_order() -> None:
    pictures = torch.rand(4, 3, 24, 24).contiguous(memory_format=torch.channels_last)
    filled = fill_holes(pictures, torch.rand(4, 1, 24, 24) < 0.3)
    assert filled.is_contiguous(memory_format=torch.channels_last)
    assert fill_holes(pictures.contiguous(), torch.rand(4, 1, 24, 24) < 0.3).is_contiguous()


def test_a_gpu_fills_alike_without_waiting(cuda: torch.device) -> None:
    pictures = torch.rand(8, 3, 64, 64, generator=generator(1))
    masks = torch.rand(8, 1, 64, 64, generator=generator(2)) < 0.3
    there = pictures.to(cuda), masks.to(cuda)
    torch.testing.assert_close(
        fill_holes(*there).cpu(), fill_holes(pictures, masks), atol=1e-5, rtol=0
    )
    torch.cuda.set_sync_debug_mode("error")
    try:
        fill_holes(*there)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_picture_is_filled_alike_alone_and_in_a_batch() -> None:
    pictures = torch.rand(3, 3, 40, 37)
    masks = torch.rand(3, 1, 40, 37) < 0.4
    together = fill_holes(pictures, masks)
    for index in range(3):
        alone = fill_holes(pictures[index : index + 1], masks[index : index + 1])
        # Up to the rounding of the last pixels, which are not computed eight at a time.
        torch.testing.assert_close(alone[0], together[index], atol=1e-6, rtol=0)


def test_following_edges_helps_on_photographs(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from irae.data.folder import open_folder

    pictures = open_folder(shared / "data" / "photos_val")
    pairs = []
    for index in range(4):
        clean = pictures.load(index)[None, :, :192, :192].float() / 255
        pairs.append((clean, irregular_mask(*clean.shape[2:], generator(index))[None]))

    def mean() -> float:
        return sum(psnr(fill_holes(c, m), c).item() for c, m in pairs) / len(pairs)

    with_edges = mean()
    monkeypatch.setattr(filling, "_continue_edges", lambda filled, mask: filled)
    assert with_edges > mean() + 0.1
