"""What the page does with pictures: exactly what ``irae restore`` does, by the same functions."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from irae.batch.collect import Found
from irae.batch.jobs import plan_outputs
from irae.batch.model_pool import ModelPool
from irae.errors import IraeError, PictureError
from irae.imaging.io.files import RESTORED_MARK, encode_picture, read_picture, write_picture
from irae.imaging.io.masks import read_mask
from irae.imaging.io.picture import Picture, codes, same_levels
from irae.imaging.tiling import Progress
from irae.restoring.options import RestoreOptions
from irae.restoring.uncertainty import orientation_spread
from irae.tasks import filling_task, get_task
from irae.ui.damage import describe_found, write_found
from irae.ui.doubt import keep_doubt
from irae.ui.errors import RefusedError
from irae.ui.intake import without
from irae.ui.pictures import PictureStore, Result, StoredPicture
from irae.ui.previews import Preview
from irae.ui.words import describe_result, notes_on

KEPT_SETTINGS = 4
"""How many combinations of options keep their models loaded."""

_FINDING = 0.3
"""Share of the time of filling found damage that finding it takes, about."""


class RestoreService:
    """Restores pictures.

    Args:
        store: holds the pictures.
        device: as `irae.Restorer` takes it, and so is ``precision``.
    """

    def __init__(self, store: PictureStore, device: str, precision: str) -> None:
        self.store = store
        self._device, self._precision = device, precision
        self._pool: dict[RestoreOptions, ModelPool] = {}
        # What restoring had to say; jobs run one at a time.
        self._heard: list[str] = []

    def restore(self, key: str, options: RestoreOptions, progress: Progress) -> dict[str, Any]:
        """Restore a picture; the result is put in the place of an earlier one.

        Args:
            key: id of the picture.
            options: what was chosen; device and precision are the server's.
            progress: as for `irae.restoring.restorer.Restorer.restore_picture`.

        Returns:
            What the page says of the result, as plain JSON.

        Raises:
            IraeError: it cannot be restored.
            RefusedError: there is no such picture, or the task needs a mask and there is none.
        """
        with self._at_work_on(key) as stored:
            folder = stored.folder / f"result-{self.store.scratch.fresh_file().name}"
            folder.mkdir()
            try:
                result = self._restore(stored, options, progress, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self.store.set_result(stored, result)
            return result.about

    def draw_doubt(self, key: str, progress: Progress) -> dict[str, Any]:
        """Draw the map of what the model was unsure of when it made the result of a picture.

        Args:
            key: id of the picture.
            progress: as for `restore`; all takes eight times as long.

        Returns:
            The largest spread, and the one from which the map has its full colour, in 8-bit units.

        Raises:
            RefusedError: there is no such picture, or no result that differs from it.
        """
        with self._at_work_on(key) as stored:
            result = doubtful_result(stored)
            picture = read_picture(stored.source)
            restorer = self._models(result.options).restorer_for(result.task or "")
            mask = _mask_of(picture, result.mask, result.options)
            spread = orientation_spread(restorer, picture.pixels, mask, progress)
            stored.doubt, full = keep_doubt(spread, picture, result.folder)
            return {"largest": round(float(spread.max()), 2), "full": round(full, 2)}

    def find_damage(self, key: str, progress: Progress) -> dict[str, Any]:
        """Find scratches, dust, hairs and stamps in a picture, and keep their mask.

        Args:
            key: id of the picture.
            progress: as for `restore`.

        Returns:
            What was found, in words and as shares of the picture, as plain JSON.
        """
        with self._at_work_on(key) as stored:
            picture = read_picture(stored.source)
            found = self._models(RestoreOptions()).finder().find(picture.pixels, progress)
            stored.damage = write_found(found, picture, stored.folder / "damage.png")
            fills = bool(found.mask.any()) and not found.too_much
            return {"found": describe_found(found), "fills": fills, **found.as_json()}

    @contextmanager
    def _at_work_on(self, key: str) -> Iterator[StoredPicture]:
        """Give a picture for the time of a job, whose errors name no folder of the server."""
        with self.store.using(key) as stored:
            self._heard.clear()
            try:
                yield stored
            except IraeError as error:
                raise type(error)(without(str(error), stored.folder)) from None

    def _restore(
        self, stored: StoredPicture, options: RestoreOptions, progress: Progress, folder: Path
    ) -> Result:
        begin = time.perf_counter()
        picture, pool = read_picture(stored.source), self._models(options)
        exact = pool.only_fills or _needs_mask(options)
        plan = plan_outputs([Found(stored.source)], None, exact=exact)
        task = self._task_for(stored, options)
        if task is not None and options.find_damage:
            source = self._find_mask(stored, picture, pool, _part(progress, 0, _FINDING), folder)
            progress = _part(progress, _FINDING, 1)
        else:
            source = _mask_for(stored, options, folder)
        mask = _mask_of(picture, source, options)
        if pool.only_fills and mask is None:
            task = None
        restored = picture if task is None else _restored(pool, task, picture, mask, progress)
        changed = not same_levels(picture, restored)
        target = folder / (plan.jobs[0].target.name if changed else stored.about["saved_as"])
        pixels = folder / "pixels.npy" if changed else None
        if pixels is None:
            restored = picture
            shutil.copyfile(stored.source, target)
        else:
            write_picture(target, restored)
            np.save(pixels, _codes(restored))
        notes = notes_on(stored.about, restored, target, mask) if changed else []
        about = {
            "name": target.name,
            "bytes": target.stat().st_size,
            "task": task,
            "model": None if task is None else pool.restorer_for(task).model.name,
            "changed": changed,
            "done": describe_result(task, options, changed=changed),
            "notes": notes + [_sentence(line) for line in self._heard],
            "seconds": round(time.perf_counter() - begin, 1),
            "options": options.recorded(),
        }
        preview = Preview.save(restored, folder / "after")
        return Result(folder, target, pixels, preview, about, task, options, source)

    def _task_for(self, stored: StoredPicture, options: RestoreOptions) -> str | None:
        """Return the task: the chosen one, the model's, or the one found when it was brought."""
        if options.strength == 0:
            return None
        if self._models(options).only_fills:
            return filling_task().name
        if options.task is None and options.model is not None:
            return self._models(options).restorer_for("").task
        found: str | None = stored.about["task"]
        return options.task or found

    def _find_mask(
        self,
        stored: StoredPicture,
        picture: Picture,
        pool: ModelPool,
        progress: Progress,
        folder: Path,
    ) -> Path | None:
        """Find damage; returns the mask of what can be filled, which the picture keeps too."""
        found = pool.finder().find(picture.pixels, progress)
        self._heard.append(describe_found(found))
        if found.too_much or not found.mask.any():
            return None
        stored.damage = write_found(found, picture, stored.folder / "damage.png")
        return Path(shutil.copyfile(stored.damage, folder / "mask.png"))

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
            self._pool[options] = ModelPool(own, self._heard.append)
        return self._pool[options]


