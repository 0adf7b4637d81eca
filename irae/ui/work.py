"""What the page does with pictures: exactly what ``irae restore`` does, through the same code."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from irae.batch.jobs import Job
from irae.batch.model_pool import ModelPool, TaskDecision
from irae.batch.outcome import Outcome
from irae.batch.output import MANIFEST
from irae.batch.restore_files import Request, restore_files
from irae.errors import PictureError
from irae.imaging.io.files import picture_size, read_picture
from irae.imaging.io.picture import Picture
from irae.restoring.options import RestoreOptions

KEPT_SETTINGS = 4
"""How many combinations of what can be chosen keep their models loaded."""


class StoppedError(Exception):
    """A batch was ended early by the user."""


class RestoreService:
    """Restores files; one call at a time works, others wait.

    Args:
        device: as `irae.Restorer` takes it, and so is ``precision``.
        most_bytes: in one file.
        most_pixels: in one picture.
    """

    def __init__(self, device: str, precision: str, most_bytes: int, most_pixels: int) -> None:
        self._device, self._precision = device, precision
        self._most_bytes, self._most_pixels = most_bytes, most_pixels
        self._pool: dict[RestoreOptions, ModelPool] = {}
        self._at_work = threading.Lock()
        self._looker = self._make(RestoreOptions())

    def admit(self, path: Path) -> None:
        """Refuse a picture of too many bytes, or whose header claims too many pixels.

        Raises:
            PictureError: it has.
        """
        size = path.stat().st_size
        if size > self._most_bytes:
            raise PictureError(
                f"{path.name}: {size / 1e6:.1f} MB, more than this page takes"
                f" ({self._most_bytes / 1e6:g} MB); start irae ui with a larger --max-upload-mb"
            )
        width, height = picture_size(path)
        if width * height > self._most_pixels:
            raise PictureError(
                f"{path.name}: {width:,} × {height:,} pixels, more than this page takes"
                f" ({self._most_pixels / 1e6:,.6g} million); cut it into parts, or start irae ui"
                " with a larger --max-pixels"
            )

    def look(self, path: Path) -> tuple[Picture, TaskDecision]:
        """Read a picture, and find out what automatic restoring would do to it.

        Raises:
            PictureError: it cannot be read, or has too many pixels.
        """
        self.admit(path)
        try:
            picture = read_picture(path)
        except PictureError as error:
            raise PictureError(shorten(str(error), path.parent)) from error
        return picture, self._looker.choose(Job(path, path), picture)

    def restore(self, source: Path, options: RestoreOptions, mask: Path | None = None) -> Outcome:
        """Restore one picture; the result lies beside it, named as ``irae restore`` names it.

        Raises:
            PictureError: it cannot be restored.
        """
        told: list[Outcome] = []
        request = Request((str(source),), mask=mask)
        self._restore(request, options, told.append)
        outcome = told[0].with_names(lambda text: shorten(text, source.parent))
        if outcome.error is not None:
            raise PictureError(outcome.error)
        return outcome

    def restore_folder(
        self, folder: Path, out: Path, options: RestoreOptions, tell: Callable[[Outcome], None]
    ) -> None:
        """Restore the pictures in a folder, as ``irae restore FOLDER -o OUT`` does.

        Args:
            folder: the pictures.
            out: where the results and a manifest go.
            options: what was chosen.
            tell: called with what became of each, as it becomes known; may raise `StoppedError`.
        """

        def tell_shortened(outcome: Outcome) -> None:
            tell(outcome.with_names(lambda text: shorten(shorten(text, folder), out)))

        self._restore(Request((str(folder),), str(out)), options, tell_shortened)

    def _restore(
        self, request: Request, options: RestoreOptions, tell: Callable[[Outcome], None]
    ) -> None:
        with self._at_work:
            if options not in self._pool:
                while len(self._pool) >= KEPT_SETTINGS:
                    self._pool.pop(next(iter(self._pool)))
                self._pool[options] = self._make(options)
            restore_files(request, self._pool[options], tell)

    def _make(self, options: RestoreOptions) -> ModelPool:
        return ModelPool(replace(options, device=self._device, precision=self._precision))


def shorten(text: str, folder: Path) -> str:
    """Without the path of a folder, of which the user knows nothing."""
    return text.replace(f"{folder}{os.sep}", "")


def distinct_names(names: Sequence[str]) -> list[str]:
    """The names, with a number in those that others have too, whatever their suffix or case.

    Results of one name would otherwise take each other's place.
    """
    taken: set[str] = set()
    result = []
    for name in names:
        path = Path(name)
        number, stem = 1, path.stem
        while stem.casefold() in taken:
            number += 1
            stem = f"{path.stem} ({number})"
        taken.add(stem.casefold())
        result.append(f"{stem}{path.suffix}")
    return result


def write_zip(folder: Path, path: Path) -> None:
    """Pack the results in a folder; not compressed, since pictures are already.

    The manifest stays out: it names files by where they were on the server.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(folder.iterdir()):
            if file.is_file() and not file.name.startswith(MANIFEST):
                archive.write(file, file.name)
