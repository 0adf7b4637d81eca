"""Uniform access to pictures on this machine and at URLs, which are fetched when they are read."""

from __future__ import annotations

import glob
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from irae.errors import PictureError, UsageError
from irae.imaging.io.find import has_picture_suffix

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

# Metadata that differ between two versions of an object, the most reliable first.
_VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "created")


def is_url(name: str) -> bool:
    """Whether a name is a URL (``s3://bucket/folder``) rather than a path."""
    return _URL.match(name) is not None


def open_url(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the URL's path in it.

    Raises:
        UsageError: the file system is unknown, lacks its driver, or cannot be set up.
    """
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise UsageError(f"{url}: URLs need fsspec; pip install 'irae[remote]'") from None
    try:
        file_system, path = url_to_fs(url)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or error.name
        remedy = f"pip install {missing}" if missing else str(error)
        raise UsageError(f"{url}: its driver is not installed; {remedy}") from None
    except ValueError as error:
        raise UsageError(f"{url}: cannot be used ({error}); check the address") from None
    return file_system, path


@contextmanager
def store_errors(url: str, what: str) -> Iterator[None]:
    """Convert every error of a store to a `PictureError` that names the URL.

    The errors of different drivers have no common class, so all exceptions are converted; only
    calls of a driver belong in this context.
    """
    try:
        yield
    except FileNotFoundError:
        raise PictureError(f"{url}: no such file or folder; check the address") from None
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PictureError(
            f"{url}: cannot be {what} ({reason}); check the address and your rights"
        ) from error


def local_path(name: str) -> Path | None:
    """Return the path of a name, also of a ``file://`` URL; None for any other URL."""
    if not is_url(name):
        return Path(name)
    file_system, path = open_url(name)
    protocols = file_system.protocol
    names = (protocols,) if isinstance(protocols, str) else protocols
    return Path(path) if "file" in names else None


def file_stamp(path: Path) -> str | None:
    """Return a file's size and time of modification as text; None if it does not exist."""
    try:
        status = path.stat()
    except OSError:
        return None
    return f"{status.st_size} {status.st_mtime_ns}"


def object_stamp(information: dict[str, Any]) -> str:
    """Return a stamp as `file_stamp` does, from a store's metadata of an object."""
    version = next((str(information[key]) for key in _VERSIONS if information.get(key)), "")
    return f"{information.get('size')} {version}"


def find_urls(url: str, *, recursive: bool) -> tuple[list[str], bool]:
    """Find the pictures at a URL, which is a picture, a folder or a pattern.

    Returns:
        The pictures' URLs, sorted, and whether the URL is a folder.

    Raises:
        PictureError: there are no pictures at the URL, or it cannot be listed.
        UsageError: as for `open_url`.
    """
    file_system, path = open_url(url)
    folder = False
    with store_errors(url, "listed"):
        if glob.has_magic(path):
            names = file_system.glob(path)
        elif file_system.isfile(path):
            return [url], False
        else:
            folder = True
            names = file_system.find(path, maxdepth=None if recursive else 1)
    urls = [file_system.unstrip_protocol(name) for name in sorted(names)]
    found = [each for each in urls if has_picture_suffix(PurePosixPath(each))]
    if not found:
        hint = "; use --recursive to look into its folders" if folder and not recursive else ""
        raise PictureError(f"{url}: no pictures found there{hint}")
    return found, folder


@dataclass(frozen=True)
class Files:
    """Assigns each URL a local path, to which its picture is fetched while it is processed.

    ``s3://bucket/a.png`` is ``SCRATCH/s3/bucket/a.png``; other paths stand for themselves.
    Instances can be sent to another process, also on another machine.

    Attributes:
        scratch: the scratch folder, which `remove` deletes.
    """

    scratch: Path

    @classmethod
    def create(cls) -> Files:
        """Create an instance with a new scratch folder, which is made when it is needed."""
        return cls(Path(tempfile.gettempdir()) / f"irae-{secrets.token_hex(8)}")

    def make(self) -> None:
        """Make the scratch folder, for this user alone."""
        self.scratch.mkdir(mode=0o700, parents=True, exist_ok=True)

    def remove(self) -> None:
        """Delete all fetched files."""
        shutil.rmtree(self.scratch, ignore_errors=True)

    def path_for(self, url: str) -> Path:
        """Return the path to which the picture at a URL is fetched.

        Raises:
            PictureError: the path would lie outside the scratch folder.
        """
        protocol, _, rest = url.partition("://")
        parts = PurePosixPath(rest.lstrip("/"))
        if ".." in parts.parts or "\\" in rest or "\0" in rest:
            raise PictureError(f"{url}: a name with '..' or a backslash; rename it")
        return self.scratch / protocol / parts

    def url_of(self, path: Path) -> str | None:
        """Return the URL for which a path stands, if any."""
        if not path.is_relative_to(self.scratch):
            return None
        protocol, *parts = path.relative_to(self.scratch).parts
        return f"{protocol}://{'/'.join(parts)}"

    def display_name(self, text: str) -> str:
        """Replace the paths in a message by the URLs for which they stand."""
        return re.sub(re.escape(str(self.scratch)) + r"/([^/\s]+)/", r"\1://", text)

    def name(self, path: Path) -> str:
        """Return the user's name for a path."""
        return self.url_of(path) or str(path)

    def stamp(self, path: Path) -> str | None:
        """Return the size and version of a path's file or object; None if it does not exist.

        Raises:
            PictureError: the store cannot be reached.
        """
        url = self.url_of(path)
        if url is None:
            return file_stamp(path)
        file_system, name = open_url(url)
        with store_errors(url, "reached"):
            file_system.invalidate_cache()
            try:
                return object_stamp(file_system.info(name))
            except FileNotFoundError:
                return None

    @contextmanager
    def fetched(self, path: Path) -> Iterator[Path]:
        """Make the file available within this context; a fetched copy is deleted afterwards.

        Raises:
            PictureError: the file cannot be fetched.
        """
        self.fetch(path)
        try:
            yield path
        finally:
            if self.url_of(path) is not None:
                path.unlink(missing_ok=True)

    def fetch(self, path: Path) -> None:
        """Fetch the object for which a path stands, unless the path exists.

        Raises:
            PictureError: the object cannot be fetched.
        """
        url = self.url_of(path)
        if url is None or path.exists():
            return
        file_system, name = open_url(url)
        self.make()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        try:
            with store_errors(url, "fetched"):
                file_system.get_file(name, str(part))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
