"""Planning a batch: the pictures that a command takes, their outputs and their masks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from irae.batch.outcome import Outcome
from irae.batch.remote import Files, find_urls, local_path
from irae.errors import IraeError, PictureError, UsageError, for_command_line
from irae.imaging.io.changes import lossless_suffix
from irae.imaging.io.encode import LOSSY_SUFFIXES, PICTURE_SUFFIXES
from irae.imaging.io.files import MASK_MARK, RESTORED_MARK
from irae.imaging.io.find import describe_foreign, find_pictures, walk_pictures
from irae.imaging.io.kinds import HEIF_SUFFIXES, can_read_heif, foreign_suffixes

STREAM = "-"
"""The name that stands for standard input and standard output."""


@dataclass(frozen=True)
class Found:
    """A picture that was found, and its subfolder below the input that named it."""

    path: Path
    subfolder: Path = Path()

    @property
    def relative(self) -> str:
        """Path relative to that input, the same on every machine."""
        return (self.subfolder / self.path.name).as_posix()


@dataclass(frozen=True)
class Job:
    """One picture to work on: its source, its target and its mask if any.

    Attributes:
        source: path of the picture.
        target: path of the result.
        mask: path of the mask.
        task: the task for this picture; None stands for the batch's task or a chosen one.
        relative: the target relative to the output folder, if there is one.
        stamp: `Files.stamp` of the source when it was listed.
        replaces: whether an existing target may be replaced.
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
    """The jobs of a command, the inputs that failed already, and notes for the user.

    ``done`` has the outcomes of an earlier run. ``places`` maps the path of each picture among
    ``failures`` to its `Found.relative`.
    """

    jobs: list[Job] = field(default_factory=list)
    failures: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    done: list[Outcome] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def part(self, number: int, count: int) -> Plan:
        """Return one of ``count`` disjoint parts, which are the same on every machine.

        A failure that is not about one picture, such as a missing input, is in every part.
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
    skip_file: Path | None = None,
    files: Files | None = None,
    note: Callable[[str], None] = lambda line: None,
) -> tuple[list[Found], list[Outcome]]:
    """Expand files, globs, folders and URLs of these to pictures, each taken once.

    Args:
        inputs: paths, globs, folders and URLs from the user.
        recursive: also search the subfolders of folders.
        skip_marks: marks of pictures ``NAME.MARK.SUFFIX`` to leave out of folders and globs. A
            file that is named explicitly is always taken.
        skip_folder: folder with the results of an earlier run, whose pictures are left out unless
            it is an input itself.
        skip_file: a file that is left out of folders and globs, such as the mask of all pictures.
        files: assigns paths to URLs; without it, URLs are not recognised.
        note: called with a line about links that are left out, because the picture that they lead
            to is taken already or because they lead nowhere, and about pictures in folders that
            cannot be read.

    Returns:
        The pictures, and the inputs that failed.
    """
    found: dict[Path, Found] = {}
    failures = []
    for name in inputs:
        try:
            inside = _expand(name, recursive, files, note)
        except IraeError as error:
            failures.append(Outcome(name, error=for_command_line(str(error))))
            continue
        failures.extend(inside.failures)
        root = inside.root
        for path in inside.paths:
            below = path.parent.relative_to(root) if root is not None else Path()
            if not inside.outright and (
                Path(path.stem).suffix.lower() in skip_marks
                or _lies_below(path, skip_folder, root)
                or (skip_file is not None and path.resolve() == skip_file.resolve())
            ):
                continue
            _take(found, Found(path, below), note)
    return list(found.values()), failures


def _take(found: dict[Path, Found], picture: Found, note: Callable[[str], None]) -> None:
    """Add a picture, unless it is there; of a file and links to it, the file is taken."""
    real = picture.path.resolve()
    other = found.get(real)
    if other is None:
        found[real] = picture
        return
    link = picture
    if other.path.is_symlink() and not picture.path.is_symlink():
        found[real], link = picture, other
    if link.path.absolute() != found[real].path.absolute():
        note(f"{link.path}: is the same file as {found[real].path}, which is taken once")


class _Inside(NamedTuple):
    """The pictures of one input, its path if it is a folder, and the names that failed."""

    paths: list[Path]
    root: Path | None
    outright: bool
    failures: Sequence[Outcome] = ()


def _note_broken(link: Path, named: Path, note: Callable[[str], None]) -> None:
    # A link that was named itself fails like any other file that is not there.
    if link != named:
        note(f"{link}: is a link to nothing; passed over")


def _expand(
    name: str, recursive: bool, files: Files | None, note: Callable[[str], None]
) -> _Inside:
    path = Path(name) if files is None else local_path(name)
    if path is not None:
        _note_foreign(path, recursive, note)
        paths = find_pictures(
            [path],
            recursive=recursive,
            on_broken_link=lambda link: _note_broken(link, path, note),
        )
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


def _note_foreign(folder: Path, recursive: bool, note: Callable[[str], None]) -> None:
    """Say how many pictures in a folder are passed over because they cannot be read."""
    if not folder.is_dir():
        return
    suffixes = foreign_suffixes()
    try:
        passed = list(
            walk_pictures(folder, recursive=recursive, follow_links=True, suffixes=suffixes)
        )
    except OSError:
        return  # Searching for pictures reports the error.
    if passed:
        kinds = sorted({path.suffix.lower() for path in passed})
        hint = "; pip install 'irae[heif]' reads HEIC" if HEIF_SUFFIXES & set(kinds) else ""
        files = "1 file" if len(passed) == 1 else f"{len(passed)} files"
        note(f"{folder}: {files} passed over that cannot be read ({' '.join(kinds)}){hint}")


def _lies_below(path: Path, folder: Path | None, root: Path | None) -> bool:
    if folder is None or (root is not None and folder.resolve() == root.resolve()):
        return False
    return path.resolve().is_relative_to(folder.resolve())


def is_picture_name(out: str | Path) -> bool:
    """Whether ``-o`` names a picture rather than a folder.

    A name is that of a folder if the folder exists, or if it ends in a slash or has no suffix (a
    suffix of digits, as in ``v1.2``, is none).

    Raises:
        UsageError: the suffix is that of no picture that can be written.
    """
    name, path = str(out), Path(out)
    if path.is_dir() or name.endswith(("/", os.sep)):
        return False
    if name == STREAM:
        raise UsageError("-o -: only irae restore writes to standard output; name a file or folder")
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return True
    # Digits after a dot belong to a version or a date.
    if not suffix or suffix[1:].isdigit():
        return False
    known = " ".join(sorted(PICTURE_SUFFIXES))
    if suffix in Image.registered_extensions() or suffix in HEIF_SUFFIXES:
        raise UsageError(f"{out}: cannot write {suffix} pictures; use one of {known}")
    raise UsageError(
        f"{out}: {suffix} is no suffix of a picture; use one of {known}, or add a slash to make a"
        " folder of this name"
    )


def plan_outputs(
    found: Sequence[Found],
    out: Path | None,
    *,
    single: bool | None = None,
    mark: str = RESTORED_MARK,
    overwrite: bool = False,
    exact: bool = False,
    masks: Path | None = None,
    keeps_manifest: bool = False,
    suffix: str | None = None,
) -> Plan:
    """Assign an output to each picture, and a mask if there are masks.

    Args:
        found: the pictures (see `collect_pictures`).
        out: a picture name (for one picture only), a folder (created when needed), or None for
            ``NAME.MARK.SUFFIX`` beside the source.
        single: whether ``out`` is a picture name; None asks `is_picture_name`, which cannot know
            of a slash that a path has lost.
        mark: mark in the default name.
        overwrite: whether an existing output may be replaced.
        exact: keep pixels exactly as computed: pictures in lossy formats become PNG (TIFF if
            they are CMYK), unless ``out`` names a lossy file.
        masks: a mask for all pictures, or a folder with a mask of each picture's name.
        keeps_manifest: whether ``out`` is a folder whose manifest decides which outputs may be
            replaced; existing outputs are not checked here.
        suffix: suffix of the results; None stands for that of each source.

    Raises:
        UsageError: ``out`` names one picture but there are several.
    """
    if single is None:
        single = out is not None and is_picture_name(out)
    if single and len(found) > 1:
        raise UsageError(f"{out}: one output for {len(found)} pictures; let -o name a folder")
    plan = Plan()
    sources = {picture.path.resolve() for picture in found}
    taken: dict[Path, Path] = {}
    for picture in found:
        try:
            target = _target(picture, None if single else out, mark, exact, suffix)
            target = out if single and out is not None else target
            _check_target(
                picture.path, target, sources, taken, overwrite or keeps_manifest, named=single
            )
            mask = None if masks is None else find_mask(picture, masks)
        except IraeError as error:
            plan.failures.append(Outcome(str(picture.path), error=for_command_line(str(error))))
            plan.places[str(picture.path)] = picture.relative
            continue
        taken[target.resolve()] = picture.path
        if exact or (not single and picture.path.suffix.lower() in HEIF_SUFFIXES):
            plan.notes.extend(_exactness_notes(picture.path, target))
        relative = (picture.subfolder / target.name).as_posix()
        plan.jobs.append(Job(picture.path, target, mask, relative=relative))
    return plan


def _target(picture: Found, out: Path | None, mark: str, exact: bool, suffix: str | None) -> Path:
    """Return the default path of a result, beside its source or in the folder ``out``."""
    source = picture.path
    if suffix is None:
        # HEIC is read but not written.
        lossless = exact or (source.suffix.lower() in HEIF_SUFFIXES and can_read_heif())
        suffix = lossless_suffix(source) if lossless else source.suffix
    if out is None:
        return source.with_name(f"{source.stem}{mark}{suffix}")
    return out / picture.subfolder / f"{source.stem}{suffix}"


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
        kind = describe_foreign(source)
        if kind is not None:
            raise PictureError(f"{source}: is {kind}")
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
        if source.suffix.lower() in HEIF_SUFFIXES:
            return [f"{source}: written as {target}, since irae does not write {source.suffix}"]
        return [f"{source}: written as {target}, since {source.suffix} would change all pixels"]
    return []


def find_mask(picture: Found, masks: Path) -> Path:
    """Find a picture's mask: ``masks``, or ``NAME.mask.SUFFIX`` or ``NAME.SUFFIX`` in that folder.

    In a folder of masks, the picture's own subfolder is searched first.

    Raises:
        PictureError: there is no mask, or more than one.
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
