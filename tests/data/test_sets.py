from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy.io import savemat

from irae.data import open_data
from irae.data.check import open_all
from irae.data.registry import REGISTRY, crop_before_scaling
from irae.errors import DataError

SPLITS = ("train", "val", "test")

# The pictures of each split of the layouts in conftest.py, by the digits in their names.
EXPECTED = {
    ("celeba", "standard"): ([1, 2, 4, 7], [3], [5, 6]),
    ("celeba", "authors"): ([1, 2, 4, 7], [3], [5, 6]),
    ("flowers", "standard"): ([7, 2], [5], [1, 3, 4, 6, 8]),
    ("flowers", "authors"): ([1, 3, 4, 6, 8], [7, 2, 5], [7, 2, 5]),
    ("birds", "standard"): (
        [1, 2, 3, 4, 5, 7, 8, 9, 10, 13, 14, 15, 16, 17, 19, 20, 21, 22],
        [11, 23],
        [6, 12, 18, 24],
    ),
    ("birds", "authors"): (
        [number for number in range(1, 25) if number % 6],
        [6, 12, 18, 24],
        [6, 12, 18, 24],
    ),
}


def numbers(paths: list[Path]) -> list[int]:
    return [int(path.stem.split("_")[-1]) for path in paths]


def test_every_set_is_covered() -> None:
    assert {name for name, _ in EXPECTED} == set(REGISTRY)


@pytest.mark.parametrize(("name", "protocol"), EXPECTED)
def test_splits(layouts: Path, name: str, protocol: str) -> None:
    for split, expected in zip(SPLITS, EXPECTED[name, protocol], strict=True):
        pictures = open_data(name, root=layouts, split=split, protocol=protocol)  # type: ignore[arg-type]
        assert numbers(pictures.paths) == expected
        assert pictures.name == name


@pytest.mark.parametrize("name", REGISTRY)
def test_working_size(layouts: Path, name: str) -> None:
    loaded = open_data(name, root=layouts, split="test").load(0)
    assert loaded.shape == (3, 64, 64)
    assert loaded.dtype == torch.uint8


@pytest.mark.parametrize("name", REGISTRY)
def test_standard_splits_are_disjoint(layouts: Path, name: str) -> None:
    paths = [path for split in SPLITS for path in open_data(name, root=layouts, split=split).paths]
    assert len(paths) == len(set(paths))


def test_root_from_the_environment(layouts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRAE_DATA", str(layouts))
    assert len(open_data("celeba")) == 4
    monkeypatch.delenv("IRAE_DATA")
    (layouts.parent / "cwd").mkdir()
    (layouts.parent / "cwd/data").symlink_to(layouts)
    monkeypatch.chdir(layouts.parent / "cwd")
    assert len(open_data("celeba")) == 4


@pytest.mark.parametrize("name", REGISTRY)
def test_missing_set(tmp_path: Path, name: str) -> None:
    source = REGISTRY[name]
    with pytest.raises(DataError) as caught:
        open_data(name, root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / source.folder) in message
    assert f"irae data download {name}" in message
    assert source.address in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("celeba", "celeba/list_eval_partition.txt"),
        ("celeba", "celeba/img_align_celeba"),
        ("flowers", "flowers-102/setid.mat"),
        ("flowers", "flowers-102/jpg"),
        ("birds", "CUB_200_2011/images.txt"),
        ("birds", "CUB_200_2011/train_test_split.txt"),
        ("birds", "CUB_200_2011/images"),
    ],
)
def test_missing_part(layouts: Path, name: str, part: str) -> None:
    (layouts / part).rename(layouts / "elsewhere")
    with pytest.raises(DataError, match="is missing; get it with") as caught:
        open_data(name, root=layouts)
    assert str(layouts / part) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "gone", "message"),
    [
        ("celeba", ["celeba/img_align_celeba/000002.jpg"], "1 of the 4 .*000002.jpg"),
        (
            "flowers",
            ["flowers-102/jpg/image_00002.jpg", "flowers-102/jpg/image_00007.jpg"],
            "2 of the 2 .*setid.mat.*first is image_00007.jpg",
        ),
        (
            "birds",
            ["CUB_200_2011/images/001.Class"],
            "7 of the 18 .*first is 001.Class/Bird_0001.jpg",
        ),
    ],
)
def test_half_unpacked_set(layouts: Path, name: str, gone: list[str], message: str) -> None:
    for number, part in enumerate(gone):
        (layouts / part).rename(layouts / f"elsewhere{number}")
    with pytest.raises(DataError, match=message):
        open_data(name, root=layouts)


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("celeba", "celeba/list_eval_partition.txt", "000001.jpg\n", "line 1: expected two words"),
        ("celeba", "celeba/list_eval_partition.txt", "000001.jpg 3\n", "is in split '3'"),
        ("celeba", "celeba/list_eval_partition.txt", "000001.jpg 2\n", "no picture of split 'tr"),
        ("celeba", "celeba/list_eval_partition.txt", "", "no picture of split"),
        ("birds", "CUB_200_2011/train_test_split.txt", "99 1\n", "lists picture 99"),
        ("birds", "CUB_200_2011/train_test_split.txt", "1 yes\n", "is in 'yes'"),
        ("birds", "CUB_200_2011/train_test_split.txt", "1 0\n", "no picture of split"),
        ("flowers", "flowers-102/setid.mat", "<html>not found</html>", "not a readable MATLAB"),
        ("flowers", "flowers-102/setid.mat", "", "not a readable MATLAB"),
    ],
)
def test_damaged_lists(layouts: Path, name: str, file: str, content: str, message: str) -> None:
    (layouts / file).write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        open_data(name, root=layouts)
    assert file.rsplit("/", 1)[-1] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_cut_setid(layouts: Path) -> None:
    path = layouts / "flowers-102/setid.mat"
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"setid\.mat"):
            open_data("flowers", root=layouts, split="test")


