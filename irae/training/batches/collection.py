"""The pictures of a run: those it learns from, those kept apart to choose by, those left out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import zip_longest
from pathlib import Path

from PIL import Image

from irae.config import DataSection, RunConfig, SourceSection
from irae.data.folder import PictureSet
from irae.data.registry import REGISTRY, data_root, known_layout, layouts_below, open_data
from irae.errors import DataError, UsageError
from irae.imaging.io.decode import DECODER_FAULTS

KEPT_SHARE, KEPT_LEAST, KEPT_MOST = 0.05, 4, 32
"""Of the pictures of folders, how many are kept apart for validation; never over a quarter."""


@dataclass(frozen=True)
class Collection:
    """The pictures of a run.

    Attributes:
        train: one set for every source of the config, in its order.
        weights: share of the patches of each, relative to the others.
        validation: pictures to choose by, as a set and a number in it.
        pixels: of all sets in ``train`` together, at the size they are read at.
        left_out: pictures that cannot be used, and why.
    """

    train: list[PictureSet]
    weights: list[float]
    validation: list[tuple[PictureSet, int]]
    pixels: int
    left_out: list[tuple[Path, str]]

    def describe(self) -> str:
        """What was found and what was left out, in one line."""
        count = sum(len(pictures) for pictures in self.train)
        line = (
            f"{count:,} pictures of {self.pixels / 1e6:,.1f} megapixels to learn from, "
            f"{len(self.validation)} others to validate on"
        )
        reasons: dict[str, list[Path]] = {}
        for path, reason in self.left_out:
            reasons.setdefault(reason, []).append(path)
        for reason, paths in reasons.items():
            more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
            line += f"; left out, {reason}: {paths[0]}{more}"
        return line


def with_sources(
    config: RunConfig, folders: Iterable[str] = (), validation: str | None = None
) -> RunConfig:
    """A config whose sources are these folders or data sets, by absolute paths.

    A data set known by name that lies in a folder becomes a source of its own. Without folders the
    config's own sources stay; where it has none, they are what lies below the data root.

    Args:
        config: of a run.
        folders: names of data sets, or folders of pictures.
        validation: likewise, one.

    Raises:
        UsageError: there is neither a folder nor anything below the data root.
    """
    config = config.model_copy(deep=True)
    data = config.data
    root = data_root(None if data.root is None else Path(data.root)).resolve()
    given = list(folders)
    if given:
        data.train = [source for each in given for source in _sources(each, root)]
        if validation is None:
            data.validation.source = None
    elif not data.train:
        data.train = _sources_below(root)
    if validation is not None:
        data.validation.source = _absolute(validation)
    data.root = str(root)
    return config


def _sources_below(root: Path) -> list[SourceSection]:
    try:
        return _sources(str(root), root)
    except DataError:
        raise UsageError(
            f"no pictures to train on: {root} has none; give `data` DIR, or run "
            "'irae data download flowers', or set IRAE_DATA to the folder of your data sets"
        ) from None


def _absolute(name: str) -> str:
    """A data set's name as it is; a folder that is there by its absolute path."""
    path = Path(name).expanduser()
    return str(path.resolve()) if name not in REGISTRY and path.is_dir() else name


def _sources(name: str, root: Path) -> list[SourceSection]:
    if name in REGISTRY:
        return [SourceSection(source=name, weight="pixels")]
    folder = next((f for f in (Path(name).expanduser(), root / name) if f.is_dir()), None)
    if folder is None:
        open_data(name, root=root)  # Says what names and folders there are.
        raise DataError(f"{name} is not a folder; give a folder of pictures")
    folder = folder.resolve()
    inside = known_layout(folder)
    if inside is not None:
        return [SourceSection(source=str(inside), weight="pixels")]
    layouts = list(layouts_below(folder))
    found = [SourceSection(source=str(each), weight="pixels") for each in layouts]
    if list(_outside(open_data(folder).paths, layouts)):
        found.append(SourceSection(source=str(folder), weight="pixels"))
    return found


def _outside(paths: Iterable[Path], folders: list[Path]) -> Iterator[Path]:
    """Paths that lie below none of these folders."""
    return (p for p in paths if not any(p.is_relative_to(folder) for folder in folders))


