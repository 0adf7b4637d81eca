"""Small pictures of one size, all of them in memory: what densities are trained on."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from irae.data.folder import PictureSet, Split, WorkingSize
from irae.data.idx import IDX_SETS, is_idx_folder, open_idx
from irae.data.registry import open_data
from irae.errors import DataError
from irae.imaging.metrics import rgb_to_y

HELD_OUT_SHARE, HELD_OUT_LEAST, HELD_OUT_MOST = 0.05, 4, 1000
"""Share, least and largest number of a folder's pictures that are the split ``val``."""


def open_small(
    name_or_dir: str | Path, *, size: int, channels: int, root: Path, split: Split = "train"
) -> Tensor:
    """Read every picture of a set: uint8 ``N channels size size``.

    Pictures of another size are scaled, and cropped to the square in their middle. Gray pictures
    get three equal channels for a colour model, colour pictures their luma for a gray one. IDX
    sets must have the size, or one that is smaller by an even number; they are padded with zeros.
    A folder has no parts of its own: some of its pictures, those whose paths have the smallest
    hashes, are ``val``, and the others ``train``; all of them are ``test``.

    Args:
        name_or_dir: a registered set, ``fashion``, ``mnist``, or a folder.
        size: height and width in pixels.
        channels: 1 or 3.
        root: root folder of the data.
        split: the part.

    Raises:
        DataError: the set is missing, damaged or too small, or does not have the size.
    """
    found = _idx_folder(name_or_dir, root)
    if found is not None:
        pictures = _padded(open_idx(found, root, split), size, str(name_or_dir))
        return pictures.expand(-1, channels, -1, -1).contiguous()
    chosen = open_data(name_or_dir, root=root, split=split, also=tuple(IDX_SETS))
    if chosen.folder is not None and split != "test":
        chosen = _part(chosen, split)
    crop = None if chosen.working_size is None else chosen.working_size.crop
    chosen = replace(chosen, working_size=WorkingSize(size, crop))
    return read_all(chosen, channels)


def find_small(name_or_dir: str | Path, root: Path, split: Split) -> None:
    """Check that `open_small` finds a set; of pictures in files, none is read.

    Raises:
        DataError: the set is missing or damaged.
    """
    found = _idx_folder(name_or_dir, root)
    if found is not None:
        open_idx(found, root, split)
    else:
        open_data(name_or_dir, root=root, split=split, also=tuple(IDX_SETS))


def _idx_folder(name_or_dir: str | Path, root: Path) -> str | Path | None:
    """Return the name of an IDX set, or the folder of one; else None."""
    if str(name_or_dir) in IDX_SETS:
        return name_or_dir
    path = Path(name_or_dir).expanduser()
    return next((each for each in (path, root / path) if is_idx_folder(each)), None)


def _padded(pictures: Tensor, size: int, name: str) -> Tensor:
    height, width = pictures.shape[2:]
    border = (size - height) // 2
    if height != width or height + 2 * border != size or border < 0:
        raise DataError(
            f"{name}: has pictures of {width}×{height}; the density is of {size}×{size}: "
            f"set model.options.size to {height}"
        )
    return torch.nn.functional.pad(pictures, (border, border, border, border))


def _part(pictures: PictureSet, split: Split) -> PictureSet:
    folder, count = pictures.folder, len(pictures)
    if folder is None or count < 2:
        raise DataError(
            f"{pictures.name}: has {count} picture, and one more is needed to validate on; give a "
            "larger folder"
        )
    kept = min(HELD_OUT_MOST, max(HELD_OUT_LEAST, round(HELD_OUT_SHARE * count)), count // 2)

    def order(path: Path) -> str:
        name = path.relative_to(folder).as_posix()
        return sha256(name.encode("utf-8", "surrogateescape")).hexdigest()

    apart = set(sorted(pictures.paths, key=order)[:kept])
    chosen = [path for path in pictures.paths if (path in apart) == (split == "val")]
    return replace(pictures, paths=chosen)


def read_all(pictures: PictureSet, channels: int) -> Tensor:
    """Read all pictures of a set with a working size: uint8 ``N channels side side``.

    Raises:
        DataError: a picture cannot be read.
    """
    with ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="pictures") as workers:
        rows = list(workers.map(pictures.load, range(len(pictures))))
    return to_channels(torch.stack(rows), channels)


def to_channels(pictures: Tensor, channels: int) -> Tensor:
    """Convert uint8 ``N C H W`` to 1 or 3 channels."""
    if pictures.shape[1] == channels:
        return pictures
    if channels == 3:
        return pictures.expand(-1, 3, -1, -1).contiguous()
    return rgb_to_y(pictures.float()).round().to(torch.uint8)
