"""Small pictures in memory: IDX files, folders, sizes, channels and splits."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from irae.data.download import download_idx
from irae.data.idx import IDX_SETS, open_idx, read_idx
from irae.data.small import open_small
from irae.errors import DataError


def write_idx(path: Path, pictures: np.ndarray) -> None:  # type: ignore[type-arg]
    header = b"\0\0\x08\x03" + b"".join(int(n).to_bytes(4, "big") for n in pictures.shape)
    content = header + pictures.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    write_idx(folder / "train-images-idx3-ubyte.gz", random.integers(0, 256, (36, 6, 6)))
    write_idx(folder / "t10k-images-idx3-ubyte", random.integers(0, 256, (5, 6, 6)))
    return folder


def test_parts_of_idx_files_by_name_and_where_they_lie(idx: Path, tmp_path: Path) -> None:
    parts = {split: open_idx("mnist", tmp_path, split) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [33, 3, 5]
    whole = read_idx(idx / "train-images-idx3-ubyte.gz")
    assert torch.equal(torch.cat([parts["train"], parts["val"]]), whole)
    found = open_small(idx, size=6, channels=1, root=tmp_path)
    assert torch.equal(found, parts["train"])
    assert torch.equal(
        open_small("MNIST/raw", size=6, channels=3, root=tmp_path),
        parts["train"].expand(-1, 3, -1, -1),
    )


def test_idx_pictures_are_padded_evenly_or_refused(idx: Path, tmp_path: Path) -> None:
    larger = open_small(idx, size=8, channels=1, root=tmp_path)
    assert torch.equal(larger[..., 1:-1, 1:-1], open_idx(idx, tmp_path))
    assert float(larger[..., 0, :].max()) == 0
    for size in (7, 4):
        with pytest.raises(DataError, match=r"model\.options\.size to 6"):
            open_small(idx, size=size, channels=1, root=tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content + b"x",
        lambda content: b"\0\0\x08\x01" + content[4:],
        lambda content: content[:10],
        lambda content: b"",
        lambda content: content[:4] + b"\xff" * 12 + content[16:],
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_damaged_idx_files(damage: object, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / "good"
    write_idx(path, np.zeros((2, 3, 3)))
    content = damage(path.read_bytes())  # type: ignore[operator]
    bad = tmp_path / f"train-images-idx3-ubyte{suffix}"
    bad.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(DataError, match="not a whole IDX file"):
        read_idx(bad)
    if suffix:
        bad.write_bytes(gzip.compress(content)[:-4])
        with pytest.raises(DataError, match="not a whole IDX file"):
            read_idx(bad)


def test_a_missing_set_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="irae data download mnist"):
        open_idx("mnist", tmp_path)
    source = IDX_SETS["fashion"]
    monkeypatch.setattr("irae.data.idx.IDX_SETS", {"fashion": source})
    if not (source.installed or Path()).is_dir():
        with pytest.raises(DataError, match="apt-get install dataset-fashion-mnist"):
            open_idx("fashion", tmp_path)


def test_downloads_lie_where_they_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    def fetch(root: Path, download: bool) -> None:
        assert download
        folder = root / "FashionMNIST" / "raw"
        folder.mkdir(parents=True)
        for part, count in (("train", 24), ("t10k", 3)):
            write_idx(folder / f"{part}-images-idx3-ubyte", np.zeros((count, 4, 4)))

    monkeypatch.setattr(datasets, "FashionMNIST", fetch)
    assert download_idx("fashion", root=tmp_path) == 27
    assert len(open_idx("fashion", tmp_path, "test")) == 3

    def fail(root: Path, download: bool) -> None:
        raise RuntimeError("Error downloading train-images\nmore")

    monkeypatch.setattr(datasets, "MNIST", fail)
    with pytest.raises(DataError, match="could not fetch MNIST: Error downloading") as caught:
        download_idx("mnist", root=tmp_path)
    assert "\n" not in str(caught.value)


def test_fashion_of_the_operating_system(tmp_path: Path) -> None:
    folder = IDX_SETS["fashion"].installed
    assert folder is not None
    if not folder.is_dir():
        pytest.skip("apt-get install dataset-fashion-mnist")
    assert open_idx("fashion", tmp_path, "test").shape == (10_000, 1, 28, 28)
    assert len(open_idx("fashion", tmp_path, "val")) == 5000


def test_folders_are_scaled_and_split_the_same_every_time(tmp_path: Path) -> None:
    for number in range(20):
        Image.new("RGB", (20 + number, 30), (number * 10, 0, 0)).save(tmp_path / f"{number}.png")
    parts = [
        open_small(tmp_path, size=8, channels=3, root=tmp_path, split=split)
        for split in ("train", "val", "train")
    ]
    assert [part.shape for part in parts[:2]] == [(16, 3, 8, 8), (4, 3, 8, 8)]
    assert torch.equal(parts[0], parts[2])
    reds = {int(p[0, 0, 0]) for p in torch.cat(parts[:2])}
    assert reds == {number * 10 for number in range(20)}
    # A folder that is named for testing is tested on as a whole.
    assert len(open_small(tmp_path, size=8, channels=3, root=tmp_path, split="test")) == 20
    gray = open_small(tmp_path, size=8, channels=1, root=tmp_path, split="val")
    assert torch.equal(gray[:, 0, 0, 0], (parts[1][:, 0, 0, 0] * 0.299).round().to(torch.uint8))


def test_one_picture_is_too_few(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="one more is needed"):
        open_small(tmp_path, size=8, channels=1, root=tmp_path)


def test_celeba_at_another_size(shared: Path) -> None:
    root = shared / "data"
    if not (root / "celeba").is_dir():
        pytest.skip("no CelebA beside the project")
    faces = open_small("celeba", size=32, channels=3, root=root, split="val")
    assert faces.shape[1:] == (3, 32, 32) and len(faces) > 10
