"""Training on what people have: any folders of pictures, some of which are kept apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.utils import save_image

from irae.config import RunConfig, load_config
from irae.errors import DataError, UsageError
from irae.training.batches.collection import Collection, open_collection, with_sources


def make_pictures(folder: Path, count: int, side: int = 40, suffix: str = ".png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        generator = torch.Generator().manual_seed(index)
        save_image(
            torch.rand(3, side, side + index, generator=generator), folder / f"{index}{suffix}"
        )
    return folder


def config(*more: str) -> RunConfig:
    return load_config("denoise.yaml", ["data.patch=32", *more])


def opened(folder: Path, *more: str) -> Collection:
    return open_collection(with_sources(config(*more), [str(folder)]).data)


def names(collection: Collection) -> tuple[set[Path], set[Path]]:
    trained = {path for pictures in collection.train for path in pictures.paths}
    return trained, {pictures.paths[number] for pictures, number in collection.validation}


@pytest.mark.parametrize(
    ("count", "kept"), [(4, 1), (8, 2), (15, 3), (16, 4), (80, 4), (100, 5), (700, 32)]
)
def test_a_share_is_kept_apart(count: int, kept: int, tmp_path: Path) -> None:
    one = make_pictures(tmp_path / "one", 1)
    (tmp_path / "many").mkdir()
    for index in range(count):
        (tmp_path / "many" / f"{index}.png").symlink_to(make_copy(one, tmp_path / "copies", index))
    trained, validated = names(opened(tmp_path / "many"))
    assert (len(trained), len(validated)) == (count - kept, kept)
    assert not trained & validated


def make_copy(one: Path, folder: Path, index: int) -> Path:
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(one / "0.png", folder / f"{index}.png"))


def test_what_is_kept_apart_depends_on_paths_below_the_folder_alone(tmp_path: Path) -> None:
    first = make_pictures(tmp_path / "a" / "nested" / "deep", 9).parents[1]
    shutil.copytree(first, tmp_path / "elsewhere" / "b")
    _, one = names(opened(first))
    _, other = names(opened(tmp_path / "elsewhere" / "b"))
    assert {p.relative_to(first) for p in one} == {
        p.relative_to(tmp_path / "elsewhere" / "b") for p in other
    }


@given(count=st.integers(4, 40))
@settings(max_examples=10, deadline=None)
def test_never_more_than_a_quarter(count: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = make_pictures(tmp_path_factory.mktemp("pictures"), count, side=33)
    trained, validated = names(opened(folder))
    assert 1 <= len(validated) <= count / 4
    assert len(trained) + len(validated) == count


def test_mixed_formats_and_sizes_and_what_is_left_out(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "mixed", 4)
    make_pictures(folder / "jpegs", 3, side=70, suffix=".jpg")
    make_pictures(folder / "small", 1, side=16)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("nothing")
    found = opened(folder)
    assert {path.name: reason for path, reason in found.left_out} == {
        "broken.png": "cannot be read",
        "0.png": "too small for patches of 32 pixels",
    }
    line = found.describe()
    assert "6 pictures of 0.0 megapixels" in line
    assert "1 other to validate on" in line
    assert "broken.png" in line and "too small" in line


def test_folders_inside_each_other_count_once(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "a", 6)
    inner = make_pictures(folder / "inner", 6)
    chosen = with_sources(config(), [str(folder), str(inner)])
    trained, validated = names(open_collection(chosen.data))
    assert len(trained) + len(validated) == 12
    assert not trained & validated


def test_no_source_is_emptied(tmp_path: Path) -> None:
    folders = [make_pictures(tmp_path / str(n), 1 if n else 12) for n in range(4)]
    chosen = with_sources(config(), [str(folder) for folder in folders])
    found = open_collection(chosen.data)
    assert len(found.train) == len(found.weights) == 4
    assert all(found.weights)


def test_a_validation_folder_of_ones_own(tmp_path: Path) -> None:
    folder, held = make_pictures(tmp_path / "a", 3), make_pictures(tmp_path / "b", 2)
    chosen = with_sources(config(), [str(folder)], str(held))
    trained, validated = names(open_collection(chosen.data))
    assert (len(trained), len(validated)) == (3, 2)


def test_without_data_pictures_lie_below_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IRAE_DATA", raising=False)
    with pytest.raises(UsageError, match=r"`data` DIR.*irae data download flowers.*IRAE_DATA"):
        with_sources(config())
    make_pictures(tmp_path / "data" / "mine", 5)
    chosen = with_sources(config())
    assert [source.source for source in chosen.data.train] == [str(tmp_path / "data")]
    trained, validated = names(open_collection(chosen.data))
    assert len(trained) + len(validated) == 5
    monkeypatch.setenv("IRAE_DATA", str(tmp_path / "data" / "mine"))
    assert with_sources(config()).data.train[0].source == str(tmp_path / "data" / "mine")


def test_test_sets_and_masks_below_the_root_are_not_trained_on(tmp_path: Path) -> None:
    make_pictures(tmp_path / "mine", 5)
    tests = make_pictures(tmp_path / "testsets" / "CBSD68", 4)
    strokes = make_pictures(tmp_path.parent / f"{tmp_path.name}-elsewhere", 4)
    (tmp_path / "masks").symlink_to(strokes)
    make_pictures(tmp_path / "mine" / "masks", 1, suffix=".bmp")  # Only those of the root.
    root = f"data.root={tmp_path}"
    for named in ([], [str(tmp_path)], [f"{tmp_path}/mine/.."]):
        found = open_collection(with_sources(config(root), named).data)
        trained, validated = names(found)
        assert {path.parent.name for path in trained | validated} == {"mine", "masks"}
        assert len(trained) + len(validated) == 6
        line = found.describe()
        assert f"left out, for measuring only: {tmp_path / 'testsets'} and 1 more" in line
    chosen = with_sources(config(root), ["testsets/CBSD68"])
    trained, validated = names(open_collection(chosen.data))
    assert {path.parent for path in trained | validated} == {tests}


def test_a_root_with_test_sets_alone_has_nothing_to_train_on(tmp_path: Path) -> None:
    make_pictures(tmp_path / "testsets" / "CBSD68", 4)
    with pytest.raises(UsageError, match="no pictures to train on"):
        with_sources(config(f"data.root={tmp_path}"))
    with pytest.raises(DataError, match="those for measuring, below testsets and masks"):
        with_sources(config(f"data.root={tmp_path}"), [str(tmp_path)])


def birds(root: Path, count: int = 24) -> Path:
    """A data set known by name, in its official layout: every other picture is for testing."""
    folder = root / "CUB_200_2011"
    make_pictures(folder / "images" / "wren", count, side=80)
    lines = [(n + 1, f"wren/{n}.png", int(n % 2 == 0)) for n in range(count)]
    (folder / "images.txt").write_text("".join(f"{n} {name}\n" for n, name, _ in lines))
    (folder / "train_test_split.txt").write_text("".join(f"{n} {t}\n" for n, _, t in lines))
    return folder


@pytest.mark.parametrize("named", ["the root", "the layout", "a folder of it", "by name"])
def test_a_known_data_set_is_never_opened_by_its_test_part(named: str, tmp_path: Path) -> None:
    folder = birds(tmp_path)
    make_pictures(tmp_path / "mine", 8)
    given = {
        "the root": str(tmp_path),
        "the layout": str(folder),
        "a folder of it": str(folder / "images"),
        "by name": "birds",
    }[named]
    chosen = with_sources(config(f"data.root={tmp_path}"), [given])
    trained, validated = names(open_collection(chosen.data))
    of_birds = {path for path in trained | validated if folder in path.parents}
    assert of_birds
    assert all(int(path.stem) % 2 == 0 for path in of_birds)
    assert not trained & validated
    mine = {path for path in trained | validated if folder not in path.parents}
    assert len(mine) == (8 if named == "the root" else 0)


@pytest.mark.parametrize(
    ("count", "side", "error", "named"),
    [
        (0, 40, DataError, "no pictures.*give another folder"),
        (1, 40, UsageError, r"1 picture is too few.*`validation`"),
        (3, 40, UsageError, r"3 pictures are too few.*`validation`"),
        (5, 12, DataError, r"none of its 5 pictures.*too small"),
    ],
)
def test_folders_that_cannot_be_trained_on(
    count: int, side: int, error: type[Exception], named: str, tmp_path: Path
) -> None:
    folder = make_pictures(tmp_path / "some", count, side=side)
    with pytest.raises(error, match=named):
        opened(folder)


def test_a_name_that_is_neither_set_nor_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'nowhere' is neither a data set"):
        with_sources(config(f"data.root={tmp_path}"), ["nowhere"])


@pytest.mark.parametrize(
    ("data", "validation", "error", "named"),
    [
        ([""], None, UsageError, "`data` is empty"),
        (["some"], "", UsageError, "`validation` is empty"),
        (["some/0.png"], None, DataError, "some/0.png is a file; give its folder"),
    ],
)
def test_what_is_no_folder(
    data: list[str], validation: str | None, error: type[Exception], named: str, tmp_path: Path
) -> None:
    make_pictures(tmp_path / "some", 5)
    with pytest.raises(error, match=named):
        with_sources(config(f"data.root={tmp_path}"), data, validation)


def test_pictures_that_pillow_cannot_open_are_used(tmp_path: Path) -> None:
    folder = make_pictures(tmp_path / "mixed", 4)
    for index in range(4):
        colours = np.random.default_rng(index).random((40, 44, 3), dtype=np.float32)
        tifffile.imwrite(folder / f"float{index}.tif", colours, photometric="rgb")
    found = opened(folder)
    trained, validated = names(found)
    assert len(trained) + len(validated) == 8
    assert not found.left_out
    kept = sum(part.load(n)[0].numel() for part, n in found.validation)
    learned = sum(part.load(n)[0].numel() for part in found.train for n in range(len(part)))
    assert found.pixels == kept + learned


def test_a_known_set_whose_pictures_are_smaller_than_patches(tmp_path: Path) -> None:
    birds(tmp_path)
    chosen = with_sources(config("data.patch=128"), ["birds"])
    chosen.data.root = str(tmp_path)
    with pytest.raises(DataError, match="birds: its pictures of 64x64 are too small"):
        open_collection(chosen.data)
