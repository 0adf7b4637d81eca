"""The pictures that the page's server holds, until they are deleted or nobody uses them."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from irae.restoring.options import RestoreOptions
from irae.ui.errors import RefusedError
from irae.ui.previews import Preview
from irae.ui.scratch import Scratch

KEPT_SECONDS = 3600
"""How long pictures are kept after they were last used."""


@dataclass(frozen=True)
class Result:
    """What restoring gave.

    Attributes:
        folder: folder of its files.
        file: the result as it is saved, in the format of the original unless that cannot hold it.
        pixels: codes of the restored pixels, from which other formats are encoded; None if no pixel
            changed.
        preview: the same for the browser.
        about: what the page says of it, as plain JSON.
        task: what was undone; None if the picture was left as it is.
        options: how.
        mask: the mask of its holes, if it was filled.
    """

    folder: Path
    file: Path
    pixels: Path | None
    preview: Preview
    about: dict[str, Any]
    task: str | None
    options: RestoreOptions
    mask: Path | None = None


@dataclass(frozen=True)
class Doubt:
    """What the model was unsure of when it made a result.

    Attributes:
        file: the map, a gray PNG as `irae.restoring.uncertainty.to_map` draws it, upright.
        preview: the map for the browser: one colour, more opaque where the model was less sure.
    """

    file: Path
    preview: Preview


@dataclass
class StoredPicture:
    """One picture.

    Attributes:
        id: its name in the API, which nobody can guess.
        folder: folder of its files.
        name: its name as the user calls it, with the subfolders of a folder that was dropped.
        source: its file.
        preview: the same for the browser, upright.
        about: what was found, as plain JSON.
        mask: a mask of its holes, a PNG.
        damage: the mask of the damage that was found, a PNG, if somebody has asked.
        result: the last result.
        doubt: what the model was unsure of, if somebody has asked.
    """

    id: str
    folder: Path
    name: str
    source: Path
    preview: Preview
    about: dict[str, Any]
    mask: Path | None = None
    damage: Path | None = None
    result: Result | None = None
    doubt: Doubt | None = None
    _used: float = field(default_factory=time.monotonic)
    _users: int = 0
    _deleted: bool = False


class PictureStore:
    """All pictures by their ids; safe to use from several threads.

    Args:
        scratch: where the files are.
    """

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch
        self._pictures: dict[str, StoredPicture] = {}
        self._guard = threading.Lock()

    def add(
        self, folder: Path, name: str, source: Path, preview: Preview, about: dict[str, Any]
    ) -> StoredPicture:
        """Take a picture, whose files lie in ``folder``, under a new id."""
        picture = StoredPicture(secrets.token_urlsafe(16), folder, name, source, preview, about)
        with self._guard:
            self._pictures[picture.id] = picture
        return picture

    @contextmanager
    def using(self, key: str) -> Iterator[StoredPicture]:
        """Give the picture of an id, whose files stay until the end of the block.

        Raises:
            RefusedError: there is none.
        """
        with self._guard:
            picture = self._pictures.get(key)
            if picture is None:
                raise RefusedError(
                    404, "this picture is not here any more (after an hour it is deleted);"
                    " bring it again"
                )  # fmt: skip
            picture._users += 1
        try:
            yield picture
        finally:
            with self._guard:
                picture._users -= 1
                picture._used = time.monotonic()
                if picture._deleted and not picture._users:
                    shutil.rmtree(picture.folder, ignore_errors=True)

    def set_result(self, picture: StoredPicture, result: Result) -> None:
        """Put a result in the place of the earlier one."""
        with self._guard:
            earlier, picture.result = picture.result, result
            picture.doubt = None
        if earlier is not None:
            shutil.rmtree(earlier.folder, ignore_errors=True)

    def delete(self, key: str) -> bool:
        """Delete a picture, as soon as nothing works with it; False if there is none."""
        with self._guard:
            picture = self._pictures.pop(key, None)
            if picture is None:
                return False
            picture._deleted = True
            if not picture._users:
                shutil.rmtree(picture.folder, ignore_errors=True)
        return True

    def touch(self, keys: Iterable[str]) -> None:
        """Count pictures as used; ids that are not there any more are passed over."""
        with self._guard:
            for key in keys:
                if key in self._pictures:
                    self._pictures[key]._used = time.monotonic()

    def idle(self, age: float = KEPT_SECONDS) -> list[str]:
        """Return the ids of the pictures that nobody has used for ``age`` seconds."""
        now = time.monotonic()
        with self._guard:
            return [
                picture.id
                for picture in self._pictures.values()
                if not picture._users and now - picture._used >= age
            ]
