"""One rule reads masks of every kind: alpha if it says anything, else brightness."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from skimage import data

from irae.errors import PictureError
from irae.imaging.io.files import read_picture
from irae.imaging.io.masks import (
    has_soft_edges,
    marked_share,
    mask_levels,
    mask_warning,
    orient_mask,
    read_mask,
)

HOLE = np.zeros((12, 16), bool)
HOLE[3:8, 5:12] = True
PHOTO = data.coffee()[::34, ::38][:12, :16]


def _layer(colours: np.ndarray, alpha: np.ndarray) -> Image.Image:
    levels = np.where(alpha, 255, 0).astype(np.uint8)
    return Image.fromarray(np.dstack([np.broadcast_to(colours, (12, 16, 3)), levels]))


def _gray(marked: int, rest: int = 0, dtype: type = np.uint8) -> Image.Image:
    return Image.fromarray(np.where(HOLE, marked, rest).astype(dtype))


def _coloured(marked: tuple[int, int, int], rest: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
    return Image.fromarray(np.where(HOLE[..., None], marked, rest).astype(np.uint8))


def _palette() -> Image.Image:
    image = Image.frombytes("P", (16, 12), HOLE.astype(np.uint8).tobytes())
    image.putpalette([0, 0, 0, 200, 20, 120])
    return image


KINDS = {
    "white on black": _gray(255),
    "0 and 1": _gray(1),
    "0 and 1 in 16 bits": _gray(1, dtype=np.uint16),
    "16 bits": _gray(65535, dtype=np.uint16),
    "two levels": Image.fromarray(HOLE),
    "gray": _gray(100, 40),
    "red on black": _coloured((255, 0, 0)),
    "blue on black": _coloured((0, 0, 255)),
    "dark green on black": _coloured((0, 128, 0)),
    "palette": _palette(),
    "CMYK": Image.merge("CMYK", [Image.new("L", (16, 12))] * 3 + [_gray(0, 255)]),
    "black, painted on nothing": _layer(np.zeros(3, np.uint8), HOLE),
    "white, painted on nothing": _layer(np.full(3, 255, np.uint8), HOLE),
    "red, painted on nothing": _layer(np.array([255, 0, 0], np.uint8), HOLE),
    "photograph with a part erased": _layer(PHOTO, ~HOLE),
    "blank paper with a part erased": _layer(
        np.random.default_rng(0).normal(245, 6, (12, 16, 1)).clip(0, 255).astype(np.uint8), ~HOLE
    ),
    "photograph with a part erased to black": _layer(PHOTO * ~HOLE[..., None], ~HOLE),
    "white on black under opaque alpha": _layer(
        np.where(HOLE[..., None], 255, 0).astype(np.uint8), np.ones_like(HOLE)
    ),
    "white on black under alpha of nothing": _layer(
        np.where(HOLE[..., None], 255, 0).astype(np.uint8), np.zeros_like(HOLE)
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_every_kind_mark_the_same_hole(kind: str, tmp_path: Path) -> None:
    suffix = ".tif" if KINDS[kind].mode == "CMYK" else ".png"
    KINDS[kind].save(tmp_path / f"m{suffix}")
    mask = read_mask(tmp_path / f"m{suffix}", height=12, width=16)
    assert np.array_equal(mask[0].numpy(), HOLE)
    inverted = read_mask(tmp_path / f"m{suffix}", height=12, width=16, invert=True)
    assert np.array_equal(inverted[0].numpy(), ~HOLE)
    assert has_soft_edges(tmp_path / f"m{suffix}") == (kind == "gray")


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".gif", ".avif", ".jp2"])
def test_alpha_of_every_format_that_has_it_marks_holes(suffix: str, tmp_path: Path) -> None:
    big = KINDS["black, painted on nothing"].resize((64, 48), Image.Resampling.NEAREST)
    options = {} if suffix != ".webp" else {"lossless": True, "exact": True}
    big.save(tmp_path / f"m{suffix}", **options)
    mask = read_mask(tmp_path / f"m{suffix}")
    expected = np.kron(HOLE, np.ones((4, 4), bool))
    # AVIF loses a little at edges.
    assert (mask[0].numpy() != expected).mean() < 0.02


def test_an_empty_mask_marks_nothing_and_a_white_one_everything(tmp_path: Path) -> None:
    for level, expected in ((0, 0), (255, 192), (1, 192)):
        Image.new("L", (16, 12), level).save(tmp_path / "m.png")
        assert int(read_mask(tmp_path / "m.png").sum()) == expected


@settings(max_examples=40, deadline=None)
@given(
    marked=st.floats(0.004, 1.0),
    share=st.floats(0.0, 0.4),
    channels=st.sampled_from([1, 3]),
    seed=st.integers(0, 1 << 20),
)
def test_what_is_marked_does_not_depend_on_how_bright_the_mask_is(
    marked: float, share: float, channels: int, seed: int
) -> None:
    hole = torch.rand(1, 9, 11, generator=torch.Generator().manual_seed(seed)) > 0.5
    hole[0, 0, 0] = True
    pixels = torch.where(hole, marked, share * marked).expand(channels, -1, -1)
    assert torch.equal(mask_levels(pixels, None) > 0.5, hole)
    opaque = torch.where(hole, marked, share * marked)
    rest = bool((~hole).any())
    assert not rest or torch.equal(mask_levels(torch.zeros(3, 9, 11), opaque) > 0.5, hole)


def test_a_mask_that_marks_nothing_or_nearly_all_is_doubted() -> None:
    mask = torch.zeros(1, 10, 10, dtype=torch.bool)
    assert "marks nothing" in str(mask_warning(mask))
    mask[:, :7] = True
    assert mask_warning(mask) is None
    mask[:, 7, 0] = True
    assert "marks 71 % of the picture; `invert_mask`" in str(mask_warning(mask))
    mask = torch.ones(1, 200, 200, dtype=torch.bool)
    mask[0, 0, 0] = False
    assert "marks over 99 % of the picture" in str(mask_warning(mask))
    assert marked_share(torch.ones(1, 2, 2, dtype=torch.bool)) == "100 %"
    assert marked_share(torch.arange(100) > 0) == "99 %"


def test_a_mask_that_was_painted_again_is_read_again(tmp_path: Path) -> None:
    Image.fromarray(HOLE).save(tmp_path / "m.png")
    first = read_mask(tmp_path / "m.png")
    first[:] = False  # What a caller does with its mask changes no other.
    assert np.array_equal(read_mask(tmp_path / "m.png")[0].numpy(), HOLE)
    (tmp_path / "m.png").unlink()
    Image.fromarray(~HOLE).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png")[0].numpy(), ~HOLE)


def _exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()


def test_mask_white_is_hole(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png", height=1, width=4)
    assert mask.dtype == torch.bool
    assert mask.tolist() == [[[False, False, True, True]]]
    with pytest.raises(PictureError, match="mask is 4x1, the picture 8x2"):
        read_mask(tmp_path / "m.png", height=2, width=8)
    scaled = read_mask(tmp_path / "m.png", height=2, width=8, resize=True)
    assert scaled.tolist() == [[[False] * 4 + [True] * 4] * 2]


def test_a_mask_grows_in_every_direction(tmp_path: Path) -> None:
    levels = np.zeros((9, 12), np.uint8)
    levels[4, 6], levels[0, 0] = 255, 255
    levels[4, 5] = 100  # A soft edge, which alone is no hole.
    Image.fromarray(levels).save(tmp_path / "m.png")
    grown = read_mask(tmp_path / "m.png", grow=2)
    expected = np.zeros((9, 12), bool)
    expected[2:7, 4:9] = expected[:3, :3] = True
    assert np.array_equal(grown[0].numpy(), expected)
    assert read_mask(tmp_path / "m.png").sum() == 2
    assert has_soft_edges(tmp_path / "m.png")
    Image.fromarray(np.where(levels > 127, 255, 0).astype(np.uint8)).save(tmp_path / "hard.png")
    assert not has_soft_edges(tmp_path / "hard.png")
    Image.new("L", (5, 5)).save(tmp_path / "none.png")
    assert not has_soft_edges(tmp_path / "none.png")


def test_transparent_parts_of_a_mask_are_no_hole(tmp_path: Path) -> None:
    raster = np.full((1, 2, 4), 255, np.uint8)
    raster[0, 0, 3] = 0
    Image.fromarray(raster).save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").flatten().tolist() == [False, True]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_mask_painted_upright_is_turned_to_the_stored_picture(
    orientation: int, tmp_path: Path
) -> None:
    stored = Image.fromarray(np.random.default_rng(0).integers(0, 256, (3, 5), np.uint8))
    stored.save(tmp_path / "a.png", exif=_exif(orientation))
    seen = ImageOps.exif_transpose(Image.open(tmp_path / "a.png"))
    seen.info.clear()
    seen.point(lambda level: 255 * (level > 99)).save(tmp_path / "m.png")
    picture = read_picture(tmp_path / "a.png")
    mask = read_mask(tmp_path / "m.png", height=3, width=5, orientation=picture.layout.orientation)
    assert torch.equal(mask[0], torch.from_numpy(np.asarray(stored) > 99))
    painted = read_mask(tmp_path / "m.png")
    assert torch.equal(orient_mask(painted, orientation), mask)
