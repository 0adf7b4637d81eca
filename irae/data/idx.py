"""MNIST and Fashion-MNIST, whose pictures lie in IDX files."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from irae.data.folder import Split
from irae.errors import DataError

HELD_OUT = 5000
"""Number of training pictures, the last ones of the file, that are the split ``val``."""

_FILES = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}
_MAGIC = b"\x00\x00\x08\x03"  # unsigned bytes in three dimensions
_MOST = 1 << 30  # bytes of pixels of one file


@dataclass(frozen=True)
class IdxSource:
    """A data set in IDX files.

    Attributes:
        title: full name of the set.
        torchvision_class: class in ``torchvision.datasets`` that downloads it; its files lie in
            ``ROOT/CLASS/raw``.
        remedy: how to get the files.
        address: address of the owner's page.
        terms: terms of use of the owner.
        installed: folder where a package of the operating system has the files, if any.
    """

    title: str
    torchvision_class: str
    remedy: str
    address: str
    terms: str
    installed: Path | None = None


IDX_SETS: dict[str, IdxSource] = {
    "fashion": IdxSource(
        "Fashion-MNIST",
        "FashionMNIST",
        "run 'irae data download fashion', or on Debian apt-get install dataset-fashion-mnist",
        "https://github.com/zalandoresearch/fashion-mnist",
        "MIT License",
        Path("/usr/share/datasets/fashion-mnist"),
    ),
    "mnist": IdxSource(
        "MNIST",
        "MNIST",
        "run 'irae data download mnist'",
        "https://yann.lecun.com/exdb/mnist/",
        "CC BY-SA 3.0",
    ),
}


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder holds IDX files of training pictures."""
    return _file(folder, "train") is not None


def open_idx(name_or_dir: str | Path, root: Path, split: Split = "train") -> Tensor:
    """Read a part of a set: uint8 ``N 1 H W``.

    The last `HELD_OUT` training pictures are the split ``val`` (a twelfth, if there are fewer than
    twice as many), the rest is ``train``.

    Args:
        name_or_dir: a name in `IDX_SETS`, or a folder of IDX files.
        root: root folder of the data.
        split: the part.

    Raises:
        DataError: the files are missing or damaged.
    """
    if str(name_or_dir) in IDX_SETS:
        source = IDX_SETS[str(name_or_dir)]
        places = [root / source.torchvision_class / "raw", source.installed]
        remedy = source.remedy
    else:
        places, remedy = [Path(name_or_dir)], "give a folder of IDX files"
    part = "test" if split == "test" else "train"
    for place in places:
        path = None if place is None else _file(place, part)
        if path is not None:
            break
    else:
        where = " or ".join(str(place) for place in places if place is not None)
        raise DataError(f"{name_or_dir}: no {_FILES[part]} in {where}; {remedy}")
    pictures = read_idx(path)
    if split == "test":
        return pictures
    kept = HELD_OUT if len(pictures) >= 2 * HELD_OUT else max(1, len(pictures) // 12)
    return pictures[-kept:] if split == "val" else pictures[:-kept]


def _file(folder: Path, part: str) -> Path | None:
    stem = _FILES[part]
    return next((p for p in (folder / stem, folder / f"{stem}.gz") if p.is_file()), None)


def read_idx(path: Path) -> Tensor:
    """Read an IDX file of 8-bit gray pictures, also compressed: uint8 ``N 1 H W``.

    Raises:
        DataError: the file cannot be read, or is not such a file.
    """
    damaged = DataError(f"{path}: is not a whole IDX file of pictures; get it again")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(16)
            count, height, width = (int.from_bytes(header[i : i + 4]) for i in (4, 8, 12))
            size = count * height * width
            if len(header) < 16 or header[:4] != _MAGIC or not 0 < size <= _MOST:
                raise damaged
            content = file.read(size + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise damaged from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(content) != size:
        raise damaged
    pixels = np.frombuffer(content, np.uint8).reshape(count, 1, height, width)
    return torch.from_numpy(pixels.copy())
