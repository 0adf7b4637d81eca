"""The registry of data sets, and ``open_data``, which opens one of them or any folder."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from irae.data import birds, celeba, flowers
from irae.data.folder import PictureSet, ProtocolName, Split, open_folder
from irae.errors import DataError

Opener = Callable[[Path, Split, ProtocolName], PictureSet]


@dataclass(frozen=True)
class Archive:
    """An archive at its owner's address.

    Attributes:
        url: http or https address.
        md5: hexadecimal checksum.
        size: size in bytes.
    """

    url: str
    md5: str
    size: int


@dataclass(frozen=True)
class DataSource:
    """A registered data set.

    Attributes:
        title: full name of the set.
        pictures: number of pictures in the complete set.
        terms: terms of use of the owner.
        address: address of the owner's page.
        folder: folder of the set below the data root.
        marker: a file in that folder by which the official layout is recognised.
        other_marker: another file that may stand for it.
        crop: side of the square that is cut from the middle before pictures are scaled, as a share
            of the shorter side; None for the whole shorter side.
        opener: makes a PictureSet from (root, split, protocol).
        archive: archive to download; None if ``torchvision_class`` downloads the set.
        torchvision_class: name of the class in ``torchvision.datasets`` that downloads it.
    """

    title: str
    pictures: int
    terms: str
    address: str
    folder: str
    marker: str
    opener: Opener
    archive: Archive | None = None
    torchvision_class: str | None = None
    other_marker: str | None = None
    crop: float | None = None

    def is_at(self, folder: Path) -> bool:
        """Whether ``folder`` holds the set in its layout."""
        markers = [name for name in (self.marker, self.other_marker) if name is not None]
        return folder.name == self.folder and any((folder / name).is_file() for name in markers)


REGISTRY: dict[str, DataSource] = {
    "celeba": DataSource(
        title="CelebA, aligned and cropped",
        pictures=202_599,
        terms="non-commercial research",
        address=celeba.ADDRESS,
        folder=celeba.FOLDER,
        marker=celeba.MARKER,
        other_marker=celeba.CSV,
        crop=celeba.WORKING_SIZE.crop,
        opener=celeba.open_celeba,
        torchvision_class="CelebA",
    ),
    "flowers": DataSource(
        title="Oxford Flowers-102",
        pictures=8_189,
        terms="research",
        address=flowers.ADDRESS,
        folder=flowers.FOLDER,
        marker=flowers.MARKER,
        opener=flowers.open_flowers,
        torchvision_class="Flowers102",
    ),
    "birds": DataSource(
        title="Caltech-UCSD Birds-200-2011",
        pictures=11_788,
        terms="non-commercial research",
        address=birds.ADDRESS,
        folder=birds.FOLDER,
        marker=birds.MARKER,
        opener=birds.open_birds,
        archive=Archive(
            url="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
            md5="97eceeb196236b17998738112f37df78",
            size=1_150_585_339,
        ),
    ),
}


def data_root(root: Path | str | None = None) -> Path:
    """Return the root folder of the data: ``root``, else ``$IRAE_DATA``, else ``./data``."""
    if root is not None:
        return Path(root).expanduser()
    return Path(os.environ.get("IRAE_DATA") or "data").expanduser()


def known_layout(folder: Path) -> Path | None:
    """Return the folder of the registered set that ``folder`` is or is part of; else None."""
    for candidate in (folder, *list(folder.parents)[:2]):
        if _source_at(candidate) is not None:
            return candidate
    return None


def crop_before_scaling(name_or_dir: str) -> float | None:
    """Return the `DataSource.crop` of a set, by its name or a folder in its layout; else None."""
    layout = known_layout(Path(name_or_dir))
    found = REGISTRY.get(name_or_dir) or (None if layout is None else _source_at(layout))
    return None if found is None else found.crop


def layouts_below(folder: Path) -> Iterator[Path]:
    """Yield the folders of registered sets in their official layouts, in ``folder`` and below."""
    for where, folders, _ in os.walk(folder, followlinks=False):
        if _source_at(Path(where)) is not None:
            folders.clear()
            yield Path(where)
        folders.sort()


def _source_at(folder: Path) -> DataSource | None:
    for source in REGISTRY.values():
        if source.is_at(folder):
            return source
    return None


def find_source(name: str) -> DataSource:
    """Return the entry called ``name``.

    Raises:
        DataError: no such set exists; the message lists the names.
    """
    if name not in REGISTRY:
        raise DataError(f"data set {name!r} is unknown; use one of {', '.join(REGISTRY)}")
    return REGISTRY[name]


def open_data(
    name_or_dir: str | Path,
    *,
    root: Path | str | None = None,
    split: Split = "train",
    protocol: ProtocolName = "standard",
    also: Sequence[str] = (),
) -> PictureSet:
    """Open a data set by name, or a folder of pictures by its path.

    A name takes precedence over a folder of that name (write ``./celeba`` for the folder). A path
    is searched as given and then below the data root. A folder that holds a registered set in its
    official layout is opened as that set. Any other folder has no splits, so every split and
    protocol is all of its pictures, at their own size.

    Args:
        name_or_dir: a name in ``REGISTRY``, or a folder (searched recursively).
        root: root folder of the data; None for ``$IRAE_DATA``, else ``./data``.
        split: the part of a registered set.
        protocol: the division of a registered set into splits; see its opener.
        also: names of sets that the caller knows besides, for the message.

    Raises:
        DataError: the argument is neither a name nor a folder, or the set is missing, incomplete
            or empty.
    """
    # Configs and command lines pass plain strings, which no type checker has checked.
    if split not in get_args(Split):
        raise DataError(f"split {split!r} is unknown; use one of {', '.join(get_args(Split))}")
    if protocol not in get_args(ProtocolName):
        names = ", ".join(get_args(ProtocolName))
        raise DataError(f"protocol {protocol!r} is unknown; use one of {names}")
    where = data_root(root)
    if isinstance(name_or_dir, str) and name_or_dir in REGISTRY:
        return REGISTRY[name_or_dir].opener(where, split, protocol)
    folder = Path(name_or_dir).expanduser()
    for candidate in (folder, where / folder):
        if candidate.is_dir():
            there = candidate.resolve()
            known = _source_at(there) or _source_at(there / there.name)
            if known is not None:
                return known.opener(there.parent, split, protocol)
            return open_folder(candidate)
    raise DataError(
        f"{str(name_or_dir)!r} is neither a data set ({', '.join([*REGISTRY, *also])}) nor a "
        f"folder of pictures, here or below {where}"
    )
