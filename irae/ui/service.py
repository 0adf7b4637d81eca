"""What the page does with pictures: exactly what ``irae restore`` does, by the same functions."""

from __future__ import annotations

import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from irae.batch.jobs import Found, Job, plan_outputs
from irae.batch.model_pool import ModelPool
from irae.errors import IraeError, PictureError
from irae.imaging.io.encode import PICTURE_SUFFIXES, SUFFIX_OF_FORMAT
from irae.imaging.io.files import (
    RESTORED_MARK,
    encode_picture,
    picture_size,
    read_picture,
    write_picture,
)
from irae.imaging.io.masks import read_mask
from irae.imaging.io.picture import Picture, codes
from irae.imaging.tiling import Progress
from irae.restoring.inspection import choose_task, inspect_read
from irae.restoring.options import RestoreOptions
from irae.tasks import get_task
from irae.ui.errors import RefusedError
from irae.ui.pictures import PictureStore, Result, StoredPicture
from irae.ui.previews import Preview, upright_size
from irae.ui.words import describe_damage, describe_result, kept

KEPT_SETTINGS = 4
"""How many combinations of options keep their models loaded."""


class RestoreService:
    """Looks at pictures and restores them.

    Args:
        store: holds the pictures.
        device: as `irae.Restorer` takes it, and so is ``precision``.
        most_bytes: limit of one file.
        most_pixels: limit of one picture.
    """

    def __init__(
        self, store: PictureStore, device: str, precision: str, most_bytes: int, most_pixels: int
    ) -> None:
        self.store = store
        self.most_bytes, self.most_pixels = most_bytes, most_pixels
        self._device, self._precision = device, precision
        self._pool: dict[RestoreOptions, ModelPool] = {}
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
                raise type(error)(_without(str(error), folder)) from None
            raise
        finally:
            upload.unlink(missing_ok=True)

    def _take(self, upload: Path, name: str, folder: Path) -> StoredPicture:
        source = folder / "source" / safe_name(name)
        source.parent.mkdir()
        upload.rename(source)
        self._admit(source, picture_size(source))
        picture = read_picture(source)
        heic = picture.layout.format == "HEIF"
        if heic:
            # Nothing writes HEIC, so from here on the picture is a PNG.
            source.unlink()
            source = source.with_suffix(".png")
            write_picture(source, picture)
            picture = read_picture(source)
        # A header may claim fewer pixels than the decoder finds, in a TIFF for example.
        self._admit(source, (picture.width, picture.height))
        if source.suffix.lower() not in PICTURE_SUFFIXES:
            suffix = SUFFIX_OF_FORMAT.get(picture.layout.format, ".png")
            source = source.rename(source.with_name(f"{source.name}{suffix}"))
        found = inspect_read(source, picture)
        task, _ = choose_task(found)
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

    def work(self, key: str, options: RestoreOptions, progress: Progress) -> dict[str, Any]:
        """Do a job of `irae.ui.jobs.Jobs`."""
        with self.store.using(key) as stored:
            return self.restore(stored, options, progress).about

    def restore(self, stored: StoredPicture, options: RestoreOptions, progress: Progress) -> Result:
        """Restore a picture; the result is put in the place of an earlier one.

        Args:
            stored: the picture.
            options: what was chosen; device and precision are the server's.
            progress: as for `irae.restoring.restorer.Restorer.restore_picture`.

        Raises:
            IraeError: it cannot be restored.
            RefusedError: the task needs a mask, and there is none.
        """
        folder = stored.folder / f"result-{self.store.scratch.fresh_file().name}"
        folder.mkdir()
        try:
            result = self._restore(stored, options, progress, folder)
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, IraeError):
                raise type(error)(_without(str(error), stored.folder)) from None
            raise
        self.store.set_result(stored, result)
        return result

    def _restore(
        self, stored: StoredPicture, options: RestoreOptions, progress: Progress, folder: Path
    ) -> Result:
        begin = time.perf_counter()
        pool = self._models(options)
        picture = read_picture(stored.source)
        needs_mask = options.task is not None and get_task(options.task).needs_mask
        if needs_mask and stored.mask is None:
            raise RefusedError(422, "nothing is painted yet; paint over what is to be filled")
        masks = stored.mask if needs_mask else None
        plan = plan_outputs([Found(stored.source)], None, exact=needs_mask, masks=masks)
        (job,) = plan.jobs
        task = pool.choose(Job(stored.source, job.target, masks), picture).task
        target = folder / job.target.name
        pixels: Path | None = None
        model = None
        if task is None or options.strength == 0:
            shutil.copyfile(stored.source, target)
            restored = picture
        else:
            mask = None if masks is None else read_mask(
                masks,
                height=picture.height,
                width=picture.width,
                orientation=picture.orientation,
                grow=options.grow_mask,
            )  # fmt: skip
            restorer = pool.restorer_for(task)
            model = restorer.model.name
            restored = restorer.restore_picture(picture, mask, progress)
            write_picture(target, restored)
            pixels = folder / "pixels.npy"
            np.save(pixels, _codes(restored))
        about = {
            "name": target.name,
            "bytes": target.stat().st_size,
            "task": task,
            "model": model,
            "changed": pixels is not None,
            "done": describe_result(task, changed=pixels is not None),
            "seconds": round(time.perf_counter() - begin, 1),
            "options": options.recorded(),
        }
        return Result(folder, target, pixels, Preview.save(restored, folder / "after"), about)

    def encoded(self, stored: StoredPicture, suffix: str, quality: int) -> Path:
        """Return the result as a file of another format, encoded from the restored pixels.

        Args:
            stored: a picture that has a result.
            suffix: ``.png``, ``.jpg`` or ``.webp``.
            quality: of a JPEG.

        Raises:
            PictureError: the format cannot hold the picture.
        """
        result = stored.result
        assert result is not None
        name = f"{stored.source.stem}{RESTORED_MARK}{suffix}"
        path = result.folder / f"{suffix[1:]}-{quality}" / name
        if path.is_file():
            return path
        picture = read_picture(stored.source)
        if result.pixels is not None:
            picture = picture.with_pixels(_values(np.load(result.pixels)))
        try:
            data = encode_picture(picture, suffix, quality=quality)
        except PictureError as error:
            raise PictureError(str(error).replace("picture:", f"{name}:", 1)) from None
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        return path

    def _models(self, options: RestoreOptions) -> ModelPool:
        if options not in self._pool:
            while len(self._pool) >= KEPT_SETTINGS:
                self._pool.pop(next(iter(self._pool)))
            own = replace(options, device=self._device, precision=self._precision)
            self._pool[options] = ModelPool(own)
        return self._pool[options]


