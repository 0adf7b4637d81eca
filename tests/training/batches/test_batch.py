"""Batches are functions of (seed, step, index), and hold what the config asks for."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.utils import save_image

from irae.config import RunConfig, load_config
from irae.errors import DataError
from irae.imaging.crops import Crops, PixelBuffer
from irae.imaging.hole_filling import fill_holes
from irae.runtime import generator
from irae.tasks.batch_random import RandomColumns
from irae.tasks.jpeg import _qualities
from irae.training.batches.batch import BatchMaker
from irae.training.batches.collection import open_collection
from irae.training.batches.picture_cache import PictureCache, cache_room, overflow


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


@pytest.mark.usefixtures("few_masks")
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


@pytest.mark.usefixtures("few_masks")
@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint", "photo"])
@pytest.mark.parametrize("protocol", ["standard", "authors"])
def test_making_a_batch_never_waits_for_the_device(
    task: str,
    protocol: str,
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_waits: Callable[[str], AbstractContextManager[object]],
) -> None:
    def on_the_host(*keys: int, device: object = None) -> torch.Generator | None:
        return None if str(device) == "meta" else generator(*keys)

    # The device has no generators of its own.
    monkeypatch.setattr("irae.tasks.batch_random.generator", on_the_host)
    more = ["training.batch=16", f"data.protocol={protocol}", "data.augment.shrink=0.3"]
    if task == "photo":
        more += ["degradation.drawn=0.4", "data.validation.levels=['25/80']"]
    maker = BatchMaker(config(task, pictures, *more), torch.device("meta"))
    for step in range(4):  # Pictures are decoded, and the constants of all kinds of damage made.
        maker.batch(step)
    with no_waits("meta"):
        batch = maker.batch(4)
    assert batch.clean.device == batch.degraded.device == torch.device("meta")


def test_pictures_that_are_not_kept_are_copied_without_waiting(
    pictures: Path, no_waits: Callable[[str], AbstractContextManager[object]]
) -> None:
    settings = config("jpeg", pictures, "training.batch=16", "data.cache_gb=0")
    maker = BatchMaker(settings, torch.device("meta"))
    maker.batch(0)
    with no_waits("meta"):
        assert maker.batch(1).clean.device.type == "meta"


@pytest.mark.usefixtures("few_masks")
@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint", "photo"])
def test_a_gpu_makes_the_batches_of_a_cpu_without_waiting(
    task: str, pictures: Path, cuda: torch.device
) -> None:
    settings = config(task, pictures, "training.batch=16")
    here, maker = BatchMaker(settings), BatchMaker(settings, cuda)
    for step in range(4):  # Pictures are decoded, and the constants of all kinds of damage made.
        maker.batch(step)
    torch.cuda.set_sync_debug_mode("error")
    try:
        there = maker.batch(4)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close(there.clean.cpu(), here.batch(4).clean, atol=1e-6, rtol=0)
    if task in ("jpeg", "inpaint"):  # The others' noise is drawn by the device's own generator.
        expected = here.batch(4).degraded
        torch.testing.assert_close(there.degraded.cpu(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("task", ["denoise", "jpeg"])
def test_batches_of_a_gpu_depend_on_the_seed_and_the_step_alone(
    task: str, pictures: Path, cuda: torch.device
) -> None:
    settings = config(task, pictures, "training.batch=16")
    first, second = BatchMaker(settings, cuda), BatchMaker(settings, cuda)
    first.batch(7)
    assert torch.equal(first.batch(3).degraded, second.batch(3).degraded)


def test_pictures_take_a_share_of_a_gpus_free_memory(pictures: Path, cuda: torch.device) -> None:
    free = torch.cuda.mem_get_info(cuda)[0]
    buffer = BatchMaker(config("denoise", pictures), cuda)._cache._buffer
    assert buffer.device.type == "cuda"
    assert 0 < 3 * buffer._room <= 0.26 * free


def test_processes_beside_gpus_share_the_cores(
    pictures: Path, cuda: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = BatchMaker(config("denoise", pictures), cuda)._workers._max_workers
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    shared = BatchMaker(config("denoise", pictures), cuda)._workers._max_workers
    assert 1 <= shared <= max(1, alone) <= 16
    assert shared < alone or alone in (1, 16)


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


@pytest.mark.usefixtures("few_masks")
def test_masks_leave_known_pixels_and_fill_the_rest(pictures: Path) -> None:
    batch = BatchMaker(config("inpaint", pictures, "training.batch=32")).batch(0)
    assert batch.mask is not None
    share = batch.mask.float().mean((1, 2, 3))
    assert share.min() > 0
    assert share.max() < 1
    known = (~batch.mask).expand_as(batch.clean)
    assert torch.equal(batch.degraded[known], batch.clean[known])
    assert torch.equal(batch.degraded, fill_holes(batch.clean, batch.mask))


@pytest.mark.slow
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
    with pytest.raises(DataError, match=r"none of its 3 .* \(0.png: too small for patches of 128"):
        BatchMaker(config("denoise", pictures, "data.patch=128"))


@pytest.mark.usefixtures("few_masks")
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


@pytest.mark.usefixtures("few_masks")
@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint"])
@pytest.mark.parametrize("protocol", ["standard", "authors"])
def test_a_process_makes_its_rows_of_the_batch(task: str, protocol: str, pictures: Path) -> None:
    settings = config(task, pictures, f"data.protocol={protocol}", "data.augment.shrink=0.5")
    whole = BatchMaker(settings).batch(5)
    for rows in (slice(0, 2), slice(2, 4)):
        maker = BatchMaker(settings, rows=rows)
        part = maker.batch(5)
        for name in ("clean", "degraded", "mask", "sigma"):
            some, all_ = getattr(part, name), getattr(whole, name)
            assert (some is None) == (all_ is None)
            # What holes are filled with is rounded by where in memory it lies.
            atol = 1e-6 if (task, name) == ("inpaint", "degraded") else 0
            if some is not None:
                torch.testing.assert_close(some, all_[rows], atol=atol, rtol=0)
        assert torch.equal(maker.batch(5, whole=True).degraded, whole.degraded)


@pytest.mark.parametrize("room", [0, 1e-5, 2e-5])
def test_pictures_that_do_not_fit_the_cache_are_cut_alike(room: float, pictures: Path) -> None:
    more = ("training.batch=16", "data.augment.shrink=0.5")
    kept = BatchMaker(config("denoise", pictures, *more)).batch(1)
    read = BatchMaker(config("denoise", pictures, *more, f"data.cache_gb={room}")).batch(1)
    assert torch.equal(kept.degraded, read.degraded)


def test_pictures_are_kept_on_the_host_when_the_device_is_full(pictures: Path) -> None:
    settings = config("denoise", pictures)
    numbers = torch.arange(3)
    zero = torch.zeros(3, dtype=torch.long)
    crops = Crops(numbers, zero + 5, zero + 7, zero + 6)
    with ThreadPoolExecutor(2) as workers:
        sets = open_collection(settings.data).train
        roomy = PictureCache(sets, settings.data, torch.device("cpu"), workers)
        full = PictureCache(sets, settings.data, torch.device("cpu"), workers)
        full._buffer, full._host_room = PixelBuffer(48 * 64 * 3, torch.device("cpu")), 48 * 64 * 3
        assert torch.equal(roomy.sizes(numbers), full.sizes(numbers))
        assert len(full._host) == 1
        assert torch.equal(roomy.cut(crops, 16), full.cut(crops, 16))


def test_the_cache_is_as_large_as_free_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    free = "irae.training.batches.picture_cache.free_host_memory"
    monkeypatch.setattr(free, lambda: 10 * 2**30)
    assert cache_room("auto") == 5 * 2**30
    assert cache_room(2.5) == 5 * 2**29
    assert load_config("denoise.yaml").data.cache_gb == "auto"
    assert overflow(5 * 2**30 // 3, "auto") is None
    line = overflow(2**31, "auto")
    assert line is not None and "\n" not in line
    assert "take 6.0 GiB" in line and "keeps 5.0 of them" in line


@pytest.mark.parametrize(("rows", "warnings"), [(slice(0, 2), 1), (slice(2, 4), 0)])
def test_a_cache_that_overflows_is_said_once_by_one_process(
    rows: slice, warnings: int, pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    BatchMaker(config("denoise", pictures), rows=rows)
    assert not caplog.records
    BatchMaker(config("denoise", pictures, "data.cache_gb=1e-5"), rows=rows).batch(0)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * warnings
    assert all("data.cache_gb (1e-05)" in record.getMessage() for record in caplog.records)


def one_picture(folder: Path, picture: Tensor) -> list[str]:
    (folder / "one").mkdir()
    save_image(picture, folder / "one" / "0.png")
    return [f"data.train=[{{source: {folder / 'one'}}}]", "training.batch=800"]


NONE = "data.augment={flip: false, colour: 0, gray: 0, shrink: 0}"


def levels(pictures: Tensor) -> Tensor:
    return (pictures * 255).round().to(torch.uint8)


def test_all_eight_symmetries_come_equally_often(tmp_path: Path, pictures: Path) -> None:
    picture = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(1))
    more = [*one_picture(tmp_path, picture), NONE, "data.augment.flip=true"]
    clean = levels(BatchMaker(config("denoise", pictures, *more)).batch(0).clean)
    turned = [levels(picture).rot90(k, (1, 2)) for k in range(4)]
    counts = [int((clean == each).all((1, 2, 3)).sum()) for x in turned for each in (x, x.flip(2))]
    assert sum(counts) == 800
    assert 60 <= min(counts) <= max(counts) <= 140  # 100 expected, standard deviation 9


def test_crops_come_from_everywhere_unchanged(tmp_path: Path, pictures: Path) -> None:
    # Of a ramp, every pixel tells where it was.
    ramp = torch.stack(
        [torch.arange(20.0)[:, None].expand(20, 19), torch.arange(19.0).expand(20, 19)]
    )
    picture = torch.cat([ramp, ramp[:1]]) / 255
    more = [*one_picture(tmp_path, picture), NONE]
    clean = levels(BatchMaker(config("denoise", pictures, *more)).batch(0).clean)
    down = torch.arange(16)
    assert (clean[:, 0] - clean[:, 0, :1, :1] == down[:, None]).all()
    assert (clean[:, 1] - clean[:, 1, :1, :1] == down).all()
    assert clean[:, 0, 0, 0].unique().tolist() == [0, 1, 2, 3, 4]
    assert clean[:, 1, 0, 0].unique().tolist() == [0, 1, 2, 3]


def test_shrunk_patches_are_means_of_four_pixels(tmp_path: Path, pictures: Path) -> None:
    picture = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    more = [*one_picture(tmp_path, picture), NONE, "data.augment.shrink=0.2"]
    clean = BatchMaker(config("denoise", pictures, *more)).batch(0).clean
    small = torch.nn.functional.avg_pool2d(levels(picture).float() / 255, 2)
    shrunk = (clean - small).abs().amax((1, 2, 3)) < 1e-6
    assert shrunk.float().mean().item() == pytest.approx(0.2, abs=0.05)


def test_colours_are_permuted_and_scaled_as_documented(tmp_path: Path, pictures: Path) -> None:
    colour = torch.tensor([110, 128, 140]) / 255
    picture = colour[:, None, None].expand(3, 16, 16)
    more = one_picture(tmp_path, picture)
    section = "data.augment={flip: true, colour: 0.6, gray: 0.2, shrink: 0}"
    clean = BatchMaker(config("denoise", pictures, *more, section)).batch(0).clean[:, :, 0, 0]
    spread = clean.amax(1) - clean.amin(1)
    gray = spread == 0
    luma = (colour * torch.tensor([0.299, 0.587, 0.114])).sum().item()
    assert clean[gray].sub(luma).abs().max() < 1e-6
    assert gray.float().mean().item() == pytest.approx(0.2, abs=0.05)
    changed = ~gray & ((clean - colour).abs().amax(1) > 1e-6)
    assert changed.float().mean().item() == pytest.approx(0.6, abs=0.06)
    factor = spread[changed] / (colour.max() - colour.min())
    assert 0.3 <= factor.min() < 0.36
    assert 2.44 < factor.max() <= 2.5 + 1e-5
    assert factor.mean().item() == pytest.approx(1.4, abs=0.1)
    assert clean[changed].mean(1).sub(colour.mean()).abs().max() < 1e-6
    orders, counts = clean[changed].argsort(1).unique(dim=0, return_counts=True)
    assert len(orders) == 6
    assert 50 <= counts.min() <= counts.max() <= 115  # 80 expected, standard deviation 8


def test_sources_are_drawn_by_their_weights(tmp_path: Path, pictures: Path) -> None:
    for name, level in (("dark", 0.0), ("light", 1.0)):
        (tmp_path / name).mkdir()
        save_image(torch.full((3, 16, 16), level), tmp_path / name / "0.png")
    sources = f"[{{source: {tmp_path / 'dark'}, weight: 3}}, {{source: {tmp_path / 'light'}}}]"
    more = [f"data.train={sources}", "training.batch=800", NONE]
    clean = BatchMaker(config("denoise", pictures, *more)).batch(0).clean
    assert clean.mean().item() == pytest.approx(0.25, abs=0.06)


def test_boxes_have_the_sides_asked_for(pictures: Path) -> None:
    def masks(kind: str) -> Tensor:
        more = [f"degradation.holes={{{kind}: 1}}", "training.batch=300"]
        batch = BatchMaker(config("inpaint", pictures, *more)).batch(0)
        assert batch.mask is not None
        return batch.mask

    centred = masks("center")
    areas = centred.sum((1, 2, 3))
    assert areas.unique().tolist() == [side**2 for side in range(2, 9)]
    even = centred[areas % 2 == 0]
    assert torch.equal(even, even.flip(2).flip(3))
    boxes = masks("box")
    assert boxes.sum((1, 2, 3)).unique().tolist() == [side**2 for side in range(2, 9)]
    covered = boxes.any(0)[0]
    assert all(edge.any() for edge in (covered[0], covered[-1], covered[:, 0], covered[:, -1]))


def test_strokes_differ_and_leave_something_known(pictures: Path) -> None:
    more = ["degradation.holes={irregular: 1}", "training.batch=200"]
    mask = BatchMaker(config("inpaint", pictures, *more)).batch(0).mask
    assert mask is not None
    share = mask.float().mean((1, 2, 3))
    assert 0 < share.min() < share.max() < 1
    assert 0.2 < share.mean() < 0.6
    assert len(mask.flatten(1).unique(dim=0)) > 190


def test_draws_are_uniform_and_hold_their_ends() -> None:
    draws = RandomColumns(generator(7), 20000, slice(0, 20000))
    numbers = draws.integer(2, 5)
    assert numbers.unique().tolist() == [2, 3, 4, 5]
    assert numbers.bincount()[2:].float().div(5000).sub(1).abs().max() < 0.05
    chosen = draws.choice([1, 0, 3]).bincount().float() / 20000
    assert chosen.tolist() == pytest.approx([0.25, 0, 0.75], abs=0.02)
    orders = draws.permutation(3)
    assert torch.equal(orders.sort(1).values, torch.arange(3).expand(20000, 3))
    low = torch.arange(20000)
    assert (draws.integer(low, low + 1) - low).unique().tolist() == [0, 1]


def test_jpeg_qualities_follow_their_distribution(pictures: Path) -> None:
    draws = RandomColumns(generator(7), 20000, slice(0, 20000))
    shipped = load_config("jpeg.yaml").degradation
    log = _qualities(shipped, draws)
    assert (log.min(), log.max()) == (5, 95)
    assert (log < 22).float().mean().item() == pytest.approx(0.5, abs=0.03)
    even = _qualities(shipped.model_copy(update={"quality_distribution": "uniform"}), draws)
    assert even.float().mean().item() == pytest.approx(50, abs=1)
    assert (even.min(), even.max()) == (5, 95)
