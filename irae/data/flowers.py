"""Oxford Flowers-102 (Nilsback and Zisserman, ICVGIP 2008), in its official layout."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

from irae.data.folder import PictureSet, ProtocolName, Split, WorkingSize
from irae.data.layout import need_file, need_folder, picture_folder, present_paths, set_folder
from irae.errors import DataError

FOLDER = "flowers-102"
MARKER = "setid.mat"
ADDRESS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
REMEDY = f"get it with `irae data download flowers` or from {ADDRESS}"
WORKING_SIZE = WorkingSize(64)

_KEYS: dict[ProtocolName, dict[Split, tuple[str, ...]]] = {
    "standard": {"train": ("trnid",), "val": ("valid",), "test": ("tstid",)},
    # The published code trains on the large part and tests on the rest, without validation.
    "authors": {"train": ("tstid",), "val": ("trnid", "valid"), "test": ("trnid", "valid")},
}


def open_flowers(root: Path, split: Split, protocol: ProtocolName) -> PictureSet:
    """Open flowers at 64×64 (shorter side to 64, centre crop) from ``root/flowers-102``.

    ``standard`` uses the official splits (train 1,020, val 1,020, test 6,149). ``authors`` trains
    on ``tstid`` and tests on ``trnid`` + ``valid``; its val is its test split.

    torchvision's ``Flowers102`` class is not used for reading, because it also needs
    ``imagelabels.mat``.

    Raises:
        DataError: ``setid.mat`` or a listed picture is missing or unreadable.
    """
    base = set_folder(root, FOLDER, (MARKER,))
    need_folder(base, REMEDY)
    set_id = base / MARKER
    names = [
        f"image_{number:05d}.jpg"
        for key in _KEYS[protocol][split]
        for number in _read_numbers(set_id, key)
    ]
    if not names:
        raise DataError(f"{set_id} lists no picture of split {split!r}; {REMEDY}")
    pictures = picture_folder(base, "jpg", REMEDY, "102flowers.tgz")
    return PictureSet("flowers", present_paths(pictures, names, set_id, REMEDY), WORKING_SIZE)


def _read_numbers(path: Path, key: str) -> list[int]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    need_file(path, REMEDY)
    try:
        numbers = loadmat(path, variable_names=[key])[key].ravel()
        return [int(number) for number in numbers]
    except KeyError:
        raise DataError(f"{path} has no {key!r}; {REMEDY}") from None
    # Errors that scipy raises on a damaged file; NotImplementedError means MATLAB 7.3 (HDF5).
    except (
        OSError,
        ValueError,
        TypeError,
        IndexError,
        EOFError,
        MemoryError,
        NotImplementedError,
        MatReadError,
        struct.error,
        zlib.error,
    ) as error:
        raise DataError(f"{path} is not a readable MATLAB file ({error}); {REMEDY}") from None
