"""Planning a batch: the outputs and the masks of the pictures that a command takes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from PIL import Image

from irae.batch.collect import Found
from irae.batch.outcome import Outcome
from irae.errors import IraeError, PictureError, UsageError, for_command_line
from irae.imaging.io.changes import lossless_suffix
from irae.imaging.io.encode import LOSSY_SUFFIXES, PICTURE_SUFFIXES
from irae.imaging.io.files import MASK_MARK, RESTORED_MARK
from irae.imaging.io.find import describe_foreign, walk_pictures
from irae.imaging.io.kinds import HEIF_SUFFIXES, can_read_heif

STREAM = "-"
"""The name that stands for standard input and standard output."""


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
        copy: target of a copy of the source if nothing in it changes; None stands for ``target``.
        notes: lines for the user if the result is written to ``target``.
    """

    source: Path
    target: Path
    mask: Path | None = None
    task: str | None = None
    relative: str = ""
    stamp: str | None = None
    replaces: bool = False
    copy: Path | None = None
    notes: tuple[str, ...] = ()

    def as_copy(self) -> Job:
        """Return the job with the target and without the notes of a picture that stays as it is."""
        if self.copy is None:
            return replace(self, notes=())
        relative = Path(self.relative).with_name(self.copy.name).as_posix()
        return replace(self, target=self.copy, relative=relative, copy=None, notes=())


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
            copy = None
            if not single and suffix is None:
                copy = _copy_target(picture.path, target, sources, taken)
            mask = None if masks is None else find_mask(picture, masks)
        except IraeError as error:
            plan.failures.append(Outcome(str(picture.path), error=for_command_line(str(error))))
            plan.places[str(picture.path)] = picture.relative
            continue
        taken |= {path.resolve(): picture.path for path in (target, copy) if path is not None}
        # Of a format that was asked for, only what it loses is said.
        named = single or suffix is not None
        noted = exact or (not single and picture.path.suffix.lower() in HEIF_SUFFIXES)
        plan.jobs.append(
            Job(
                picture.path,
                target,
                mask,
                relative=(picture.subfolder / target.name).as_posix(),
                copy=copy,
                notes=_exactness_notes(picture.path, target, named=named) if noted else (),
            )
        )
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
    _check_free(source, target, taken)
    resolved = target.resolve()
    if resolved in sources and not (named and resolved == source.resolve()):
        raise PictureError(f"{source}: its output {target} is an input; use another -o")
    if target.exists() and not overwrite:
        raise PictureError(
            f"{target}: exists already; use --overwrite to replace it, or another -o"
        )


def _copy_target(
    source: Path, target: Path, sources: set[Path], taken: dict[Path, Path]
) -> Path | None:
    """Return where a picture is copied that stays as it is; None if that is ``target``.

    It is also None where the copy would be an input.
    """
    copy = target.with_suffix(source.suffix)
    if copy == target or copy.resolve() in sources:
        return None
    _check_free(source, copy, taken)
    return copy


def _check_free(source: Path, target: Path, taken: dict[Path, Path]) -> None:
    if target.resolve() in taken:
        raise PictureError(
            f"{source}: its output {target} is already that of {taken[target.resolve()]};"
            " use --recursive on their common folder, or another -o"
        )


def _exactness_notes(source: Path, target: Path, *, named: bool) -> tuple[str, ...]:
    if target.suffix.lower() in LOSSY_SUFFIXES:
        return (f"{target}: a lossy format, which changes all pixels a little; .png keeps them",)
    if not named and target.suffix.lower() != source.suffix.lower():
        if source.suffix.lower() in HEIF_SUFFIXES:
            return (f"{source}: written as {target}, since irae does not write {source.suffix}",)
        return (f"{source}: written as {target}, since {source.suffix} would change all pixels",)
    return ()


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
    raise PictureError(
        f"{picture.path}: no mask in {masks}; it should be named {stem}.png or"
        f" {stem}{MASK_MARK}.png"
    )
