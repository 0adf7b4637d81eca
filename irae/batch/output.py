"""The output folder of a batch, local or at a URL: results appear whole or not at all."""

from __future__ import annotations

import copy
import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import Any, Protocol

from irae.batch.remote import Files, file_stamp, is_url, open_url, store_errors
from irae.errors import PictureError, UsageError
from irae.writing import file_sha256, missing_folders, remove_empty, write_atomically

MANIFEST = "irae-manifest"
"""The beginning of the names of all manifests."""

STAGING = ".irae-staging"
"""The folder of staged results, which are not yet entered in the manifest."""


class OutputFolder(Protocol):
    """The interface of a folder that a batch writes to.

    A result and the files beside it are written to a staging folder of their own (`stage`),
    brought to the machine of the output folder (`deliver`), and moved to their place (`commit`).
    The processes that restore pictures call the first two, one process calls all others.
    """

    def name(self, relative: str) -> str:
        """Return the user's name for a file of the folder."""

    def refer(self, source: Path) -> str:
        """Return the manifest's name for an input."""

    def stage(self, relative: str) -> Path:
        """Return a local path at which to write the file; it is alone in a new folder."""

    def deliver(self, staged: Path) -> str:
        """Bring a staged result to the output folder; return the name that `commit` takes."""

    def commit(self, staged: str, relative: str, *, replace: bool) -> None:
        """Move a delivered result to its place."""

    def discard(self, staged: str) -> None:
        """Delete a delivered result."""

    def exists(self, relative: str) -> bool:
        """Whether the file exists."""

    def stamp(self, relative: str) -> str | None:
        """Return a text that changes with the file, as far as the file need not be read."""

    def staged_stamp(self, staged: Path) -> str | None:
        """Return the stamp that a staged file will have in its place."""

    def sha256(self, relative: str) -> str | None:
        """Return the checksum of a file; None if reading the file would take too long."""

    def open(self, label: str) -> None:
        """Claim the folder for the one process that works under this label."""

    def close(self) -> None:
        """Release the folder and delete what is left in the staging folder."""

    def manifests(self) -> dict[str, str]:
        """Return the text of every manifest in the folder, by name."""

    def append(self, line: str) -> None:
        """Add a line to the label's manifest, whole or not at all."""

    def rewrite(self, text: str) -> None:
        """Replace the label's manifest."""

    def scattered(self) -> bool:
        """Whether the label's manifest has several pieces, which `rewrite` would merge."""


def manifest_name(label: str) -> str:
    """Return a label's file name: ``irae-manifest.jsonl`` or ``irae-manifest.2-of-3.jsonl``."""
    return f"{MANIFEST}{f'.{label}' if label else ''}.jsonl"


def is_of_label(name: str, label: str) -> bool:
    """Whether a manifest is the label's, or a piece of it that `RemoteFolder` wrote."""
    own = manifest_name(label)
    return name == own or name.startswith(f"{own.removesuffix('jsonl')}line-")


def open_folder(out: str, files: Files) -> OutputFolder:
    """Return the output folder at a path or a URL."""
    return RemoteFolder(out.rstrip("/"), files) if is_url(out) else LocalFolder(Path(out), files)


