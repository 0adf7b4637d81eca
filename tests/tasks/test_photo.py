"""The damage of photographs: by chance, but the same chance for every process; and real pairs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import irae
from irae.config import load_config
from irae.errors import ConfigError, DataError, UsageError
from irae.imaging.metrics import psnr
from irae.runtime import generator
from irae.tasks import get_task
from irae.tasks.base import Batch
from irae.tasks.batch_random import BatchRandom
from irae.tasks.mixture import Mixture
from irae.tasks.pairs import PairPool, find_pairs, read_pair, without_drift
from irae.tasks.photo import KINDS, PhotoSection

CPU = torch.device("cpu")
SIDE = 40


def smooth(count: int, height: int = SIDE, width: int = SIDE) -> Tensor:
    coarse = torch.rand(count, 3, 5, 5, generator=generator(3))
    whole = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return whole.clamp(0.05, 0.95)


def damaged(section: PhotoSection, rows: slice = slice(0, 16), root: Path = Path()) -> Batch:
    with ThreadPoolExecutor(2) as workers:
        random = BatchRandom(0, 5, 16, rows, CPU)
        clean = smooth(16)[rows]
        mixture = Mixture(section, SIDE, workers, root)
        return mixture(clean, torch.zeros(len(clean), dtype=torch.bool), random)


def write_pair(folder: Path, name: str, noisy: Tensor, clean: Tensor) -> None:
    folder.mkdir(exist_ok=True)
    for mark, pixels in (("noisy", noisy), ("clean", clean)):
        levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(levels).save(folder / f"{name}_{mark}.png")


def test_two_processes_together_see_the_batch_of_one(tmp_path: Path) -> None:
    picture = smooth(1, 64, 80)[0]
    write_pair(tmp_path / "pairs", "a", picture + 0.05, picture)
    section = PhotoSection(drawn=0.3, resized=0.4, pairs="pairs")
    whole = damaged(section, root=tmp_path)
    for rows in (slice(0, 7), slice(7, 16)):
        part = damaged(section, rows, tmp_path)
        assert torch.equal(part.clean, whole.clean[rows])
        assert torch.equal(part.degraded, whole.degraded[rows])
    assert whole.mask is None
    assert whole.sigma is None


def test_impulses_hit_some_patches_and_change_no_other_number() -> None:
    kinds = {"white": 0.5, "camera": 0.5}
    without = damaged(PhotoSection(kinds=kinds, drawn=0, resized=0))
    some = damaged(PhotoSection(kinds=kinds, drawn=0, resized=0, impulses=0.5))
    assert torch.equal(some.clean, without.clean)
    changed = (some.degraded != without.degraded).flatten(1).any(1)
    assert 3 <= int(changed.sum()) <= 13
    every = damaged(PhotoSection(kinds={"clean": 1.0}, soft=0, drawn=0, resized=0, impulses=1.0))
    extreme = (every.degraded <= 0) | (every.degraded >= 1)
    shares = extreme.flatten(1).float().mean(1)
    assert float(shares.max()) < 0.13
    assert 0.02 < float(shares.mean()) < 0.08
    salt = (every.degraded >= 1).float().sum() / extreme.float().sum()
    assert 0.4 < float(salt) < 0.6
    # Some hit whole pixels, some each channel by itself.
    whole = (extreme.all(1) == extreme.any(1)).flatten(1).all(1)
    assert 3 <= int(whole.sum()) <= 13
    parts = [
        damaged(PhotoSection(drawn=0, impulses=1.0), rows) for rows in (slice(0, 7), slice(7, 16))
    ]
    joined = torch.cat([part.degraded for part in parts])
    assert torch.equal(joined, damaged(PhotoSection(drawn=0, impulses=1.0)).degraded)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_does_what_it_is_called(kind: str) -> None:
    section = PhotoSection(kinds={kind: 1.0}, soft=0, drawn=0, resized=0, sigma=(10, 20))
    batch = damaged(section)
    error = psnr(batch.degraded.clamp(0, 1), batch.clean)
    if kind == "clean":
        assert error.min() > 50  # Rounded to 8 bits, some.
    else:
        assert batch.degraded.isfinite().all()
        assert 12 < error.median() < 50
    if kind == "toned":
        # Colours on a line: red follows from green, here by a parabola.
        gray = batch.clean.mean(1)
        order = gray[0].flatten().argsort()
        red = batch.clean[0, 0].flatten()[order]
        assert red.diff().min() > -0.05


def test_kinds_that_are_not_wanted_do_not_happen() -> None:
    batch = damaged(PhotoSection(kinds={"clean": 1.0}, soft=0, drawn=1))
    assert psnr(batch.degraded, batch.clean).min() > 50
    # Pages of text are sharper than the smooth pictures they replace.
    edges = (batch.clean.diff(dim=3).abs() > 0.3).float().mean()
    assert edges > 0.01


def test_soft_pictures_lose_the_finest_scale() -> None:
    sharp = damaged(PhotoSection(kinds={"camera": 1.0}, soft=0, drawn=0, resized=0))
    soft = damaged(PhotoSection(kinds={"camera": 1.0}, soft=1, drawn=0, resized=0))
    changed = [not torch.equal(a, b) for a, b in zip(sharp.clean, soft.clean, strict=True)]
    assert 0.5 < sum(changed) / len(changed) < 1


def test_levels_are_read() -> None:
    task = get_task("photo")
    assert [level.describe() for level in task.levels()] == [
        "sigma 8, quality 95",
        "sigma 15, quality 90",
        "sigma 25, quality 80",
    ]
    assert task.level("10").describe() == "sigma 10"
    assert task.level("camera").describe() == "camera"
    for wrong in ("8/0", "8/101", "300/90", "8/90.5", "film", "8/", "/90"):
        with pytest.raises(UsageError):
            task.level(wrong)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_camera_takes_the_same_picture_again(channels: int) -> None:
    clean = smooth(1, 33, 50)[0, :channels]
    level = get_task("photo").level("camera")
    first, again, other = (level.degrade(clean, seeds).pixels for seeds in ((1, 2), (1, 2), (1, 3)))
    assert first.shape == clean.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(UsageError, match="4 channels"):
        level.degrade(torch.rand(4, 16, 16), (0, 0))


def test_drift_is_taken_out_and_noise_is_not_put_in() -> None:
    clean = smooth(1, 240, 320)[0]
    drift = 0.03 * torch.linspace(-1, 1, 320)[None, None, :]
    noise = 0.05 * torch.randn(clean.shape, generator=generator(1))
    target = without_drift(clean + drift + noise, clean)
    error = (target - (clean + drift))[:, 40:-40, 60:-60]
    assert error.std() < 0.004
    assert (clean - (clean + drift)).std() > 0.015


def test_pairs_are_cut_alike(tmp_path: Path) -> None:
    clean = smooth(1, 60, 90)[0]
    write_pair(tmp_path, "scene", clean * 0.5, clean)
    pool = PairPool(tmp_path, 32, correct_drift=False)
    for symmetry in range(8):
        noisy, target = pool.cut(0, 0.3, 0.9, symmetry, 32)
        assert noisy.shape == target.shape == (3, 32, 32)
        assert (noisy - target * 0.5).abs().max() < 0.01
    with pytest.raises(DataError, match="too small for patches of 64"):
        PairPool(tmp_path, 64)


def test_what_is_wrong_with_pairs_is_one_line(tmp_path: Path) -> None:
    clean = smooth(1, 48, 48)[0]
    with pytest.raises(DataError, match="no such folder"):
        find_pairs(tmp_path / "nowhere")
    write_pair(tmp_path, "a", clean, clean)
    (tmp_path / "a_clean.png").rename(tmp_path / "other.png")
    with pytest.raises(DataError, match=r"a_noisy.png: its other half a_clean.\* is missing"):
        find_pairs(tmp_path)
    (tmp_path / "a_noisy.png").unlink()
    with pytest.raises(DataError, match="has no pairs"):
        find_pairs(tmp_path)
    write_pair(tmp_path, "b", clean, clean)
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(tmp_path / "b_clean.png")
    with pytest.raises(DataError, match="is 48x48, its clean half 48x40"):
        read_pair(find_pairs(tmp_path)[0])
    Image.fromarray(np.zeros((48, 48, 3), np.uint8)).save(tmp_path / "b_clean.jpg")
    with pytest.raises(DataError, match="keep one of the two"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("degradation.sigma=[20,10]", "sigma must lie in"),
        ("degradation.quality=[0,90]", "quality must lie in"),
        ("degradation.kinds={}", "at least one kind"),
        ("degradation.kinds={film: 1}", "kinds"),
        ("degradation.pair_share=2", "pair_share"),
        ("data.validation.levels=[film]", "data.validation: 'film' is no number"),
    ],
)
def test_ranges_that_cannot_be_are_named(key: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("photo.yaml", [key])
    assert named in str(caught.value)


def test_real_pairs_of_other_scenes_are_validated_on(shared: Path) -> None:
    config = load_config("release/photo.yaml", [f"data.root={shared / 'data'}"])
    pairs = get_task("photo").validation_pairs(config.data.validation, shared / "data")
    assert len(pairs) == 24
    before = [float(psnr(d.pixels[None], clean[None])) for _, clean, d in pairs]
    assert 30 < sum(before) / 24 < 36


def test_real_pairs_are_measured_for_any_model(tmp_path: Path) -> None:
    clean = smooth(2, 48, 60)
    for index, picture in enumerate(clean):
        noisy = picture + 0.05 * torch.randn(picture.shape, generator=generator(index))
        write_pair(tmp_path, f"scene{index}", noisy, picture)
    result = irae.evaluate("denoise", pairs=tmp_path, device="cpu")
    level = result.levels[0]
    assert level.degradation.describe() == f"pairs {tmp_path.name}"
    assert [round(p.input["psnr"] or 0) for p in level.pictures] == [26, 26]
    assert (level.output["psnr"] or 0) > (level.input["psnr"] or 0) + 3
    told = irae.evaluate("nlm", pairs=tmp_path, sigma=13, device="cpu")
    assert told.levels[0].degradation.describe().endswith("told sigma 13")
    for wrong in ({"data": tmp_path, "pairs": tmp_path}, {}, {"pairs": tmp_path, "quality": 10}):
        with pytest.raises(UsageError):
            irae.evaluate("denoise", **wrong)  # type: ignore[arg-type]