def safe_name(name: str) -> str:
    """Return a file's name for this machine: no folders, short enough, nothing hidden in it."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    path = Path("".join(c for c in last if c.isprintable()).strip(". ") or "picture")
    stem, suffix = path.stem, path.suffix if len(path.suffix) <= 10 else ""
    # Names of 255 bytes are the most that file systems take, and results have longer names.
    while len(stem.encode()) > 180:
        stem = stem[:-1]
    return f"{stem}{suffix}"


def _without(text: str, folder: Path) -> str:
    """Return a message without the path of a folder, of which the user knows nothing."""
    for part in sorted(folder.glob("*"), reverse=True):
        text = text.replace(f"{part}/", "")
    return text.replace(f"{folder / 'source'}/", "").replace(f"{folder}/", "")


def _has_alpha(picture: Picture) -> bool:
    return picture.alpha is not None and not bool((picture.alpha == 1).all())


def _codes(picture: Picture) -> np.ndarray[Any, Any]:
    """Return what a lossless file holds of the pixels: codes, or float samples as they are."""
    if picture.layout.depth > 16:
        return picture.pixels.numpy()
    return codes(picture.pixels, 16 if picture.layout.depth == 16 else 8).numpy()


def _values(stored: np.ndarray[Any, Any]) -> torch.Tensor:
    if stored.dtype == np.float32:
        return torch.from_numpy(stored)
    return torch.from_numpy(stored.astype(np.float32) / np.iinfo(stored.dtype).max)
