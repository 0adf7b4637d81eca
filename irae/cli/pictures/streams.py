"""Restoring a picture from standard input, to standard output, or both."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import typer

from irae.batch.jobs import STREAM, is_picture_name
from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.remote import is_url
from irae.batch.restore_files import Request, restore_files
from irae.batch.summary import Summary
from irae.errors import PictureError, PictureFileError, UsageError
from irae.imaging.io.encode import PICTURE_SUFFIXES
from irae.imaging.io.files import suffix_of_content
from irae.imaging.io.limits import check_bytes, max_bytes

_INPUT, _OUTPUT = "standard input", "standard output"


def parse_format(name: str | None, out: str | None) -> str | None:
    """Return the suffix that ``--format`` names, such as ``.png``.

    Raises:
        UsageError: there is no such format, or ``out`` names a picture of another one.
    """
    if name is None:
        return None
    suffix = f".{name.lower().removeprefix('.')}"
    if suffix not in PICTURE_SUFFIXES:
        known = " ".join(sorted(each[1:] for each in PICTURE_SUFFIXES))
        raise UsageError(f"--format {name!r} is unknown; use one of {known}")
    named = out is not None and out != STREAM and not is_url(out) and is_picture_name(out)
    if named and Path(str(out)).suffix.lower() != suffix:
        raise UsageError(f"--format {name}, but -o {out}; drop one of the two")
    return suffix


def check_streams(request: Request, *, undoable: bool, as_json: bool) -> None:
    """Check that a request that names ``-`` is about one picture and that its result has a place.

    Raises:
        UsageError: it is not, or standard output is taken or a terminal.
    """
    if len(request.inputs) > 1:
        raise UsageError("- stands for one picture; give no other input with it")
    if request.part is not None or request.engine != "local":
        raise UsageError("- stands for one picture; drop --shard and --engine")
    if request.out not in (None, STREAM):
        if not is_picture_name(request.out):
            raise UsageError(f"-o {request.out}: a picture from {_INPUT} has no name; give it one")
        return
    if undoable:
        raise UsageError("--undoable writes a second file; name the first one with -o")
    if as_json:
        raise UsageError(f"--json prints on {_OUTPUT}, as -o - does; name a file with -o")
    if sys.stdout.isatty():
        raise UsageError(f"{_OUTPUT} is a terminal; pipe it elsewhere, or name a file with -o")


def restore_stream(request: Request, pool: ModelPool) -> Summary:
    """Restore one picture of which the input, the output or both are ``-``.

    Args:
        request: a request that `check_streams` has passed.
        pool: the models and the options of restoring.

    Raises:
        PictureError: the input is larger than the largest picture, or is a folder.
        UsageError: the options conflict.
    """
    (name,) = request.inputs
    results: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="irae-") as folder:
        source = _fetch(name, Path(folder))
        names = {str(source): _INPUT if name == STREAM else name}
        to_file = request.out not in (None, STREAM)
        summary = restore_files(
            replace(request, inputs=(str(source),), out=request.out if to_file else None),
            pool,
            results.append,
            display_name=lambda text: _display_name(text, names, folder),
        )
        if not to_file:
            for path in Path(folder).glob("*.restored.*"):
                with path.open("rb") as file:
                    shutil.copyfileobj(file, sys.stdout.buffer)
                sys.stdout.buffer.flush()
    if to_file and summary.done:
        typer.echo(request.out)
    return summary


def _fetch(name: str, folder: Path) -> Path:
    """Copy the input to a file in the folder, with the suffix of its format."""
    if name == STREAM:
        data = sys.stdin.buffer.read(max_bytes() + 1)
        check_bytes(len(data), _INPUT)
        if not data:
            raise PictureError(f"{_INPUT}: is empty (0 bytes); pipe a picture into it")
        source = folder / f"input{suffix_of_content(data)}"
        source.write_bytes(data)
        return source
    path = Path(name)
    if is_url(name) or not path.is_file():
        raise PictureFileError(f"{name}: no such picture file; only one can go to {_OUTPUT}")
    source = folder / f"input{path.suffix}"
    shutil.copyfile(path, source)
    return source


def _display_name(text: str, names: dict[str, str], folder: str) -> str:
    """Replace the paths of copies by the names that the user knows."""
    for path, name in names.items():
        text = text.replace(path, name)
    return re.sub(rf"({re.escape(folder)}/)?input\.restored\.\w+", _OUTPUT, text)