def test_setid_of_something_else(layouts: Path) -> None:
    savemat(layouts / "flowers-102/setid.mat", {"labels": [[1, 2]]})
    with pytest.raises(DataError, match="has no 'trnid'"):
        open_data("flowers", root=layouts)


def test_windows_line_ends(layouts: Path) -> None:
    path = layouts / "celeba/list_eval_partition.txt"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert len(open_data("celeba", root=layouts)) == 4


SHARED = {
    ("celeba", "standard"): (6000, 250, 250),
    ("flowers", "standard"): (1020, 1020, 6149),
    ("flowers", "authors"): (6149, 2040, 2040),
    ("birds", "standard"): (1710, 190, 550),
    ("birds", "authors"): (1900, 550, 550),
}


@pytest.mark.parametrize(("name", "protocol"), SHARED)
def test_sets_beside_the_project(shared_data: Path, name: str, protocol: str) -> None:
    for split, expected in zip(SPLITS, SHARED[name, protocol], strict=True):
        pictures = open_data(name, root=shared_data, split=split, protocol=protocol)  # type: ignore[arg-type]
        assert len(pictures) == expected
        assert pictures.load(expected - 1).shape == (3, 64, 64)


def test_folders_beside_the_project(shared_data: Path) -> None:
    assert len(open_data("photos/bsds500", root=shared_data)) == 400
    assert len(open_data(shared_data / "testsets/CBSD68")) == 68
    assert open_all(str(shared_data / "testsets/Classic5")).pictures == 5


PICTURES = {"celeba": "img_align_celeba", "flowers": "jpg", "birds": "images"}


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("nested", ["the set", "its pictures", "both"])
def test_folders_that_an_unpacker_made_twice(layouts: Path, name: str, nested: str) -> None:
    base = layouts / REGISTRY[name].folder
    expected = [open_data(name, root=layouts, split=split).paths for split in SPLITS]  # type: ignore[arg-type]
    if nested != "the set":
        inner = base / PICTURES[name]
        inner.rename(base / "moved")
        inner.mkdir()
        (base / "moved").rename(inner / PICTURES[name])
        (inner / "__MACOSX").mkdir()
    if nested != "its pictures":
        base.rename(layouts / "moved")
        base.mkdir()
        (layouts / "moved").rename(base / REGISTRY[name].folder)
    for given in (name, base):
        for split, paths in zip(SPLITS, expected, strict=True):
            found = open_data(given, root=layouts, split=split)  # type: ignore[arg-type]
            assert [path.name for path in found.paths] == [path.name for path in paths]
            assert all(path.is_file() for path in found.paths)


@pytest.mark.parametrize(
    ("name", "archive"),
    [
        ("celeba", "celeba/img_align_celeba.zip"),
        ("celeba", "celeba/img_align_celeba.7z.001"),
        ("flowers", "flowers-102/102flowers.tgz"),
        ("birds", "CUB_200_2011.tgz"),
    ],
)
def test_what_is_still_packed_is_named(layouts: Path, name: str, archive: str) -> None:
    folder = layouts / REGISTRY[name].folder
    if "/" in archive:
        folder /= PICTURES[name]
    folder.rename(layouts / "elsewhere")
    (layouts / archive).write_bytes(b"packed")
    with pytest.raises(DataError) as caught:
        open_data(name, root=layouts)
    assert str(caught.value).startswith(f"{layouts / archive} is still packed; unpack it there")
    assert f"{folder}/" in str(caught.value)


def test_celeba_with_the_partition_of_other_distributors(layouts: Path) -> None:
    official = layouts / "celeba/list_eval_partition.txt"
    expected = [open_data("celeba", root=layouts, split=split).paths for split in SPLITS]  # type: ignore[arg-type]
    rows = [",".join(line.split()) for line in official.read_text().splitlines()]
    csv = official.with_suffix(".csv")
    csv.write_text("\n".join(["image_id,partition", *rows]) + "\n")
    official.unlink()
    for given in ("celeba", layouts / "celeba"):
        found = [open_data(given, root=layouts, split=split).paths for split in SPLITS]  # type: ignore[arg-type]
        assert found == expected
    csv.write_text("image_id,partition\n000001.jpg\n")
    with pytest.raises(DataError, match=r"partition\.csv, line 2: expected two words, found 1"):
        open_data("celeba", root=layouts)


def test_faces_are_cropped_before_they_are_scaled(layouts: Path, tmp_path: Path) -> None:
    crop = crop_before_scaling("celeba")
    opened = open_data("celeba", root=layouts).working_size
    assert crop is not None and opened is not None and crop == opened.crop
    assert crop_before_scaling(str(layouts / "celeba")) == crop
    for name in ("flowers", "fashion", str(tmp_path)):
        assert crop_before_scaling(name) is None
