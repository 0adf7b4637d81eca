"""What is shown of a picture, and masks painted on that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from irae.errors import UsageError
from irae.imaging.io.files import read_picture
from irae.imaging.io.masks import orient_mask, read_mask
from irae.ui.previews import make_preview, painted_mask, save_preview, upright_size


def _ramp(height: int = 6, width: int = 8) -> np.ndarray:
    values = np.zeros((height, width, 3), np.uint8)
    values[..., 0] = np.arange(width) * 30
    values[..., 1] = np.arange(height)[:, None] * 40
    return values


def test_an_eight_bit_picture_is_shown_as_it_is(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(_ramp()).save(tmp_path / "x.png", icc_profile=profile)
    save_preview(read_picture(tmp_path / "x.png"), tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as shown:
        assert np.array_equal(np.asarray(shown), _ramp())
        assert shown.info["icc_profile"] == profile


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "RGBA", "CMYK", "P"])
def test_every_mode_can_be_shown(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "x.tif"
    if mode == "I;16":
        Image.fromarray(np.full((6, 8), 32896, np.uint16)).save(path)
    else:
        Image.fromarray(_ramp()).convert(mode).save(path)
    shown = make_preview(read_picture(path))
    assert shown.mode == "RGB"
    assert shown.size == (8, 6)
    if mode == "I;16":
        assert np.unique(np.asarray(shown)).tolist() == [128]
    if mode in ("RGBA", "CMYK"):
        assert np.abs(np.asarray(shown).astype(int) - _ramp()).max() <= 1


def test_transparent_parts_show_a_checkerboard(tmp_path: Path) -> None:
    values = np.zeros((16, 16, 4), np.uint8)
    values[:, 8:, 3] = 255
    Image.fromarray(values).save(tmp_path / "x.png")
    shown = np.asarray(make_preview(read_picture(tmp_path / "x.png")))
    assert not shown[:, 8:].any()
    assert np.unique(shown[:8, :8]).tolist() == [255]
    assert np.unique(shown[8:, :8]).tolist() == [204]


def test_it_is_upright_and_no_larger_than_asked(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(_ramp(40, 80)).save(tmp_path / "x.png", exif=exif)
    picture = read_picture(tmp_path / "x.png")
    assert upright_size(picture) == (40, 80)
    shown = make_preview(picture)
    assert np.array_equal(np.asarray(shown), np.rot90(_ramp(40, 80), -1))
    assert make_preview(picture, longest=20).size == (10, 20)


def _layer(path: Path, size: tuple[int, int], alpha: np.ndarray) -> Path:
    values = np.zeros((size[1], size[0], 4), np.uint8)
    values[..., 3] = alpha
    Image.fromarray(values).save(path)
    return path


def test_a_mask_is_white_where_strokes_cover_half_a_pixel(tmp_path: Path) -> None:
    alpha = np.array([[0, 127, 128, 255]], np.uint8)
    other = np.array([[200, 0, 0, 0]], np.uint8)
    layers = [_layer(tmp_path / "a.png", (4, 1), alpha), _layer(tmp_path / "b.png", (4, 1), other)]
    mask = painted_mask(layers, (4, 1))
    assert mask.mode == "L"
    assert np.asarray(mask).tolist() == [[255, 0, 255, 255]]


def test_a_mask_painted_on_a_reduced_picture_gets_its_size(tmp_path: Path) -> None:
    alpha = np.array([[0, 255], [0, 0]], np.uint8)
    mask = painted_mask([_layer(tmp_path / "a.png", (2, 2), alpha)], (6, 4))
    assert np.asarray(mask).tolist() == [[0, 0, 0, 255, 255, 255]] * 2 + [[0] * 6] * 2


def test_the_mask_of_a_turned_picture_fits_its_stored_pixels(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 8
    Image.fromarray(_ramp(4, 6)).save(tmp_path / "x.png", exif=exif)
    picture = read_picture(tmp_path / "x.png")
    width, height = upright_size(picture)
    alpha = np.zeros((height, width), np.uint8)
    alpha[1, 2] = 255
    painted_mask([_layer(tmp_path / "a.png", (width, height), alpha)], (width, height)).save(
        tmp_path / "mask.png"
    )
    read = read_mask(tmp_path / "mask.png", height=4, width=6, orientation=8)
    assert torch.equal(read, orient_mask(torch.from_numpy(alpha > 0)[None], 8))


def test_nothing_painted_is_said(tmp_path: Path) -> None:
    empty = _layer(tmp_path / "a.png", (2, 2), np.zeros((2, 2), np.uint8))
    for layers in ([], [empty]):
        with pytest.raises(UsageError, match="nothing is painted"):
            painted_mask(layers, (2, 2))
