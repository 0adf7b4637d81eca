"""What is shown of a picture, and any region of it."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from irae.imaging.io.files import read_picture
from irae.ui.errors import RefusedError
from irae.ui.previews import Preview, Region, make_preview, upright_size


def _ramp(height: int = 6, width: int = 8) -> np.ndarray:
    values = np.zeros((height, width, 3), np.uint8)
    values[..., 0] = np.arange(width) * 30
    values[..., 1] = np.arange(height)[:, None] * 40
    return values


def test_an_eight_bit_picture_is_shown_as_it_is(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(_ramp()).save(tmp_path / "x.png", icc_profile=profile)
    preview = Preview.save(read_picture(tmp_path / "x.png"), tmp_path / "preview")
    with Image.open(io.BytesIO(preview.png(Region(0, 0, 8, 6, 1.0)))) as shown:
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


def test_it_is_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(_ramp(40, 80)).save(tmp_path / "x.png", exif=exif)
    picture = read_picture(tmp_path / "x.png")
    assert upright_size(picture) == (40, 80)
    shown = make_preview(picture)
    assert np.array_equal(np.asarray(shown), np.rot90(_ramp(40, 80), -1))


@settings(deadline=None, max_examples=40)
@given(
    box=st.tuples(*[st.integers(0, 900), st.integers(0, 700)] * 2),
    scale=st.sampled_from([1.0, 0.5, 0.25, 0.7, 0.01]),
)
def test_any_region_at_any_scale(
    preview: Preview, box: tuple[int, int, int, int], scale: float
) -> None:
    (left, right), (top, bottom) = sorted(box[::2]), sorted(box[1::2])
    region = Region(left, top, right - left, bottom - top, scale)
    if not region.width or not region.height:
        with pytest.raises(RefusedError, match="900 × 700"):
            preview.png(region)
        return
    with Image.open(io.BytesIO(preview.png(region))) as shown:
        assert shown.size == (
            max(1, round(region.width * scale)), max(1, round(region.height * scale))
        )  # fmt: skip
        values = np.asarray(shown).astype(float)
    # A ramp in both directions: what is shown tells where it was.
    middle = values[values.shape[0] // 2, values.shape[1] // 2]
    step = 1 / scale
    assert abs(middle[0] - (left + right) / 2 / 900 * 255) < 2 + step * 255 / 900
    assert abs(middle[1] - (top + bottom) / 2 / 700 * 255) < 2 + step * 255 / 700


@pytest.fixture(scope="module")
def preview(tmp_path_factory: pytest.TempPathFactory) -> Preview:
    folder = tmp_path_factory.mktemp("ramp")
    values = np.zeros((700, 900, 3), np.uint8)
    values[..., 0] = np.arange(900) / 900 * 255
    values[..., 1] = np.arange(700)[:, None] / 700 * 255
    Image.fromarray(values).save(folder / "x.png")
    return Preview.save(read_picture(folder / "x.png"), folder / "preview")
