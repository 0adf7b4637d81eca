"""Fetch a data set: a resumable download with checks, and unpacking that leaves nothing half-made.

What torchvision has, torchvision fetches; the rest comes from the owner's own address.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib
import importlib.util
import os
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from irae.data.check import Contents, open_all
from irae.data.registry import Archive, DataSource, data_root, find_source
from irae.errors import DataError

_TIMEOUT = 60.0  # seconds without a byte before a connection counts as cut
_FRUITLESS_ATTEMPTS = 5
_UNPACKING_ERRORS = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error)

Say = Callable[[str], None]


class _InterruptedError(Exception):
    """A download that broke off and may be taken up again.

    ``answered`` tells whether there was a server at all.
    """

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


def download(name: str, *, root: Path | None = None, say: Say = lambda line: None) -> Contents:
    """Fetch and unpack a named set below the data root, then open it.

    A set that is already there and whole is left alone. What an interrupted call has fetched is
    used by the next one.

    Args:
        name: a name of ``irae.data.registry.REGISTRY``.
        root: where data sets lie; None for ``$IRAE_DATA``, else ``./data``.
        say: called with lines about what is going on.

    Raises:
        DataError: the name is unknown, the network or the server fails, a size or checksum is
            wrong, or an incomplete set is in the way.
    """
    source = find_source(name)
    where = data_root(root)
    target = where / source.folder
    if os.path.lexists(target):
        contents = open_all(name, where)
        if contents.problems:
            raise DataError(
                f"{target} is in the way and not whole ({contents.problems[0]}); move it away "
                f"and run `irae data download {name}` again"
            )
        say(f"{target} is already there")
        return contents
    where.mkdir(parents=True, exist_ok=True)
    if source.archive is not None:
        _fetch_and_unpack(source, source.archive, where, say)
    else:
        _fetch_with_torchvision(source, where)
    contents = open_all(name, where)
    if contents.problems:
        raise DataError(contents.problems[0])
    return contents


def _fetch_and_unpack(source: DataSource, archive: Archive, where: Path, say: Say) -> None:
    path = where / archive.url.rsplit("/", 1)[-1]
    brought_along = path.exists()
    fetch(archive.url, path, size=archive.size, md5=archive.md5, say=say)
    unpack(path, where, source.folder)
    if not brought_along:
        path.unlink()


def fetch(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    say: Say = lambda line: None,
    pause: float = 1.0,
) -> None:
    """Download ``url`` to ``target`` by way of ``target.part``, going on where that ends.

    A cut connection is taken up again with a Range request, at most five times in a row without
    progress; a server that ignores Range is read from the start. A ``target`` that is already
    there is checked and kept.

    Args:
        url: http or https.
        target: the file to make.
        size: its length in bytes, if known.
        md5: its checksum in hexadecimal, if known.
        say: called with a line before each new attempt.
        pause: seconds before the second attempt, doubled for each further one.

    Raises:
        DataError: no network, an answer such as 404, or a wrong size or checksum.
    """
    if target.exists():
        if md5 is not None and _md5(target) != md5:
            raise DataError(f"{target} has not the checksum {md5}; remove it and run again")
        return
    part = target.with_name(target.name + ".part")
    if size is not None and _length(part) > size:
        part.unlink()
    _need_space(target.parent, (size or 0) - _length(part))
    started_at = best = _length(part)
    fruitless = 0
    # disable=None: no bar where stderr is a file.
    with tqdm(total=size, unit="B", unit_scale=True, desc=target.name, disable=None) as bar:
        while size is None or _length(part) < size:
            try:
                _receive(url, part, size, bar)
                break
            except _InterruptedError as error:
                length = _length(part)
                fruitless = 0 if length > best else fruitless + 1
                best = max(best, length)
                # Nothing at all behind the address: most likely no network, and waiting is no use.
                hopeless = not error.answered and best == started_at
                if hopeless or fruitless >= _FRUITLESS_ATTEMPTS:
                    kept = f" ({length:,} bytes are kept)" if length else ""
                    raise DataError(
                        f"{url} cannot be fetched: {error}; run the command again to go on{kept}, "
                        f"or put the file at {target} by hand"
                    ) from None
                say(f"{url}: {error}; going on at byte {length:,}")
                time.sleep(pause * 2**fruitless)
    if md5 is not None and (found := _md5(part)) != md5:
        part.unlink()
        raise DataError(
            f"{url} has checksum {found}, expected {md5}; what was fetched is deleted, run the "
            f"command again"
        )
    os.replace(part, target)


def _receive(url: str, part: Path, size: int | None, bar: tqdm[Any]) -> None:
    """One connection: append to ``part`` until all is there, else raise ``_InterruptedError``."""
    offset = _length(part)
    request = urllib.request.Request(url, headers={"User-Agent": "irae"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:
            # The partial file reaches past the end of this one: it is of another version.
            part.unlink()
            return _receive(url, part, size, bar)
        reason = f"the server answers {error.code} {error.reason}"
        if error.code in (408, 429) or error.code >= 500:
            raise _InterruptedError(reason, answered=True) from None
        raise DataError(f"{url} cannot be fetched: {reason}; see whether it has moved") from None
    except (OSError, http.client.HTTPException) as error:
        answered = not isinstance(error, urllib.error.URLError)
        raise _InterruptedError(_reason(error), answered=answered) from None
    with response:
        start, total = _extent(response)
        if start not in (0, offset):
            raise DataError(f"{url}: asked for byte {offset:,}, the server sends byte {start:,}")
        if size is not None and total is not None and total != size:
            raise DataError(
                f"{url} has {total:,} bytes, expected {size:,}: its owner has changed it; get the "
                f"set by hand"
            )
        bar.total, bar.n = total if size is None else size, start
        bar.refresh()
        with part.open("ab" if start else "wb") as sink:
            _copy(response, sink, bar)
    # A cut connection of known length simply ends; only the count shows it.
    expected = total if size is None else size
    if expected is not None and _length(part) < expected:
        raise _InterruptedError("the connection was cut", answered=True)


def _copy(response: http.client.HTTPResponse, sink: Any, bar: tqdm[Any]) -> None:
    while True:
        # Only reading is guarded: a full disk must not pass for a cut connection.
        try:
            # read1 hands over what has come, so that a timeout loses nothing.
            block = response.read1(1 << 18)
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedError(_reason(error), answered=True) from None
        if not block:
            return
        sink.write(block)
        bar.update(len(block))


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """First byte that the response carries, and the length of the whole file if it says."""
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None:
            raise DataError(f"{response.url}: the server's answer to a Range request is malformed")
        return int(span[1]), None if span[2] == "*" else int(span[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def unpack(archive: Path, where: Path, folder: str) -> None:
    """Unpack the ``folder`` of a tar archive to ``where / folder``, which appears whole or not.

    Members that would land outside are refused (the ``data`` filter of PEP 706).

    Raises:
        DataError: the archive is damaged or unsafe, or has no such folder.
    """
    if not hasattr(tarfile, "data_filter"):
        raise DataError(f"Python 3.11.4 or later is needed to unpack {archive} safely")
    staging = where / f".{folder}.unpacking"
    _clear(staging)  # what a killed run has left
    staging.mkdir()
    try:
        with tarfile.open(archive) as tar:
            members = tqdm(tar, unit=" files", desc=f"unpacking {archive.name}", disable=None)
            tar.extractall(staging, members=members, filter="data")
        if not (staging / folder).is_dir():
            raise DataError(f"{archive} has no folder {folder}/; remove it and run again")
        os.replace(staging / folder, where / folder)
    except _UNPACKING_ERRORS as error:
        raise DataError(
            f"{archive} cannot be unpacked ({_reason(error)}); remove it and run again"
        ) from None
    finally:
        _clear(staging)


def _fetch_with_torchvision(source: DataSource, where: Path) -> None:
    if source.torchvision_class is None:
        raise DataError(
            f"{source.title} cannot be fetched by irae; get it by hand from {source.address} "
            "(layout: data/README.md)"
        )

    from torchvision import datasets

    # In a folder of its own, so that a killed run leaves no half set at the final place. It stays
    # after a failure if anything arrived, so that no archive is fetched twice.
    staging = where / f".{source.folder}.download"
    staged = staging / source.folder
    if staged.is_dir():
        for entry in staged.iterdir():
            # A half-unpacked folder would pass torchvision's own check.
            if entry.is_dir():
                shutil.rmtree(entry)
    staging.mkdir(exist_ok=True)
    kind = getattr(datasets, source.torchvision_class)
    try:
        # torchvision and gdown talk on stdout, which is kept for data.
        with contextlib.redirect_stdout(sys.stderr):
            kind(staging, download=True)
    except _torchvision_errors() as error:
        if not any(entry.is_file() for entry in staging.rglob("*")):
            _clear(staging)
        raise DataError(
            f"torchvision could not fetch {source.title}: {_reason(error)}; run the command again, "
            f"or get it by hand from {source.address} (layout: data/README.md)"
        ) from None
    for archive in (*staged.glob("*.zip"), *staged.glob("*.tgz")):
        archive.unlink()
    os.replace(staged, where / source.folder)
    _clear(staging)


def _torchvision_errors() -> tuple[type[Exception], ...]:
    """What torchvision lets through when a download fails."""
    errors = (RuntimeError, OSError, http.client.HTTPException, *_UNPACKING_ERRORS)
    if importlib.util.find_spec("gdown") is None:
        return errors
    # gdown's own exceptions derive from nothing narrower than Exception.
    names = vars(importlib.import_module("gdown.exceptions")).values()
    own = (kind for kind in names if isinstance(kind, type) and issubclass(kind, Exception))
    return (*errors, *own)


def _reason(error: BaseException) -> str:
    """One line on why: without urllib's wrapping, without the lines after the first."""
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        error = error.reason if isinstance(error.reason, BaseException) else error
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .") if lines else type(error).__name__


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        # Against damage, not against an adversary; FIPS builds refuse md5 otherwise.
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _need_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise DataError(
            f"{folder} has {free:,} bytes free, the download needs {wanted:,}; choose another "
            f"place with --root"
        )


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
