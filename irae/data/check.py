"""Checking whether a data set is present, complete and readable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from irae.data.folder import PictureSet, Split
from irae.data.registry import REGISTRY, DataSource, data_root, open_data
from irae.errors import DataError


@dataclass
class Contents:
    """The result of opening every split of a set.

    Attributes:
        splits: the splits that could be opened; a plain folder has one, called ``all``.
        problems: one line for each problem.
    """

    splits: dict[str, PictureSet] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def pictures(self) -> int:
        """Number of pictures in all splits together."""
        return sum(len(split) for split in self.splits.values())

    def summary(self) -> str:
        """Return one line such as ``train 6,000, val 250, test 250``."""
        return ", ".join(f"{name} {len(split):,}" for name, split in self.splits.items())


def open_all(name_or_dir: str | Path, root: Path | None = None) -> Contents:
    """Open every split (``standard`` protocol) and collect problems, without decoding."""
    contents = Contents()
    named = isinstance(name_or_dir, str) and name_or_dir in REGISTRY
    wanted: dict[str, Split] = {name: name for name in get_args(Split)}
    if not named:
        wanted = {"all": "train"}
    for name, split in wanted.items():
        try:
            contents.splits[name] = open_data(name_or_dir, root=root, split=split)
        except DataError as error:
            # A missing folder gives the same message for every split.
            if str(error) not in contents.problems:
                contents.problems.append(str(error))
    return contents


def unreadable(pictures: PictureSet) -> Iterator[str | None]:
    """Decode the pictures one after the other; yield None or an error message for each."""
    for index in range(len(pictures)):
        try:
            pictures.load(index)
        except DataError as error:
            yield str(error)
        else:
            yield None


def describe(name: str, source: DataSource, root: Path | None = None) -> dict[str, object]:
    """Return the row of ``irae data list`` for a registered set, as plain JSON."""
    where = data_root(root) / source.folder
    contents = open_all(name, root) if where.is_dir() else Contents()
    return {
        "name": name,
        "title": source.title,
        "pictures": source.pictures,
        "download_bytes": source.archive.size if source.archive else None,
        "terms": source.terms,
        "address": source.address,
        "path": str(where),
        "present": where.is_dir() and not contents.problems,
        "pictures_present": contents.pictures,
        "problems": contents.problems,
    }
