"""The pictures of a run, split into training and validation pictures and unusable ones."""

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
from irae.data.idx import IDX_SETS, is_idx_folder
from irae.data.registry import REGISTRY, data_root, known_layout, layouts_below, open_data
from irae.errors import DataError, UsageError
from irae.imaging.io.decode import DECODER_FAULTS

MEASURING = ("testsets", "masks")
"""Folders below the data root, suggested in data/README.md, that are not part of it in training."""

KEPT_SHARE, KEPT_LEAST, KEPT_MOST = 0.05, 4, 32
"""Share, least and largest number of a folder's pictures used for validation, at most 1/4."""

OTHER_PICTURES = "; or name other pictures with `data` DIR"


@dataclass(frozen=True)
class Collection:
    """The pictures of a run.

    Attributes:
        train: one set for every source of the config, in its order.
        weights: relative share of patches from each set.
        validation: validation pictures, each as a set and an index in it.
        pixels: number of pixels of all training pictures, at the size at which they are read.
        left_out: pictures that cannot be used, with the reason.
        shared: number of validation pictures that are also training pictures.
    """

    train: list[PictureSet]
    weights: list[float]
    validation: list[tuple[PictureSet, int]]
    pixels: int
    left_out: list[tuple[Path, str]]
    shared: int = 0

    def notices(self) -> list[str]:
        """Return the line of `describe`, and a warning if validation cannot be trusted."""
        if not self.shared:
            return [self.describe()]
        what = "1 picture serves" if self.shared == 1 else f"{self.shared:,} pictures serve"
        return [
            self.describe(),
            f"warning: {what} both training and validation, so that the scores say nothing about "
            "other pictures",
        ]

    def describe(self) -> str:
        """Describe the pictures found and left out, in one line."""
        count = sum(len(pictures) for pictures in self.train)
        held = len(self.validation)
        line = (
            f"{counted(count)} of {self.pixels / 1e6:,.1f} megapixels to learn from, "
            f"{held:,} other{'s' * (held != 1)} to validate on"
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
    """Return a config with these folders or data sets as sources, by absolute paths.

    A registered data set inside a folder becomes a source of its own. Without folders the config
    keeps its sources; if it has none, everything below the data root is used.

    Args:
        config: config of a run.
        folders: names of data sets, or folders of pictures.
        validation: name of a data set or a folder for validation.

    Raises:
        UsageError: no folder is given, and there are no pictures below the data root.
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


def counted(count: int) -> str:
    """Return ``1 picture``, ``2 pictures`` and so on."""
    return f"{count:,} picture{'s' * (count != 1)}"


def _sources_below(root: Path) -> list[SourceSection]:
    try:
        return _sources(str(root), root)
    except DataError:
        raise UsageError(
            f"no pictures to train on: {root} has none; give `data` DIR, or run "
            "'irae data download flowers', or set IRAE_DATA to the folder of your data sets"
        ) from None


def _absolute(name: str) -> str:
    """Return the absolute path of an existing folder; leave the name of a data set unchanged."""
    if not name:
        raise UsageError("`validation` is empty; give a folder or the name of a data set")
    path = Path(name).expanduser()
    known = name in REGISTRY or name in IDX_SETS
    return str(path.resolve()) if not known and path.is_dir() else name


def _sources(name: str, root: Path) -> list[SourceSection]:
    if not name:  # An unset variable of a shell, and not the current folder.
        raise UsageError("`data` is empty; give a folder or the name of a data set")
    if name in REGISTRY or name in IDX_SETS:
        return [SourceSection(source=name, weight="pixels")]
    places = (Path(name).expanduser(), root / name)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        if any(place.is_file() for place in places):
            raise DataError(f"{name} is a file; give its folder")
        open_data(name, root=root)  # Its error lists the names and folders that exist.
        raise DataError(f"{name} is not a folder; give a folder of pictures")
    folder = folder.resolve()
    inside = folder if is_idx_folder(folder) else known_layout(folder)
    if inside is not None:
        return [SourceSection(source=str(inside), weight="pixels")]
    layouts = list(layouts_below(folder))
    found = [SourceSection(source=str(each), weight="pixels") for each in layouts]
    paths = open_data(folder).paths
    apart = [*layouts, *_measuring(folder, root)]
    if list(_outside(paths, apart)):
        found.append(SourceSection(source=str(folder), weight="pixels"))
    if not found:
        raise DataError(
            f"{folder} has no pictures but those for measuring, below {' and '.join(MEASURING)}; "
            "give another folder"
        )
    return found


def _measuring(folder: Path, root: Path) -> list[Path]:
    """Return the folders for measuring in ``folder``, if that is or holds the data root."""
    whole = folder.resolve()
    if not root.is_relative_to(whole):
        return []
    inside = (folder / root.relative_to(whole) / name for name in MEASURING)
    return [each for each in inside if each.is_dir()]


def _outside(paths: Iterable[Path], folders: list[Path]) -> Iterator[Path]:
    """Yield the paths that lie below none of these folders."""
    return (p for p in paths if not any(p.is_relative_to(folder) for folder in folders))


def open_collection(data: DataSection) -> Collection:
    """Find the pictures of a run; the headers of pictures in folders are read.

    Without ``data.validation.source``, registered data sets contribute their own validation part,
    and 5 % of the pictures in folders are kept apart (at least 4 and at most 32, never more than a
    quarter): those whose relative paths have the smallest hashes, so that the choice is stable.

    Args:
        data: the section ``data`` of the run's config.

    Raises:
        DataError: a source has no usable picture.
        UsageError: a source is missing or empty, there is no source, or there are too few
            pictures to keep some apart.
    """
    root = None if data.root is None else Path(data.root)
    sources = data.train or _sources_below(data_root(root).resolve())
    sets, pixels, left_out = [], [], []
    seen: set[str] = set()
    for source in sources:
        try:
            pictures = open_data(source.source, root=root, split="train", protocol=data.protocol)
        except DataError as error:
            raise UsageError(f"{error}{OTHER_PICTURES}") from None
        if pictures.working_size is not None:
            if 2 * pictures.working_size.side <= data.patch:
                side = pictures.working_size.side
                raise DataError(
                    f"{source.source}: its pictures of {side}x{side} are too small for patches of "
                    f"{data.patch}; lower data.patch"
                )
            sets.append(pictures)
            pixels.append(len(pictures) * pictures.working_size.side**2)
            continue
        folder = pictures.folder
        apart = [] if folder is None else _measuring(folder, data_root(root).resolve())
        left_out += [(each, "for measuring only") for each in apart]
        paths = _outside(pictures.paths, [*_layouts_in(pictures), *apart])
        # Pictures of a folder inside another source count once.
        own = [path for path in paths if os.path.realpath(path) not in seen]
        seen.update(os.path.realpath(path) for path in own)
        usable, area, bad = _usable(own, data.patch)
        if own and not usable:
            raise DataError(
                f"{source.source}: none of its {counted(len(own))} can be used "
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
    validation = validation[: data.validation.images]
    return Collection(
        [part for part, _, _ in full],
        [float(area) if s.weight == "pixels" else s.weight for _, area, s in full],
        validation,
        sum(area for _, area, _ in full),
        left_out,
        _shared([part for part, _, _ in full], validation),
    )


def _shared(train: list[PictureSet], validation: list[tuple[PictureSet, int]]) -> int:
    """Count the validation pictures that are training pictures too, under whatever path."""
    held = {os.path.realpath(pictures.paths[number]) for pictures, number in validation}
    names = {os.path.basename(path) for path in held}
    found = set()
    for path in (path for pictures in train for path in pictures.paths):
        # Of hundreds of thousands of paths, only those that can be such a picture are resolved.
        if path.name in names or path.is_symlink():
            found.add(os.path.realpath(path))
    return len(held & found)


def _layouts_in(pictures: PictureSet) -> list[Path]:
    folder = pictures.folder
    return [] if folder is None else [f for f in layouts_below(folder) if f != folder]


def _usable(paths: list[Path], patch: int) -> tuple[list[Path], int, list[tuple[Path, str]]]:
    """Return the pictures large enough for patches, their pixels, and the others with reasons."""
    usable, pixels, bad = [], 0, []
    with ThreadPoolExecutor(8, "headers") as pool:
        for path, found in zip(paths, pool.map(_size, paths), strict=True):
            if isinstance(found, str):
                bad.append((path, found))
            elif 2 * min(found) <= patch:  # Mirroring cannot fill a patch.
                bad.append((path, f"too small for patches of {patch} pixels"))
            else:
                usable.append(path)
                pixels += found[0] * found[1]
    return usable, pixels, bad


def _size(path: Path) -> tuple[int, int] | str:
    """Read width and height from a picture's header; return text if it cannot be used."""
    try:
        with Image.open(path) as image:
            return image.size
    except (*DECODER_FAULTS, Image.DecompressionBombError):
        pass
    try:
        # Pillow cannot open some TIFFs, and not even their sizes are known without decoding.
        height, width = PictureSet("", [path]).load(0).shape[1:]
    except DataError:
        return "cannot be read"
    return width, height


def _kept_apart(
    sets: list[PictureSet], sources: list[SourceSection], root: Path | None, data: DataSection
) -> tuple[list[PictureSet], list[tuple[PictureSet, int]]]:
    """Split the sets into training sets and validation pictures, which alternate between sets."""
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
            f"{folder}: {counted(count)} {'is' if count == 1 else 'are'} too few to keep some "
            "apart for validation; add some, or give `validation` DIR"
        )
    wanted = min(max(round(KEPT_SHARE * count), KEPT_LEAST), KEPT_MOST, count // 4)
    kept: dict[int, list[Path]] = {}
    for _, number, path in sorted(hashed, key=lambda each: each[0]):
        taken = kept.setdefault(number, [])
        # Every source keeps at least one training picture.
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
