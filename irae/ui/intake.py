"""Looking at what was brought: pictures, and masks of their holes."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from irae.errors import IraeError, PictureError
from irae.imaging.io.changes import missing_parts
from irae.imaging.io.encode import PICTURE_SUFFIXES, SUFFIX_OF_FORMAT
from irae.imaging.io.files import (
    RESTORED_MARK,
    open_document,
    picture_size,
    read_picture,
    write_picture,
)
from irae.imaging.io.masks import read_mask
from irae.imaging.io.picture import Picture
from irae.restoring.automatic.inspect_picture import inspect_read
from irae.restoring.automatic.inspection import choose_task
from irae.ui.errors import RefusedError
from irae.ui.pictures import PictureStore, StoredPicture
from irae.ui.previews import Preview, upright_size
from irae.ui.words import describe_damage, kept


class Intake:
    """Looks at files that were brought, and keeps those that are good pictures.

    Args:
        store: takes the pictures.
        most_bytes: limit of one file.
        most_pixels: limit of one picture.
    """

    def __init__(self, store: PictureStore, most_bytes: int, most_pixels: int) -> None:
        self.store = store
        self.most_bytes, self.most_pixels = most_bytes, most_pixels
        # Several large pictures in memory at once would be too many.
        self._looking = threading.Lock()

    def take(self, upload: Path, name: str) -> StoredPicture:
        """Look at a file that was brought, and keep it; the file is gone afterwards.

        Args:
            upload: the file.
            name: its name as the user calls it, perhaps with subfolders.

        Raises:
            PictureError: it is no picture, damaged or too large.
        """
        folder = self.store.scratch.fresh_folder()
        try:
            with self._looking:
                return self._take(upload, name, folder)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, IraeError):
                raise type(error)(without(str(error), folder)) from None
            raise
        finally:
            upload.unlink(missing_ok=True)

    def _take(self, upload: Path, name: str, folder: Path) -> StoredPicture:
        source = folder / "source" / safe_name(name)
        source.parent.mkdir()
        upload.rename(source)
        self._admit(source, picture_size(source))
        document = open_document(source)
        if document is not None:
            raise PictureError(
                f"{source.name}: has {len(document.pages)} pages, and here each picture has one;"
                " split it, or use `irae restore`"
            )
        picture = read_picture(source)
        # A header may claim fewer pixels than the decoder finds, in a TIFF for example.
        self._admit(source, (picture.width, picture.height))
        # How strongly a HEIC was compressed can be seen in it alone.
        found = inspect_read(source, picture)
        task, _ = choose_task(found)
        heic = picture.layout.format == "HEIF"
        missing = missing_parts(picture.layout, ".png") if heic else list(picture.layout.dropped)
        if heic:
            # Nothing writes HEIC, so from here on the picture is a PNG.
            source.unlink()
            source = source.with_suffix(".png")
            write_picture(source, picture)
            picture = read_picture(source)
        if source.suffix.lower() not in PICTURE_SUFFIXES:
            suffix = SUFFIX_OF_FORMAT.get(picture.layout.format, ".png")
            source = source.rename(source.with_name(f"{source.name}{suffix}"))
        width, height = upright_size(picture)
        about = {
            "name": name,
            "width": width,
            "height": height,
            "format": "HEIC" if heic else picture.layout.format,
            "depth": picture.layout.depth,
            "found": describe_damage(found),
            "task": task,
            "kept": kept(picture, found.transparent > 0 or _has_alpha(picture)),
            "missing": missing,
            "saved_as": source.with_name(f"{source.stem}{RESTORED_MARK}{source.suffix}").name,
        }
        preview = Preview.save(picture, folder / "before")
        return self.store.add(folder, name, source, preview, about)

    def _admit(self, path: Path, size: tuple[int, int]) -> None:
        width, height = size
        if width * height > self.most_pixels:
            raise PictureError(
                f"{path.name}: has {width:,} × {height:,} pixels, more than this page takes"
                f" ({self.most_pixels / 1e6:,.6g} million); cut it into parts, or start irae ui"
                " with a larger --max-pixels"
            )

    def take_mask(self, stored: StoredPicture, upload: Path) -> dict[str, Any]:
        """Check a mask and keep it with its picture; the file is gone afterwards.

        Returns:
            The share of the picture that is white, as plain JSON.

        Raises:
            PictureError: it is no PNG.
            RefusedError: its size is not the picture's, or nothing in it is white.
        """
        try:
            with upload.open("rb") as stream:
                if stream.read(8) != b"\x89PNG\r\n\x1a\n":
                    raise PictureError("the mask is not a PNG; send one of the picture's size")
            size = picture_size(upload)
            wanted = stored.preview.width, stored.preview.height
            if size != wanted:
                raise RefusedError(
                    422, f"the mask has {size[0]} × {size[1]} pixels and the picture has"
                    f" {wanted[0]} × {wanted[1]}; use a mask of the same size"
                )  # fmt: skip
            try:
                mask = read_mask(upload)[0]
            except PictureError as error:
                raise PictureError(str(error).replace(str(upload), "the mask")) from None
        finally:
            upload.unlink(missing_ok=True)
        if not bool(mask.any()):
            raise RefusedError(422, "nothing is painted yet; paint over what is to be filled")
        path = stored.folder / "mask.png"
        fresh = stored.folder / "mask.new"
        Image.fromarray(mask.numpy().astype(np.uint8) * 255).save(fresh, "PNG", compress_level=1)
        stored.mask = fresh.replace(path)
        return {"share": float(mask.float().mean())}


def safe_name(name: str) -> str:
    """Return a file's name for this machine: no folders, short enough, nothing hidden in it."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    path = Path("".join(c for c in last if c.isprintable()).strip(". ") or "picture")
    stem, suffix = path.stem, path.suffix if len(path.suffix) <= 10 else ""
    # Names of 255 bytes are the most that file systems take, and results have longer names.
    while len(stem.encode()) > 180:
        stem = stem[:-1]
    return f"{stem}{suffix}"


def without(text: str, folder: Path) -> str:
    """Return a message without the path of a folder, of which the user knows nothing."""
    for part in sorted(folder.glob("*"), reverse=True):
        text = text.replace(f"{part}/", "")
    return text.replace(f"{folder / 'source'}/", "").replace(f"{folder}/", "")


def _has_alpha(picture: Picture) -> bool:
    return picture.alpha is not None and not bool((picture.alpha == 1).all())
