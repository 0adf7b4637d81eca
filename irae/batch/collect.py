"""Finding the pictures that a command takes: files, globs, folders, and URLs of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from irae.batch.outcome import Outcome
from irae.batch.remote import Files, find_urls, local_path
from irae.errors import IraeError, PictureError, for_command_line
from irae.imaging.io.find import find_pictures, walk_pictures
from irae.imaging.io.kinds import HEIF_SUFFIXES, foreign_suffixes


@dataclass(frozen=True)
class Found:
    """A picture that was found, and its subfolder below the input that named it."""

    path: Path
    subfolder: Path = Path()

    @property
    def relative(self) -> str:
        """Path relative to that input, the same on every machine."""
        return (self.subfolder / self.path.name).as_posix()


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
