"""Downloading data sets: resumable, with checks, and unpacked completely or not at all.

Sets that torchvision has are fetched by torchvision, the others from their owner's address.
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
from typing import Any, get_args

from tqdm import tqdm

from irae.data.check import Contents, open_all
from irae.data.folder import Split
from irae.data.idx import IDX_SETS, open_idx
from irae.data.registry import Archive, DataSource, data_root, find_source
from irae.errors import DataError

_TIMEOUT = 60.0  # seconds without data before a connection counts as cut
_FRUITLESS_ATTEMPTS = 5
_UNPACKING_ERRORS = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error)

Say = Callable[[str], None]


class _InterruptedError(Exception):
    """A download was interrupted and may be resumed; ``answered`` if the server responded."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


def download(name: str, *, root: Path | None = None, say: Say = lambda line: None) -> Contents:
    """Download and unpack a registered set below the data root, then open it.

    A set that is already complete is left unchanged. An interrupted download is resumed by the
    next call.

    Args:
        name: a name in ``irae.data.registry.REGISTRY``.
        root: root folder of the data; None for ``$IRAE_DATA``, else ``./data``.
        say: called with lines about the progress.

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


def download_idx(name: str, *, root: Path | None = None) -> int:
    """Download a set of `irae.data.idx.IDX_SETS` through torchvision, below the data root.

    Files that are there are kept; torchvision checks their checksums.

    Returns:
        The number of pictures of all parts.

    Raises:
        DataError: the network or the server fails, or a checksum is wrong.
    """
    from torchvision import datasets

    source, where = IDX_SETS[name], data_root(root)
    where.mkdir(parents=True, exist_ok=True)
    kind = getattr(datasets, source.torchvision_class)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            kind(where, download=True)
    except _torchvision_errors() as error:
        raise DataError(
            f"torchvision could not fetch {source.title}: {_reason(error)}; run the command again, "
            f"or get it by hand from {source.address}"
        ) from None
    return sum(len(open_idx(name, where, split)) for split in get_args(Split))


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
    """Download ``url`` to ``target`` by way of ``target.part``, which is resumed if it exists.

    After a cut connection the download resumes with a Range request, at most five times in a row
    without progress; if the server ignores Range, it starts again. An existing ``target`` is
    checked and kept.

    Args:
        url: http or https address.
        target: path of the file to make.
        size: length of the file in bytes, if known.
        md5: checksum of the file in hexadecimal, if known.
        say: called with a line before each new attempt.
        pause: seconds before the second attempt, doubled for each further one.

    Raises:
        DataError: there is no network, the server answers with an error such as 404, or the size
            or the checksum is wrong.
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
    # disable=None shows no bar if stderr is a file.
    with tqdm(total=size, unit="B", unit_scale=True, desc=target.name, disable=None) as bar:
        while size is None or _length(part) < size:
            try:
                _receive(url, part, size, bar)
                break
            except _InterruptedError as error:
                length = _length(part)
                fruitless = 0 if length > best else fruitless + 1
                best = max(best, length)
                # Without any answer there is most likely no network, and waiting does not help.
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
    """Open one connection and append to ``part``; raise `_InterruptedError` if it is cut."""
    offset = _length(part)
    request = urllib.request.Request(url, headers={"User-Agent": "irae"})
    if offset:
        request.add_header("Range", f"bytes={offset}-")
    try:
        response = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and offset:
            # The partial file is longer than the whole file, so it is of another version.
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
    # A cut connection of known length simply ends; only the number of bytes shows it.
    expected = total if size is None else size
    if expected is not None and _length(part) < expected:
        raise _InterruptedError("the connection was cut", answered=True)


def _copy(response: http.client.HTTPResponse, sink: Any, bar: tqdm[Any]) -> None:
    while True:
        # Only reading is guarded: a full disk must not be mistaken for a cut connection.
        try:
            # read1 returns the data received so far, so that a timeout loses nothing.
            block = response.read1(1 << 18)
        except (OSError, http.client.HTTPException) as error:
            raise _InterruptedError(_reason(error), answered=True) from None
        if not block:
            return
        sink.write(block)
        bar.update(len(block))


def _extent(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Return the first byte in the response, and the length of the whole file if it is stated."""
    if response.status == 206:
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None:
            raise DataError(f"{response.url}: the server's answer to a Range request is malformed")
        return int(span[1]), None if span[2] == "*" else int(span[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def unpack(archive: Path, where: Path, folder: str) -> None:
    """Unpack the ``folder`` of a tar archive to ``where / folder``, completely or not at all.

    Members with paths outside are refused (the ``data`` filter of PEP 706).

    Raises:
        DataError: the archive is damaged or unsafe, or has no such folder.
    """
    if not hasattr(tarfile, "data_filter"):
        raise DataError(f"Python 3.11.4 or later is needed to unpack {archive} safely")
    staging = where / f".{folder}.unpacking"
    _clear(staging)  # left by a killed run
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

    # In a separate folder, so that a killed run leaves no partial set at the final place. It stays
    # after a failure if any file arrived, so that no archive is fetched twice.
    staging = where / f".{source.folder}.download"
    staged = staging / source.folder
    if staged.is_dir():
        for entry in staged.iterdir():
            # A partially unpacked folder would pass torchvision's own check.
            if entry.is_dir():
                shutil.rmtree(entry)
    staging.mkdir(exist_ok=True)
    kind = getattr(datasets, source.torchvision_class)
    try:
        # torchvision and gdown print on stdout, which is reserved for data.
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
    """Return the errors that torchvision raises when a download fails."""
    errors = (RuntimeError, OSError, http.client.HTTPException, *_UNPACKING_ERRORS)
    if importlib.util.find_spec("gdown") is None:
        return errors
    # gdown's own exceptions have no base class narrower than Exception.
    names = vars(importlib.import_module("gdown.exceptions")).values()
    own = (kind for kind in names if isinstance(kind, type) and issubclass(kind, Exception))
    return (*errors, *own)


def _reason(error: BaseException) -> str:
    """Return the first line of an error's message, without urllib's wrapping."""
    if isinstance(error, urllib.error.URLError) and not isinstance(error, urllib.error.HTTPError):
        error = error.reason if isinstance(error.reason, BaseException) else error
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(" .") if lines else type(error).__name__


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        # Used against damage, not against an adversary; FIPS builds refuse md5 otherwise.
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