def changed_result(stored: StoredPicture) -> Result:
    """Return the result of a picture.

    Raises:
        RefusedError: there is none, or it does not differ from the picture.
    """
    if stored.result is None:
        raise RefusedError(409, "this picture has no result yet; restore it first")
    if stored.result.pixels is None:
        raise RefusedError(409, "nothing was changed in this picture; restore it in another way")
    return stored.result


def doubtful_result(stored: StoredPicture) -> Result:
    """Return the result of a picture of which a map of uncertainty can be drawn.

    Raises:
        RefusedError: there is none.
    """
    result = changed_result(stored)
    if result.mask is not None and not get_task(result.task or "").needs_mask:
        raise RefusedError(
            409, "of damage that was filled before another task no map is drawn; leave out one"
        )
    return result


def _restored(
    pool: ModelPool, task: str, picture: Picture, mask: Tensor | None, progress: Progress
) -> Picture:
    """Restore a picture; for a task that takes no mask, what it marks is filled before."""
    restorer = pool.restorer_for(task)
    if mask is None or get_task(restorer.task).needs_mask:
        return restorer.restore_picture(picture, mask, progress)
    filled = pool.filler().restore_picture(picture, mask, _part(progress, 0, 0.5))
    return restorer.restore_picture(filled, None, _part(progress, 0.5, 1))


def _part(progress: Progress, begin: float, end: float) -> Progress:
    """Return what is told the share of a part of the work."""

    def tell(share: float) -> None:
        progress(begin + share * (end - begin))

    return tell


def _needs_mask(options: RestoreOptions) -> bool:
    return options.task is not None and get_task(options.task).needs_mask


def _mask_for(stored: StoredPicture, options: RestoreOptions, folder: Path) -> Path | None:
    """Return the mask for the chosen task, kept with the result because the other may change."""
    if not _needs_mask(options):
        return None
    if stored.mask is None:
        raise RefusedError(422, "nothing is painted yet; paint over what is to be filled")
    return Path(shutil.copyfile(stored.mask, folder / "mask.png"))


def _mask_of(picture: Picture, path: Path | None, options: RestoreOptions) -> Tensor | None:
    if path is None:
        return None
    return read_mask(
        path,
        height=picture.height,
        width=picture.width,
        orientation=picture.orientation,
        grow=options.grow_mask,
    )


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:].rstrip('.')}."


def _codes(picture: Picture) -> np.ndarray[Any, Any]:
    """Return what a lossless file holds of the pixels: codes, or float samples as they are."""
    if picture.layout.depth > 16:
        return picture.pixels.numpy()
    return codes(picture.pixels, 16 if picture.layout.depth == 16 else 8).numpy()


def _values(stored: np.ndarray[Any, Any]) -> torch.Tensor:
    if stored.dtype == np.float32:
        return torch.from_numpy(stored)
    return torch.from_numpy(stored.astype(np.float32) / np.iinfo(stored.dtype).max)
