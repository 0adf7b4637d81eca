"""Inspection of picture files, and the task that is chosen for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageDraw
from skimage import data

from irae.errors import PictureError
from irae.imaging.analysis.jpeg_quality import JpegQuality
from irae.imaging.degrade import add_noise, jpeg_bytes
from irae.imaging.io.files import read_picture
from irae.imaging.io.pillow import picture_to_pil
from irae.restoring.automatic.inspect_picture import inspect_picture
from irae.restoring.automatic.inspection import choose_task, explain
from irae.restoring.restorer import Restorer
from irae.runtime import generator


def _photos(shared: Path, folder: str, pattern: str) -> list[Path]:
    paths = sorted((shared / "data" / folder).glob(pattern))
    if not paths:
        pytest.skip(f"data/{folder} is not there")
    return paths


def _save(pixels: torch.Tensor, path: Path) -> Path:
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(path)
    return path


@pytest.mark.slow
def test_clean_photographs_are_left_alone(shared: Path) -> None:
    photos = _photos(shared, "photos_val", "*.jpg")
    chosen = {path.name: inspect_picture(path) for path in photos[::3]}
    # The most textured of all: grass all over.
    chosen["86016.jpg"] = inspect_picture(photos[0].with_name("86016.jpg"))
    wrong = {name: explain(found) for name, found in chosen.items() if choose_task(found)[0]}
    assert not wrong
    assert {found.jpeg for found in chosen.values()} == {JpegQuality(95, True, "tables")}


@pytest.mark.slow
def test_noisy_photographs_are_denoised(shared: Path, tmp_path: Path) -> None:
    for index, path in enumerate(_photos(shared, "testsets/CBSD68", "*.png")[::4]):
        sigma = (15, 25, 50)[index % 3]
        clean = read_picture(path).pixels
        noisy = _save(add_noise(clean, sigma, generator(index)), tmp_path / path.name)
        found = inspect_picture(noisy)
        assert choose_task(found)[0] == "denoise", explain(found)
        assert found.noise is not None
        assert found.noise.sigma == pytest.approx(sigma, rel=0.2)


@pytest.mark.slow
def test_jpeg_damage_is_undone_in_jpegs_and_in_what_was_a_jpeg(
    shared: Path, tmp_path: Path
) -> None:
    left = []
    for index, path in enumerate(_photos(shared, "testsets/CBSD68", "*.png")[1::17]):
        quality = (10, 20, 30, 40)[index % 4]
        file = tmp_path / f"{path.stem}.jpg"
        file.write_bytes(jpeg_bytes(read_picture(path).pixels, quality))
        again = tmp_path / f"{path.stem}.png"
        picture_to_pil(read_picture(file)).crop((3, 2, 300, 301)).save(again)
        for one, source in ((file, "tables"), (again, "pixels")):
            found = inspect_picture(one)
            task, reason = choose_task(found)
            assert task in ("jpeg", "photo", None), reason
            left += [reason] if task is None else []
            assert found.jpeg is not None
            assert (found.jpeg.quality, found.jpeg.source) == (quality, source)
    # Of fine texture no gain is sure: docs/tutorials/photo.md says how often a picture is left.
    assert len(left) <= 2, left


@pytest.mark.parametrize("zoom", [1, 3])
def test_sprites_and_dithered_pictures_look_clean(tmp_path: Path, zoom: int) -> None:
    chance = np.random.default_rng(zoom)
    sprites = chance.integers(0, 256, (9, 3), np.uint8)[chance.integers(0, 9, (60, 80))]
    dots = Image.fromarray(data.coffee()[:180, :240]).convert("1").convert("L")
    for picture in (Image.fromarray(sprites.repeat(zoom, 0).repeat(zoom, 1)), dots):
        picture.save(tmp_path / "x.png")
        found = inspect_picture(tmp_path / "x.png")
        assert choose_task(found) == (None, "looks clean; nothing to do")
        assert "noise: none, there are few colours" in "\n".join(found.as_lines())


def test_holes_are_told_and_left(tmp_path: Path) -> None:
    image = Image.new("RGBA", (80, 60), (200, 30, 40, 255))
    ImageDraw.Draw(image).rectangle((10, 10, 19, 19), fill=(0, 0, 0, 0))
    image.save(tmp_path / "logo.png")
    found = inspect_picture(tmp_path / "logo.png")
    task, reason = choose_task(found)
    assert task is None
    assert reason.endswith(
        "; transparent pixels stay, and with --mask MASK it fills what is white in MASK"
    )
    assert "  holes: 100 transparent pixels; --mask MASK fills" in "\n".join(found.as_lines())
    Image.new("L", (80, 60)).save(tmp_path / "logo.mask.png")
    found = inspect_picture(tmp_path / "logo.png")
    assert found.mask == tmp_path / "logo.mask.png"
    mask, reason = tmp_path / "logo.mask.png", choose_task(found)[1]
    # What is done without a mask and what would be done with it are told apart.
    assert reason.endswith(f"; with --mask {mask} it fills the holes")
    assert "--task inpaint" not in "\n".join(found.as_lines())
    assert f"  holes: mask {mask}; --mask {mask} fills them" in found.as_lines()


def test_the_colours_under_transparency_are_no_noise(tmp_path: Path) -> None:
    levels = np.full((80, 160, 4), 128, np.uint8)
    levels[..., 0] = np.linspace(40, 200, 160).astype(np.uint8)
    levels[..., 3] = 255
    levels[:, 80:] = np.random.default_rng(0).integers(0, 256, (80, 80, 4), np.uint8)
    levels[:, 80:, 3] = 0
    Image.fromarray(levels).save(tmp_path / "x.png")
    assert choose_task(inspect_picture(tmp_path / "x.png"))[0] is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_every_mode_can_be_inspected(tmp_path: Path, mode: str) -> None:
    values = np.random.default_rng(0).normal(128, 30, (60, 70, 3)).clip(0, 255).astype(np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values[..., 0].astype(np.uint16) * 257)
    elif mode == "F":
        image = Image.fromarray(values[..., 0].astype(np.float32) / 255)
    else:
        image = Image.fromarray(values).convert(mode)
    path = tmp_path / "x.tif"
    image.save(path)
    found = inspect_picture(path)
    assert (found.width, found.height, found.format) == (70, 60, "TIFF")
    # Noise of sigma 30 in every mode but two levels; a palette of 256 colours makes it coarse.
    assert choose_task(found)[0] in {"1": (None,), "P": ("denoise", "photo")}.get(
        mode, ("denoise",)
    )
    assert json.loads(json.dumps(found.as_json()))["mode"] == found.mode
    assert found.as_lines()[0].startswith(f"{path}: 70x60, TIFF")


def test_the_profile_is_named(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("RGB", (20, 20))
    image.save(tmp_path / "good.png", icc_profile=profile)
    image.save(tmp_path / "bad.png", icc_profile=b"no profile at all")
    image.save(tmp_path / "none.png")
    assert "sRGB" in (inspect_picture(tmp_path / "good.png").profile or "")
    assert inspect_picture(tmp_path / "bad.png").profile == "unreadable"
    assert inspect_picture(tmp_path / "none.png").profile is None


def test_no_picture_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match="x.png"):
        inspect_picture(tmp_path / "x.png")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["blurred 0.8", "white 15, jpeg 90", "equal", "enlarged"])
def test_other_noise_does_not_go_to_the_denoiser(
    shared: Path, tmp_path: Path, script: Callable[[str], Any], damage: str
) -> None:
    cases = script("auto.cases")
    photo = next(script("auto.originals").photographs(shared / "data", every=4))
    case = cases.damaged(photo, damage, 1)
    found = inspect_picture(_save(case.pixels, tmp_path / "x.png"))
    assert choose_task(found)[0] in ("jpeg", "photo"), explain(found)
    lines = "\n".join(found.as_lines())
    assert "noise: sigma about" in lines
    assert "correlation" in lines


def test_a_file_with_loss_is_told_by_its_bits(shared: Path, tmp_path: Path) -> None:
    path = _photos(shared, "photos_val", "*.jpg")[0]
    bits = {}
    for name in ("20.webp", "90.webp", "30.avif", "lossless.webp", "a.png"):
        with Image.open(path) as image:
            quality = {"quality": int(name[:2])} if name[0].isdigit() else {}
            options = {"lossless": True} if name.startswith("lossless") else quality
            image.resize((240, 160)).save(tmp_path / name, **options)
        found = inspect_picture(tmp_path / name)
        bits[name] = None if found.lossy is None else found.lossy.bits
        assert found.as_json()["lossy"] == (
            None if found.lossy is None else {"kind": found.lossy.kind, "bits": bits[name]}
        )
        told = any("with loss, " in line for line in found.as_lines())
        assert told == (found.lossy is not None)
    assert bits["a.png"] is None and bits["lossless.webp"] is None
    assert bits["20.webp"] is not None and bits["90.webp"] is not None
    assert 0 < bits["20.webp"] < bits["90.webp"] / 2
    assert bits["30.avif"] is not None


def test_a_tint_is_named(tmp_path: Path) -> None:
    ramp = torch.linspace(0.1, 0.9, 160).expand(3, 160, 160)
    sepia = ramp * torch.tensor([1.0, 0.9, 0.7])[:, None, None]
    found = inspect_picture(_save(sepia, tmp_path / "x.png"))
    assert found.tint is not None
    assert "black and white with a tint" in "\n".join(found.as_lines())
    gray = inspect_picture(_save(ramp, tmp_path / "y.png"))
    assert "black and white, stored as colour" in "\n".join(gray.as_lines())


@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (2, 3), (90, 7), (7, 90), (12, 12)])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_of_any_size_are_inspected_and_restored(
    tmp_path: Path, size: tuple[int, int], mode: str, suffix: str
) -> None:
    random = np.random.default_rng(0)
    levels = random.integers(90, 150, (*size, 3)).astype(np.uint8)
    path = tmp_path / f"x{suffix}"
    Image.fromarray(levels).convert(mode).save(path)
    found = inspect_picture(path)
    assert (found.height, found.width) == size
    assert explain(found)
    restored = Restorer("photo", device="cpu").restore_picture(read_picture(path))
    assert restored.pixels.shape[1:] == size


def test_weak_noise_is_measured_beside_texture(shared: Path) -> None:
    # Both are camera JPEGs of real noise, which the rules took for texture.
    for number in (14, 15):
        found = inspect_picture(_photos(shared, "real_val", f"{number}_noisy.png")[0])
        assert found.sigma == pytest.approx(6.3, rel=0.3)
        assert found.as_lines()[1].startswith(f"  noise: sigma about {found.sigma:.1f}, corr")
        assert choose_task(found)[0] == "photo"
    clean = inspect_picture(_photos(shared, "photos_val", "86016.jpg")[0])
    assert "unsure: it may be fine texture" in clean.as_lines()[1]
    assert choose_task(clean)[0] is None