class LocalFolder:
    """A folder on this machine or on a shared file system; see `OutputFolder`."""

    def __init__(self, root: Path, files: Files) -> None:
        self.root = root
        self._files = files
        self._staging = root / STAGING
        self._log: int | None = None
        self._lock: int | None = None
        self._manifest = root / manifest_name("")
        # Folders that this process makes, and removes if nothing comes into them.
        self._missing: list[Path] = []

    def __getstate__(self) -> dict[str, Any]:
        # The claim stays with the process that made it.
        return {**self.__dict__, "_log": None, "_lock": None}

    def absolute(self) -> LocalFolder:
        """Return the same folder for a process with another working directory."""
        other = copy.copy(self)
        other.root, other._staging = self.root.absolute(), self._staging.absolute()
        other._manifest = self._manifest.absolute()
        other._log = other._lock = None
        return other

    def name(self, relative: str) -> str:
        return str(self.root / relative)

    def refer(self, source: Path) -> str:
        url = self._files.url_of(source)
        if url is not None:
            return url
        try:
            return Path(os.path.relpath(source, self.root)).as_posix()
        except ValueError:  # Another drive.
            return source.absolute().as_posix()

    def stage(self, relative: str) -> Path:
        folder = self._staging / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder / Path(relative).name

    def deliver(self, staged: Path) -> str:
        return str(staged.parent)

    def commit(self, staged: str, relative: str, *, replace: bool) -> None:
        target = self.root / relative
        if not replace and os.path.lexists(target):
            raise PictureError(f"{target}: exists already; use --overwrite to replace it")
        target.parent.mkdir(parents=True, exist_ok=True)
        # The picture is moved last: once it is in place, the files beside it are too.
        for path in sorted(Path(staged).iterdir(), key=lambda path: path.name == target.name):
            os.replace(path, target.with_name(path.name))
        Path(staged).rmdir()

    def discard(self, staged: str) -> None:
        shutil.rmtree(staged, ignore_errors=True)

    def exists(self, relative: str) -> bool:
        return os.path.lexists(self.root / relative)

    def stamp(self, relative: str) -> str | None:
        return file_stamp(self.root / relative)

    def staged_stamp(self, staged: Path) -> str | None:
        return file_stamp(staged)

    def sha256(self, relative: str) -> str | None:
        return file_sha256(self.root / relative)

    def open(self, label: str) -> None:
        self._staging = self.root / (f"{STAGING}.{label}" if label else STAGING)
        self._manifest = self.root / manifest_name(label)
        self._missing = missing_folders(self.root)
        self._claim()
        for leftover in self._staging.iterdir():
            if leftover.is_dir():
                shutil.rmtree(leftover)

    def _claim(self) -> None:
        """Lock a file in the staging folder; the system drops the lock of a killed process."""
        path = self._staging / "lock"
        while True:
            self._staging.mkdir(parents=True, exist_ok=True)
            lock = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
            if sys.platform == "win32":
                self._lock = lock
                return
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                raise UsageError(
                    f"{self.root}: another irae is writing there; wait for it, or share the work"
                    " with --shard i/n"
                ) from None
            # A process that closed just now may have deleted the file that is locked here.
            if path.exists() and os.path.samestat(os.fstat(lock), path.stat()):
                self._lock = lock
                return
            os.close(lock)

    def close(self) -> None:
        if self._log is not None:
            os.close(self._log)
            self._log = None
        if self._lock is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            os.close(self._lock)
            self._lock = None
            remove_empty(self._missing)

    def manifests(self) -> dict[str, str]:
        return {
            path.name: path.read_text(encoding="utf-8", errors="replace")
            for path in sorted(self.root.glob(f"{MANIFEST}*.jsonl"))
        }

    def append(self, line: str) -> None:
        if self._log is None:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._log = os.open(self._manifest, flags, 0o666)
        data = f"{line}\n".encode()
        end = os.fstat(self._log).st_size
        try:
            written = 0
            while written < len(data):
                written += os.write(self._log, data[written:])
        except OSError as error:
            os.ftruncate(self._log, end)
            error.filename = str(self._manifest)
            raise

    def rewrite(self, text: str) -> None:
        if self._log is not None:
            os.close(self._log)
            self._log = None
        write_atomically(self._manifest, lambda path: path.write_text(text, encoding="utf-8"))

    def scattered(self) -> bool:
        return False


