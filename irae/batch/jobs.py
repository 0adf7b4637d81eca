"""Which pictures a command takes, where each result goes and which mask belongs to it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image, JpegImagePlugin

from irae.batch.outcome import Outcome
from irae.batch.remote import Files, find_urls, local_path
from irae.errors import IraeError, PictureError, UsageError, for_command_line
from irae.imaging.io.encode import LOSSY_SUFFIXES, PICTURE_SUFFIXES
from irae.imaging.io.files import MASK_MARK, RESTORED_MARK, find_pictures, walk_pictures


@dataclass(frozen=True)
class Found:
    """A picture that was found, and the subfolder it had below the input that named it."""

    path: Path
    subfolder: Path = Path()

    @property
    def relative(self) -> str:
        """Its place below that input, the same on every machine."""
        return (self.subfolder / self.path.name).as_posix()


@dataclass(frozen=True)
class Job:
    """One picture to work on: where it comes from, where the result goes, its mask if any.

    Attributes:
        source: the picture's file.
        target: where the result goes.
        mask: the mask's file.
        task: what to undo in this very picture; none: what is asked for of all, or chosen.
        relative: the target below the output folder, where there is one.
        stamp: what `Files.stamp` said of the source when it was listed.
        replaces: the target may be there already.
    """

    source: Path
    target: Path
    mask: Path | None = None
    task: str | None = None
    relative: str = ""
    stamp: str | None = None
    replaces: bool = False


@dataclass
class Plan:
    """The jobs of a command, the inputs that dropped out, and remarks for the user.

    ``done`` is what an earlier run did. ``places`` has `Found.relative` of each picture among
    ``failures``, by its path.
    """

    jobs: list[Job] = field(default_factory=list)
    failures: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    done: list[Outcome] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def part(self, number: int, count: int) -> Plan:
        """One of ``count`` parts that have no picture in common, whoever makes them.

        What is no single picture, such as an input that is missing, is in every part.
        """

        def belongs(relative: str | None) -> bool:
            if relative is None:
                return True
            digest = hashlib.sha256(os.fsencode(relative)).digest()
            return int.from_bytes(digest[:8]) % count == number - 1

        return Plan(
            [job for job in self.jobs if belongs(job.relative)],
            [failure for failure in self.failures if belongs(self.places.get(failure.input))],
            self.notes,
        )


def collect_pictures(
    inputs: Sequence[str],
    *,
    recursive: bool = False,
    skip_marks: Sequence[str] = (),
    skip_folder: Path | None = None,
    files: Files | None = None,
) -> tuple[list[Found], list[Outcome]]:
    """Expand files, globs, folders and URLs of such to pictures; each is taken once.

    Args:
        inputs: what the user named.
        recursive: go into subfolders of folders.
        skip_marks: a picture ``NAME.MARK.SUFFIX`` out of a folder or glob is left out. A file
            that is named outright is always taken.
        skip_folder: pictures below this folder are left out (where results of an earlier run
            lie), unless the folder itself is the input.
        files: gives paths to URLs; without it there are none.
    """
    found: dict[Path, Found] = {}
    failures = []
    for name in inputs:
        try:
            inside = _expand(name, recursive, files)
        except IraeError as error:
            failures.append(Outcome(name, error=for_command_line(str(error))))
            continue
        failures.extend(inside.failures)
        root = inside.root
        for path in inside.paths:
            below = path.parent.relative_to(root) if root is not None else Path()
            if not inside.outright and (
                Path(path.stem).suffix.lower() in skip_marks or _lies_below(path, skip_folder, root)
            ):
                continue
            found.setdefault(path.resolve(), Found(path, below))
    return list(found.values()), failures


class _Inside(NamedTuple):
    """What an input names: pictures, the folder they are in if it is one, names at fault."""

    paths: list[Path]
    root: Path | None
    outright: bool
    failures: Sequence[Outcome] = ()


def _expand(name: str, recursive: bool, files: Files | None) -> _Inside:
    path = Path(name) if files is None else local_path(name)
    if path is not None:
        paths = find_pictures([path], recursive=recursive)
        return _Inside(paths, path if path.is_dir() else None, path.is_file())
    assert files is not None
    urls, is_folder = find_urls(name, recursive=recursive)
    paths, failures = [], []
    for url in urls:
        try:
            paths.append(files.path_for(url))
        except PictureError as error:
            failures.append(Outcome(url, error=for_command_line(str(error))))
    root = files.path_for(name) if is_folder else None
    return _Inside(paths, root, urls == [name], failures)


def _lies_below(path: Path, folder: Path | None, root: Path | None) -> bool:
    if folder is None or (root is not None and folder.resolve() == root.resolve()):
        return False
    return path.resolve().is_relative_to(folder.resolve())


def is_picture_name(path: Path) -> bool:
    """Whether ``-o`` names a picture rather than a folder.

    Raises:
        UsageError: the suffix is that of a picture format which cannot be written.
    """
    if path.is_dir():
        return False
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return True
    if suffix in Image.registered_extensions():
        known = ", ".join(sorted(PICTURE_SUFFIXES))
        raise UsageError(f"{path}: cannot write {suffix} pictures; use one of {known}")
    return False


def plan_outputs(
    found: Sequence[Found],
    out: Path | None,
    *,
    mark: str = RESTORED_MARK,
    overwrite: bool = False,
    exact: bool = False,
    masks: Path | None = None,
    keeps_manifest: bool = False,
) -> Plan:
    """Give each picture its output, and its mask when there are masks.

    Args:
        found: the pictures (see `collect_pictures`).
        out: a picture name (for one picture only), a folder (created when needed), or none:
            then ``NAME.MARK.SUFFIX`` beside the source.
        mark: what the default name is marked with.
        overwrite: whether an existing output may be replaced.
        exact: pixels must come out as computed: pictures in lossy formats become PNG (TIFF when
            they are CMYK), unless ``out`` names a lossy file.
        masks: a mask for all pictures, or a folder with a mask of each picture's name.
        keeps_manifest: ``out`` is a folder whose manifest tells which outputs may be replaced;
            they are not looked at.

    Raises:
        UsageError: ``out`` names one picture but there are several.
    """
    single = out is not None and is_picture_name(out)
    if single and len(found) > 1:
        raise UsageError(f"{out}: one output for {len(found)} pictures; let -o name a folder")
    plan = Plan()
    sources = {picture.path.resolve() for picture in found}
    taken: dict[Path, Path] = {}
    for picture in found:
        try:
            target = _target(picture, out, single, mark, exact)
            _check_target(
                picture.path, target, sources, taken, overwrite or keeps_manifest, named=single
            )
            mask = None if masks is None else find_mask(picture, masks)
        except IraeError as error:
            plan.failures.append(Outcome(str(picture.path), error=for_command_line(str(error))))
            plan.places[str(picture.path)] = picture.relative
            continue
        taken[target.resolve()] = picture.path
        if exact:
            plan.notes.extend(_exactness_notes(picture.path, target))
        relative = (picture.subfolder / target.name).as_posix()
        plan.jobs.append(Job(picture.path, target, mask, relative=relative))
    return plan


def _target(picture: Found, out: Path | None, single: bool, mark: str, exact: bool) -> Path:
    if out is not None and single:
        return out
    source = picture.path
    suffix = _lossless_suffix(source) if exact else source.suffix
    if out is None:
        return source.with_name(f"{source.stem}{mark}{suffix}")
    return out / picture.subfolder / f"{source.stem}{suffix}"


def _lossless_suffix(source: Path) -> str:
    """The suffix of a format that gives back exactly what the source's format can hold."""
    if source.suffix.lower() not in LOSSY_SUFFIXES:
        return source.suffix
    try:
        with JpegImagePlugin.JpegImageFile(source) as image:
            return ".tif" if image.mode == "CMYK" else ".png"
    except (OSError, SyntaxError, ValueError):
        return ".png"  # Not a JPEG, so RGB; and if it is no picture, reading it will say so.


