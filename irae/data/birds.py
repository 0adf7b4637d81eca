"""Caltech-UCSD Birds-200-2011 (Wah et al., 2011), in its official layout."""

from __future__ import annotations

from pathlib import Path

from irae.data.folder import PictureSet, ProtocolName, Split, WorkingSize
from irae.data.layout import need_folder, picture_folder, present_paths, read_pairs, set_folder
from irae.errors import DataError

FOLDER = "CUB_200_2011"
MARKER = "train_test_split.txt"
ADDRESS = "https://data.caltech.edu/records/65de6-vp158"
REMEDY = f"get it with `irae data download birds` or from {ADDRESS}"
WORKING_SIZE = WorkingSize(64)

# The set has no official validation part. Every tenth training picture covers all classes, because
# the list is sorted by class.
_HELD_OUT = 10


def open_birds(root: Path, split: Split, protocol: ProtocolName) -> PictureSet:
    """Open birds at 64×64 (shorter side to 64, centre crop) from ``root/CUB_200_2011``.

    Train and test follow ``train_test_split.txt``. In ``standard`` every tenth picture of the
    training list is in val and not in train; ``authors`` trains on the whole list, and its val is
    its test split.

    Raises:
        DataError: a list or a listed picture is missing, the lists disagree, or the split is
            empty.
    """
    base = set_folder(root, FOLDER, (MARKER,))
    need_folder(base, REMEDY)
    images, division = base / "images.txt", base / MARKER
    names = dict(read_pairs(images, REMEDY))
    train: list[str] = []
    test: list[str] = []
    for number, is_train in read_pairs(division, REMEDY):
        if number not in names:
            raise DataError(f"{division} lists picture {number}, {images.name} does not; {REMEDY}")
        if is_train not in ("0", "1"):
            raise DataError(
                f"{division}: picture {number} is in {is_train!r}, not 0 or 1; {REMEDY}"
            )
        (train if is_train == "1" else test).append(names[number])
    chosen = {
        "standard": {
            "train": [name for at, name in enumerate(train) if at % _HELD_OUT != _HELD_OUT - 1],
            "val": train[_HELD_OUT - 1 :: _HELD_OUT],
            "test": test,
        },
        "authors": {"train": train, "val": test, "test": test},
    }[protocol][split]
    if not chosen:
        raise DataError(f"{division} lists no picture of split {split!r}; {REMEDY}")
    pictures = picture_folder(base, "images", REMEDY)
    return PictureSet("birds", present_paths(pictures, chosen, images, REMEDY), WORKING_SIZE)