class RemoteFolder:
    """A folder at a URL; see `OutputFolder`.

    Nothing can be appended to an object, so each line of the manifest is an object of its own, and
    `rewrite` merges them into one. Results are uploaded to a staging folder and moved from there.
    An output counts as intact while its size is unchanged, because reading all outputs back would
    take too long. Nothing prevents two processes from using the same label.
    """

    def __init__(self, url: str, files: Files) -> None:
        self.url = url
        self._files = files
        self._label = ""
        self._lines = 0
        self._root = files.path_for(url)

    @property
    def _staging(self) -> str:
        return f"{self.url}/{STAGING}{f'.{self._label}' if self._label else ''}"

    def name(self, relative: str) -> str:
        return f"{self.url}/{relative}"

    def refer(self, source: Path) -> str:
        return self._files.url_of(source) or source.absolute().as_posix()

    def stage(self, relative: str) -> Path:
        self._files.make()
        folder = self._files.scratch / STAGING / secrets.token_hex(8)
        folder.mkdir(parents=True)
        return folder / Path(relative).name

    def deliver(self, staged: Path) -> str:
        place = f"{self._staging}/{staged.parent.name}"
        file_system, path = open_url(place)
        with store_errors(place, "written"):
            file_system.makedirs(path, exist_ok=True)
            for file in staged.parent.iterdir():
                file_system.put_file(str(file), f"{path}/{file.name}")
        shutil.rmtree(staged.parent)
        return place

    def commit(self, staged: str, relative: str, *, replace: bool) -> None:
        target = self.name(relative)
        if not replace and self.exists(relative):
            raise PictureError(f"{target}: exists already; use --overwrite to replace it")
        file_system, source = open_url(staged)
        place, _, name = open_url(target)[1].rpartition("/")
        with store_errors(target, "written"):
            file_system.makedirs(place, exist_ok=True)
            names = [Path(path).name for path in file_system.find(source)]
            # The picture is moved last: once it is in place, the files beside it are too.
            for file in sorted(names, key=lambda file: file == name):
                file_system.mv(f"{source}/{file}", f"{place}/{file}")
        self.discard(staged)

    def discard(self, staged: str) -> None:
        file_system, path = open_url(staged)
        with store_errors(staged, "deleted"):
            if file_system.exists(path):
                file_system.rm(path, recursive=True)

    def exists(self, relative: str) -> bool:
        return self.stamp(relative) is not None

    def stamp(self, relative: str) -> str | None:
        stamp = self._files.stamp(self._root / relative)
        return None if stamp is None else stamp.partition(" ")[0]

    def staged_stamp(self, staged: Path) -> str | None:
        return str(staged.stat().st_size)

    def sha256(self, relative: str) -> str | None:
        return None

    def open(self, label: str) -> None:
        self._label = label
        self._lines = 1 + max((self._number(name) for name in self._own()), default=0)
        self.discard(self._staging)

    def close(self) -> None:
        self.discard(self._staging)

    def _find(self) -> dict[str, str]:
        """Return the manifests' names and their paths in the file system."""
        file_system, path = open_url(self.url)
        with store_errors(self.url, "listed"):
            file_system.invalidate_cache()
            if not file_system.exists(path):
                return {}
            places = file_system.find(path, maxdepth=1)
        return {
            place.rpartition("/")[2]: place
            for place in sorted(places)
            if place.rpartition("/")[2].startswith(MANIFEST) and place.endswith(".jsonl")
        }

    def _own(self) -> list[str]:
        stem = manifest_name(self._label).removesuffix("jsonl")
        return [name for name in self._find() if name.startswith(f"{stem}line-")]

    @staticmethod
    def _number(name: str) -> int:
        digits = name.rpartition("line-")[2].removesuffix(".jsonl")
        return int(digits) if digits.isdecimal() else 0

    def manifests(self) -> dict[str, str]:
        file_system, _ = open_url(self.url)
        texts = {}
        for name, place in self._find().items():
            with store_errors(self.name(name), "read"):
                texts[name] = file_system.cat_file(place).decode("utf-8", errors="replace")
        return texts

    def append(self, line: str) -> None:
        stem = manifest_name(self._label).removesuffix("jsonl")
        self._put(f"{stem}line-{self._lines:08d}.jsonl", f"{line}\n")
        self._lines += 1

    def rewrite(self, text: str) -> None:
        lines = self._own()
        self._put(manifest_name(self._label), text)
        for name in lines:
            self.discard(self.name(name))

    def scattered(self) -> bool:
        return bool(self._own())

    def _put(self, name: str, text: str) -> None:
        file_system, path = open_url(self.name(name))
        with store_errors(self.name(name), "written"):
            file_system.makedirs(path.rpartition("/")[0], exist_ok=True)
            file_system.pipe_file(path, text.encode())