def _check_target(
    source: Path,
    target: Path,
    sources: set[Path],
    taken: dict[Path, Path],
    overwrite: bool,
    *,
    named: bool,
) -> None:
    if target.suffix.lower() not in PICTURE_SUFFIXES:
        raise PictureError(
            f"{source}: cannot write {target.name}, its suffix is not one of"
            f" {' '.join(sorted(PICTURE_SUFFIXES))}; name a .png with -o"
        )
    resolved = target.resolve()
    if resolved in taken:
        raise PictureError(
            f"{source}: its output {target} is already that of {taken[resolved]};"
            " use --recursive on their common folder, or another -o"
        )
    if resolved in sources and not (named and resolved == source.resolve()):
        raise PictureError(f"{source}: its output {target} is an input; use another -o")
    if target.exists() and not overwrite:
        raise PictureError(
            f"{target}: exists already; use --overwrite to replace it, or another -o"
        )


def _exactness_notes(source: Path, target: Path) -> list[str]:
    if target.suffix.lower() in LOSSY_SUFFIXES:
        return [f"{target}: a lossy format, which changes all pixels a little; .png keeps them"]
    if target.suffix.lower() != source.suffix.lower():
        return [f"{source}: written as {target}, since {source.suffix} would change all pixels"]
    return []


def find_mask(picture: Found, masks: Path) -> Path:
    """The mask of a picture: ``masks`` itself, or ``NAME.mask.SUFFIX`` or ``NAME.SUFFIX`` in it.

    In a folder of masks the picture's own subfolder is looked through first.

    Raises:
        PictureError: there is none, or more than one.
    """
    if not masks.is_dir():
        return masks
    stem = picture.path.stem
    for folder in dict.fromkeys((masks / picture.subfolder, masks)):
        if not folder.is_dir():
            continue
        for name in (stem + MASK_MARK, stem):
            fitting = [
                path
                for path in sorted(walk_pictures(folder))
                if path.stem == name and path.resolve() != picture.path.resolve()
            ]
            if len(fitting) > 1:
                raise PictureError(
                    f"{picture.path}: two masks of its name, {fitting[0]} and {fitting[1]};"
                    " remove one"
                )
            if fitting:
                return fitting[0]
    raise PictureError(f"{picture.path}: no mask in {masks}; it should be named {stem}.png")
