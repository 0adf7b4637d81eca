"""CelebA, aligned and cropped faces (Liu et al., ICCV 2015), in its official layout."""

from __future__ import annotations

from pathlib import Path

from irae.data.folder import PictureSet, ProtocolName, Split, WorkingSize
from irae.data.layout import need_folder, picture_folder, present_paths, read_pairs, set_folder
from irae.errors import DataError

FOLDER = "celeba"
MARKER = "list_eval_partition.txt"
CSV = "list_eval_partition.csv"  # of other distributors, who also nest the folder of the pictures
ADDRESS = "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"
REMEDY = f"get it with `irae data download celeba` or from {ADDRESS}"

# Crop 148 of the 178 columns, then scale to 64, as in the IRAE paper. The share also suits copies
# at another scale (74 of 89 columns).
WORKING_SIZE = WorkingSize(64, crop=148 / 178)

_SPLITS: dict[str, Split] = {"0": "train", "1": "val", "2": "test"}


def open_celeba(root: Path, split: Split, protocol: ProtocolName) -> PictureSet:
    """Open faces at 64×64 from ``root/celeba``; both protocols use the official partition.

    torchvision's ``CelebA`` class is not used for reading, because it also needs the attribute,
    identity, box and landmark files, with the checksums of the full set.

    Raises:
        DataError: the list or a listed picture is missing, or the split is empty.
    """
    base = set_folder(root, FOLDER, (MARKER, CSV))
    need_folder(base, REMEDY)
    partition = base / MARKER
    if not partition.is_file() and (base / CSV).is_file():
        partition = base / CSV
    names: list[str] = []
    for name, number in read_pairs(partition, REMEDY):
        if number not in _SPLITS:
            raise DataError(f"{partition}: {name} is in split {number!r}, not 0, 1 or 2; {REMEDY}")
        if _SPLITS[number] == split:
            names.append(name)
    if not names:
        raise DataError(f"{partition} lists no picture of split {split!r}; {REMEDY}")
    pictures = picture_folder(base, "img_align_celeba", REMEDY)
    return PictureSet("celeba", present_paths(pictures, names, partition, REMEDY), WORKING_SIZE)
