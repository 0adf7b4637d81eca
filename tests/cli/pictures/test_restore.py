"""``irae restore``: names of outputs, masks, JSON, and that nothing is lost."""

from __future__ import annotations

import itertools
import json
import signal
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import maximum_filter

from irae.restoring.restorer import Restorer

Run = Callable[..., CompletedProcess[str]]


def _draw(path: Path, size: tuple[int, int] = (23, 17), mode: str = "RGB", seed: int = 0) -> Path:
    channels = {"L": 1, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], channels), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values if channels > 1 else values[:, :, 0], mode).save(path)
    return path


def _draw_mask(path: Path, size: tuple[int, int] = (23, 17)) -> Path:
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[4:10, 6:15] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(path)
    return path


def _pixels(path: Path) -> np.ndarray[Any, Any]:
    with Image.open(path) as image:
        return np.array(image)


@pytest.fixture
def denoise(model_files: dict[str, Path]) -> list[object]:
    return ["restore", "--device", "cpu", "--model", model_files["denoise"]]


@pytest.fixture
def inpaint(model_files: dict[str, Path]) -> list[object]:
    return ["restore", "--device", "cpu", "--model", model_files["inpaint"]]


def test_the_result_lies_beside_the_input(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    source = _draw(tmp_path / "noisy.png")
    before = source.read_bytes()
    result = irae(*denoise, source)
    assert result.returncode == 0, result.stderr
    target = tmp_path / "noisy.restored.png"
    assert result.stdout == f"{target}\n"
    assert result.stderr == ""
    assert source.read_bytes() == before
    assert _pixels(target).shape == (17, 23, 3)
    assert not np.array_equal(_pixels(target), _pixels(source))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noisy.png", target.name]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_the_mode_stays(irae: Run, tmp_path: Path, denoise: list[object], mode: str) -> None:
    source = _draw(tmp_path / "x.tif", mode=mode)
    assert irae(*denoise, source, "-o", tmp_path / "y.tif").returncode == 0
    with Image.open(tmp_path / "y.tif") as image:
        assert image.mode == mode
    if mode == "RGBA":
        assert np.array_equal(_pixels(tmp_path / "y.tif")[..., 3], _pixels(source)[..., 3])


def test_sixteen_bits_stay(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (9, 8)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "x.png")
    assert irae(*denoise, tmp_path / "x.png").returncode == 0
    restored = _pixels(tmp_path / "x.restored.png")
    assert restored.max() > 255
    assert len(np.unique(restored % 257)) > 10


def test_a_folder_is_done_once(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    _draw(tmp_path / "a.png")
    _draw(tmp_path / "b" / "c.png")
    assert irae(*denoise, tmp_path).returncode == 0
    assert (tmp_path / "a.restored.png").is_file()
    assert not (tmp_path / "b" / "c.restored.png").exists()
    assert irae(*denoise, tmp_path, "--recursive", "--overwrite").returncode == 0
    names = sorted(path.name for path in tmp_path.rglob("*.png"))
    assert names == ["a.png", "a.restored.png", "c.png", "c.restored.png"]


def test_a_recursive_folder_keeps_its_subfolders(
    irae: Run, tmp_path: Path, denoise: list[object]
) -> None:
    _draw(tmp_path / "in/a/x.png")
    _draw(tmp_path / "in/b/x.png", seed=1)
    out = tmp_path / "in" / "out"
    for _ in range(2):
        result = irae(*denoise, tmp_path / "in", "-o", out, "--recursive", "--overwrite")
        assert result.returncode == 0, result.stderr
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.png")) == ["a/x.png", "b/x.png"]


def test_nothing_is_overwritten_unasked(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    source = _draw(tmp_path / "x.png")
    target = _draw(tmp_path / "x.restored.png", seed=1)
    before = target.read_bytes()
    result = irae(*denoise, source)
    assert result.returncode == 3
    assert str(target) in result.stderr
    assert target.read_bytes() == before
    assert irae(*denoise, source, "--overwrite").returncode == 0
    assert target.read_bytes() != before


def test_an_input_is_overwritten_only_when_named(
    irae: Run, tmp_path: Path, denoise: list[object]
) -> None:
    source = _draw(tmp_path / "x.png")
    before = source.read_bytes()
    assert irae(*denoise, source, "-o", source).returncode == 3
    assert irae(*denoise, source, "-o", tmp_path, "--overwrite").returncode == 3
    assert source.read_bytes() == before
    assert irae(*denoise, source, "-o", source, "--overwrite").returncode == 0
    assert source.read_bytes() != before


def test_json_has_a_line_for_every_input_and_a_summary(
    irae: Run, tmp_path: Path, denoise: list[object]
) -> None:
    good = _draw(tmp_path / "good.png")
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    missing = tmp_path / "missing.png"
    result = irae(*denoise, good, bad, missing, "--json")
    assert result.returncode == 3
    *lines, last = [json.loads(line) for line in result.stdout.splitlines()]
    rows = {row["input"]: row for row in lines}
    assert set(rows) == {str(good), str(bad), str(missing)}
    row = rows[str(good)]
    assert row["output"] == str(tmp_path / "good.restored.png")
    assert (row["task"], row["width"], row["height"]) == ("denoise", 23, 17)
    assert row["seconds"] >= 0
    assert row["model"] and row["status"] == "done"
    assert "error" not in row
    assert rows[str(bad)]["output"] is None and rows[str(bad)]["status"] == "failed"
    assert str(bad) in rows[str(bad)]["error"]
    summary = last["summary"]
    assert (summary["done"], summary["skipped"], summary["failed"]) == (1, 0, 2)
    assert summary["pixels"] == 23 * 17 and summary["pixels_per_second"] > 0
    assert sorted(summary["failures"]) == sorted([str(bad), str(missing)])


def test_a_table_at_the_end_lists_what_failed(
    irae: Run, tmp_path: Path, denoise: list[object]
) -> None:
    for name in ("a.png", "b.png"):
        _draw(tmp_path / "in" / name)
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    arguments = [*denoise, tmp_path / "in", "-o", tmp_path / "out"]
    first = irae(*arguments)
    assert first.returncode == 3
    error, *table = first.stderr.splitlines()
    assert error.startswith(f"irae: error: {tmp_path / 'in' / 'bad.png'}: ")
    assert [line.split() for line in table[:3]] == [
        ["done", "2"],
        ["done", "earlier", "0"],
        ["failed", "1"],
    ]
    assert "pixels per second" in table[3]
    assert table[4:] == [f"  failed: {tmp_path / 'in' / 'bad.png'}"]
    (tmp_path / "in" / "bad.png").unlink()
    again = irae(*arguments)
    assert again.returncode == 0
    assert again.stdout == ""
    assert [line.split()[-1] for line in again.stderr.splitlines()[:3]] == ["0", "2", "0"]


def test_shards_share_a_folder(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    names = {f"{number}.png" for number in range(8)}
    for number, name in enumerate(sorted(names)):
        _draw(tmp_path / "in" / name, seed=number)
    done = []
    for shard in ("1/2", "2/2"):
        result = irae(*denoise, tmp_path / "in", "-o", tmp_path / "out", "--shard", shard)
        assert result.returncode == 0, result.stderr
        done.append({Path(line).name for line in result.stdout.splitlines()})
    assert done[0] and done[1] and not done[0] & done[1] and done[0] | done[1] == names
    manifests = sorted(path.name for path in (tmp_path / "out").glob("irae-manifest*"))
    assert manifests == ["irae-manifest.1-of-2.jsonl", "irae-manifest.2-of-2.jsonl"]
    whole = irae(*denoise, tmp_path / "in", "-o", tmp_path / "out")
    assert whole.returncode == 0 and whole.stdout == ""


def test_known_pixels_are_kept_exactly(irae: Run, tmp_path: Path, inpaint: list[object]) -> None:
    source = _draw(tmp_path / "x.png", mode="RGBA")
    mask = _draw_mask(tmp_path / "mask.png")
    result = irae(*inpaint, source, "--mask", mask)
    assert result.returncode == 0, result.stderr
    hole = _pixels(mask) > 127
    before, after = _pixels(source), _pixels(tmp_path / "x.restored.png")
    assert np.array_equal(before[~hole], after[~hole])
    assert np.array_equal(before[..., 3], after[..., 3])
    assert not np.array_equal(before[hole], after[hole])


def test_a_mask_can_grow(irae: Run, tmp_path: Path, inpaint: list[object]) -> None:
    source = _draw(tmp_path / "x.png")
    mask = _draw_mask(tmp_path / "mask.png")
    result = irae(*inpaint, source, "--mask", mask, "--grow-mask", 3)
    assert result.returncode == 0, result.stderr
    hole = maximum_filter(_pixels(mask) > 127, 7)
    before, after = _pixels(source), _pixels(tmp_path / "x.restored.png")
    assert np.array_equal(before[~hole], after[~hole])
    assert "soft" not in result.stderr
    rim = hole & (_pixels(mask) <= 127)
    assert (before[rim] != after[rim]).any(-1).mean() > 0.5


def test_a_mask_with_soft_edges_is_pointed_out(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    source = _draw(tmp_path / "x.png")
    mask = _draw_mask(tmp_path / "mask.png")
    with Image.open(mask) as hard:
        hard.convert("L").filter(ImageFilter.GaussianBlur(1)).save(tmp_path / "soft.png")
    result = irae(*inpaint, source, "--mask", tmp_path / "soft.png")
    assert result.returncode == 0
    assert "soft edges" in result.stderr
    assert "--grow-mask" in result.stderr
    result = irae(*inpaint, source, "--mask", mask, "--overwrite")
    assert "soft" not in result.stderr


def test_known_pixels_of_a_palette_picture_are_kept(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    source = tmp_path / "x.png"
    values = np.random.default_rng(0).integers(0, 256, (17, 23), np.uint8)
    image = Image.fromarray(values, "P")
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768, np.uint8).tobytes())
    image.save(source)
    mask = _draw_mask(tmp_path / "mask.png")
    result = irae(*inpaint, source, "--mask", mask)
    assert result.returncode == 0, result.stderr
    with Image.open(source) as before, Image.open(tmp_path / "x.restored.png") as after:
        known = _pixels(mask) < 128
        assert np.array_equal(
            np.array(before.convert("RGB"))[known], np.array(after.convert("RGB"))[known]
        )


def test_a_lossy_input_is_inpainted_into_a_png(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    source = _draw(tmp_path / "x.jpg")
    mask = _draw_mask(tmp_path / "mask.png")
    result = irae(*inpaint, source, "--mask", mask)
    assert result.returncode == 0, result.stderr
    assert "irae: note:" in result.stderr
    hole = _pixels(mask) > 127
    assert np.array_equal(_pixels(source)[~hole], _pixels(tmp_path / "x.restored.png")[~hole])
    lossy = irae(*inpaint, source, "--mask", mask, "-o", tmp_path / "y.jpg")
    assert lossy.returncode == 0
    assert "lossy" in lossy.stderr


def test_a_cmyk_jpeg_is_inpainted_somewhere_exact(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    source = _draw(tmp_path / "x.jpg", mode="CMYK")
    mask = _draw_mask(tmp_path / "mask.png")
    result = irae(*inpaint, source, "--mask", mask, "-o", tmp_path / "y.tif")
    assert result.returncode == 0, result.stderr
    known = _pixels(mask) < 128
    assert np.array_equal(_pixels(source)[known], _pixels(tmp_path / "y.tif")[known])


def test_masks_of_a_folder_go_by_name(irae: Run, tmp_path: Path, inpaint: list[object]) -> None:
    _draw(tmp_path / "in/x.png")
    _draw(tmp_path / "in/y.png", seed=1)
    _draw(tmp_path / "in/z.png", seed=2)
    _draw_mask(tmp_path / "masks/x.png")
    _draw_mask(tmp_path / "masks/y.mask.png")
    result = irae(*inpaint, tmp_path / "in", "-o", tmp_path / "out", "--mask", tmp_path / "masks")
    assert result.returncode == 3
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == ["x.png", "y.png"]
    assert str(tmp_path / "in/z.png") in result.stderr


def test_the_mask_lies_over_the_picture_as_it_is_looked_at(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    values = np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    source = tmp_path / "x.png"
    Image.fromarray(values).save(source, exif=exif)
    # Upright, the picture is 12 wide and 20 high.
    mask = np.zeros((20, 12), np.uint8)
    mask[:5, :4] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    result = irae(*inpaint, source, "--mask", tmp_path / "mask.png")
    assert result.returncode == 0, result.stderr
    # Orientation 6 is turned clockwise to be upright: its top left is the stored bottom left.
    changed = (_pixels(tmp_path / "x.restored.png") != values).any(2)
    assert changed[8:, :5].any()
    changed[8:, :5] = False
    assert not changed.any()


def test_an_ensemble_is_another_result(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    source = _draw(tmp_path / "x.png", (40, 30))
    out = tmp_path / "out"
    assert irae(*denoise, source, "-o", out).returncode == 0
    plain = _pixels(out / "x.png")
    assert irae(*denoise, source, "-o", out, "--ensemble").returncode == 3
    assert irae(*denoise, source, "-o", out, "--ensemble", "--overwrite").returncode == 0
    assert not np.array_equal(_pixels(out / "x.png"), plain)


def test_tiles_change_nothing_but_seams(irae: Run, tmp_path: Path, denoise: list[object]) -> None:
    source = _draw(tmp_path / "x.png", (150, 90))
    assert irae(*denoise, source, "-o", tmp_path / "a.png", "--tile", 0).returncode == 0
    assert irae(*denoise, source, "-o", tmp_path / "b.png", "--tile", 100).returncode == 0
    difference = _pixels(tmp_path / "a.png").astype(int) - _pixels(tmp_path / "b.png")
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "inpaint"], "--task"),
        (["--mask", "MASK"], "--mask is for inpainting"),
        (["--tile", "1"], "tile 1 is too small"),
        (["--device", "abacus"], "abacus"),
        (["--mask", "none.png"], "none.png"),
        (["--grow-mask", "2"], "--mask"),
        (["--shard", "0/2"], "--shard '0/2'"),
        (["--shard", "2"], "--shard '2'"),
        (["--address", "auto"], "--engine ray"),
        (["--engine", "ray"], "-o"),
        (["-o", "memory://out/x.png"], "folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    irae: Run, tmp_path: Path, denoise: list[object], options: list[str], words: str
) -> None:
    source = _draw(tmp_path / "x.png")
    mask = str(_draw_mask(tmp_path / "mask.png"))
    result = irae(*denoise, source, *(mask if option == "MASK" else option for option in options))
    assert result.returncode == 2
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "x.restored.png").exists()


def test_an_inpainting_model_asks_for_the_mask(
    irae: Run, tmp_path: Path, inpaint: list[object]
) -> None:
    result = irae(*inpaint, _draw(tmp_path / "x.png"))
    assert result.returncode == 2
    assert "--mask" in result.stderr


@pytest.mark.parametrize("folder", [True, False])
def test_ctrl_c_says_how_many_are_done_and_the_same_command_goes_on(
    irae: Run,
    tmp_path: Path,
    denoise: list[object],
    monkeypatch: pytest.MonkeyPatch,
    folder: bool,
) -> None:
    for number in range(5):
        # Of different sizes, so that each is restored by a call of its own.
        _draw(tmp_path / f"in/{number}.png", (20 + number, 15))
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    restore, calls = Restorer.restore_pictures, itertools.count()

    def interrupted(self: Restorer, *arguments: Any) -> Any:
        if next(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return restore(self, *arguments)

    where = ["-o", tmp_path / "out"] if folder else []
    with monkeypatch.context() as patch:
        patch.setattr(Restorer, "restore_pictures", interrupted)
        stopped = irae(*denoise, tmp_path / "in", *where)
    assert stopped.returncode == 130
    done = len(stopped.stdout.splitlines())
    assert 1 <= done <= 3
    line = f"irae: note: interrupted; {done} of 6 inputs are done"
    rest = ", and the same command goes on with the rest" if folder else ""
    assert stopped.stderr.splitlines()[-1] == line + rest
    if folder:
        again = irae(*denoise, tmp_path / "in", *where, "--json")
        rows = [json.loads(row) for row in again.stdout.splitlines()[:-1]]
        statuses = [row["status"] for row in rows]
        assert (statuses.count("failed"), len(statuses)) == (1, 6)
        assert statuses.count("skipped") >= done
        assert len(list((tmp_path / "out").glob("*.png"))) == 5