def open_collection(data: DataSection) -> Collection:
    """Find the pictures of a run, by a look at the headers of all that lie in folders.

    Without ``data.validation.source``, data sets known by name are validated on their own
    validation part, and of the pictures in folders 5 % are kept apart (at least 4 and at most 32,
    never more than a quarter): those whose paths below their folder have the smallest hashes, so
    that they stay the same.

    Args:
        data: of the run's config.

    Raises:
        DataError: a source has no picture that can be used.
        UsageError: a source is missing or empty, there is none, or there are too few pictures to
            keep some apart.
    """
    root = None if data.root is None else Path(data.root)
    sources = data.train or _sources_below(data_root(root).resolve())
    sets, pixels, left_out = [], [], []
    seen: set[str] = set()
    for source in sources:
        try:
            pictures = open_data(source.source, root=root, split="train", protocol=data.protocol)
        except DataError as error:
            raise UsageError(f"{error}; or name other pictures with `data` DIR") from None
        if pictures.working_size is not None:
            sets.append(pictures)
            pixels.append(len(pictures) * pictures.working_size.side**2)
            continue
        paths = _outside(pictures.paths, _layouts_in(pictures))
        # A folder inside another one: its pictures count once.
        own = [path for path in paths if os.path.realpath(path) not in seen]
        seen.update(os.path.realpath(path) for path in own)
        usable, area, bad = _usable(own, data.patch)
        if own and not usable:
            raise DataError(
                f"{source.source}: none of its {len(own):,} pictures can be used "
                f"({bad[0][0].name}: {bad[0][1]}); lower data.patch or give other pictures"
            )
        left_out += bad
        sets.append(replace(pictures, paths=usable))
        pixels.append(area)
    if data.validation.source is not None:
        chosen = open_data(data.validation.source, root=root, split="val", protocol=data.protocol)
        validation = [(chosen, index) for index in range(len(chosen))]
    else:
        sets, validation = _kept_apart(sets, sources, root, data)
    full = [(part, area, s) for part, area, s in zip(sets, pixels, sources, strict=True) if part]
    return Collection(
        [part for part, _, _ in full],
        [float(area) if s.weight == "pixels" else s.weight for _, area, s in full],
        validation[: data.validation.images],
        sum(area for _, area, _ in full),
        left_out,
    )


def _layouts_in(pictures: PictureSet) -> list[Path]:
    folder = pictures.folder
    return [] if folder is None else [f for f in layouts_below(folder) if f != folder]


def _usable(paths: list[Path], patch: int) -> tuple[list[Path], int, list[tuple[Path, str]]]:
    """Pictures that patches can be cut from, their pixels, and the others with the reason."""
    usable, pixels, bad = [], 0, []
    with ThreadPoolExecutor(8, "headers") as pool:
        for path, found in zip(paths, pool.map(_size, paths), strict=True):
            if isinstance(found, str):
                bad.append((path, found))
            elif 2 * min(found) <= patch:  # Less than this cannot be mirrored up to a patch.
                bad.append((path, f"too small for patches of {patch} pixels"))
            else:
                usable.append(path)
                pixels += found[0] * found[1]
    return usable, pixels, bad


def _size(path: Path) -> tuple[int, int] | str:
    """Width and height by a picture's header, or why it cannot be used."""
    try:
        with Image.open(path) as image:
            return "of floating-point samples" if image.mode == "F" else image.size
    except (*DECODER_FAULTS, Image.DecompressionBombError):
        return "cannot be read"


def _kept_apart(
    sets: list[PictureSet], sources: list[SourceSection], root: Path | None, data: DataSection
) -> tuple[list[PictureSet], list[tuple[PictureSet, int]]]:
    """The sets to train on without what is kept apart, and that, of all sets in turn."""
    candidates: list[list[tuple[PictureSet, int]]] = []
    hashed: list[tuple[str, int, Path]] = []
    for number, (pictures, source) in enumerate(zip(sets, sources, strict=True)):
        if pictures.working_size is None:
            hashed += [(_hash(path, pictures), number, path) for path in pictures.paths]
            continue
        part = open_data(source.source, root=root, split="val", protocol=data.protocol)
        step = max(1, len(part) // data.validation.images)
        candidates.append([(part, index) for index in range(0, len(part), step)])
    count = len(hashed)
    if count < 4 and not candidates:
        folder = sources[0].source
        raise UsageError(
            f"{folder}: {count} pictures are too few to keep some apart for validation; add some, "
            "or give `validation` DIR"
        )
    wanted = min(max(round(KEPT_SHARE * count), KEPT_LEAST), KEPT_MOST, count // 4)
    kept: dict[int, list[Path]] = {}
    for _, number, path in sorted(hashed, key=lambda each: each[0]):
        taken = kept.setdefault(number, [])
        # No source is left without a picture to learn from.
        if wanted and len(taken) + 1 < len(sets[number]):
            taken.append(path)
            wanted -= 1
    for number, paths in kept.items():
        part = replace(sets[number], paths=paths)
        candidates.append([(part, index) for index in range(len(part))])
        apart = set(paths)
        left = [path for path in sets[number].paths if path not in apart]
        sets[number] = replace(sets[number], paths=left)
    rows = zip_longest(*candidates)
    return sets, [each for row in rows for each in row if each is not None]


def _hash(path: Path, pictures: PictureSet) -> str:
    folder = pictures.folder
    below = path if folder is None else path.relative_to(folder)
    return sha256(below.as_posix().encode("utf-8", "surrogateescape")).hexdigest()
