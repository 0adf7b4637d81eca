"""`Restorer`: a loaded model that takes pictures of any kind and size and gives them back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from irae.errors import UsageError
from irae.imaging.io.picture import Picture
from irae.imaging.io.pillow import picture_from_pil, picture_to_pil
from irae.imaging.tiling import DEFAULT_OVERLAP, RestoreFunction, restore_within_memory
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel
from irae.restoring.arrays import unpack_array, unpack_mask, unpack_tensor
from irae.restoring.options import RestoreOptions
from irae.runtime import select_device
from irae.tasks.matching import task_of

AUTOMATIC_TILE = 640
"""Pixels: pictures with more than the square of this are restored in tiles of this side. The
packaged denoiser then restores 24 megapixels in less than 1.5 GB; at 1024 it took 0.1 GB more."""

ImageT = TypeVar("ImageT", Image.Image, np.ndarray[Any, Any], Tensor)

_log = logging.getLogger(__name__)


class Restorer:
    """Restores pictures with one model.

    Example:
        >>> from irae import Restorer
        >>> restored = Restorer("denoise").restore(Image.open("noisy.png"))
    """

    def __init__(
        self,
        model: str | Path | LoadedModel = "denoise",
        *,
        device: str = "auto",
        precision: str = "auto",
        tile: int | None = None,
        overlap: int = DEFAULT_OVERLAP,
        sigma: float | None = None,
        strength: float = 1.0,
        ensemble: bool = False,
        notify: Callable[[str], None] | None = None,
        options: RestoreOptions | None = None,
    ) -> None:
        """Load a model and move it to its device.

        Args:
            model: the name of a packaged model (``denoise``, ``jpeg``, …), a model file, a run
                folder, or a model that is loaded already, which is copied and left as it is.
            device: as `RestoreOptions` says, and so are ``precision``, ``tile``, ``overlap``,
                ``sigma``, ``strength`` and ``ensemble``.
            notify: told in one line when memory ran out and tiles are made smaller; by default
                a warning is logged.
            options: in place of all the keywords before.

        Raises:
            ModelError: the model cannot be loaded.
            UsageError: a device that is not there, or an option that does not fit the model.
        """
        self.options = options or RestoreOptions(
            device=device,
            precision=precision,
            tile=tile,
            overlap=overlap,
            sigma=sigma,
            strength=strength,
            ensemble=ensemble,
        )
        chosen = select_device(self.options.device)
        self.model = model.copy() if isinstance(model, LoadedModel) else load_model(model)
        self._task = task_of(self.model)
        self.options.check(self.model)
        self.model.to(chosen, self.options.precision)
        self.model.ensemble = self.options.ensemble
        self.notify = notify or _log.warning
        # What memory was found to hold; the next picture need not run out of it again.
        self._tile_that_fits: int | None = None

    @property
    def task(self) -> str:
        """What the model is for, a name of `irae.tasks`."""
        return self._task.name

    def restore(self, image: ImageT, mask: object = None) -> ImageT:
        """Restore an image; the result is of the same kind, dtype, mode and size.

        Args:
            image: a PIL image; an array ``H W`` or ``H W C`` of uint8, uint16 or floats in
                [0, 1]; or a float tensor ``C H W`` or ``B C H W`` in [0, 1]. C is 1 or 3, or 2
                or 4 where the last channel is alpha, which is returned untouched. A palette
                PIL image comes back in the mode that holds the restored colours.
            mask: for inpainting, and only for it: the holes, as a PIL image, array or tensor of
                the image's size; true or white is a hole. All else is returned bit-equal.

        Raises:
            UsageError: a kind, shape, dtype, range or mask that does not fit.
            ModelError: the model gave numbers that are not finite.
        """
        if isinstance(image, Image.Image):
            picture = picture_from_pil(image)
            hole = self._unpack_mask(mask, 1, picture.height, picture.width)
            if self.options.strength == 0:
                return image.copy()
            restored = self.restore_picture(picture, None if hole is None else hole[0])
            return picture_to_pil(restored)
        if isinstance(image, np.ndarray):
            unpacked = unpack_array(image)
        elif isinstance(image, Tensor):
            unpacked = unpack_tensor(image)
        else:
            raise UsageError(
                f"image of {type(image).__name__}: use a PIL image, a NumPy array or a tensor"
            )
        batch, _, height, width = unpacked.pixels.shape
        holes = self._unpack_mask(mask, batch, height, width)
        if self.options.strength == 0:
            # Not by way of float32, which float64 does not survive.
            return image.copy() if isinstance(image, np.ndarray) else image.detach().clone()
        if batch > 1 and self._fits_at_once(unpacked.pixels):
            restored = self._restore_at_once(unpacked.pixels, holes)
        else:
            parts = [
                self.restore_pixels(unpacked.pixels[index], None if holes is None else holes[index])
                for index in range(batch)
            ]
            restored = torch.stack(parts)
        result: ImageT = unpacked.pack(restored, holes)
        return result

    def restore_picture(self, picture: Picture, mask: Tensor | None = None) -> Picture:
        """Restore a picture read by `irae.imaging.io.files`; alpha and layout stay as they are.

        Args:
            picture: any layout.
            mask: bool ``1 H W``, true in the holes, in the orientation of ``picture.pixels``.
        """
        return picture.with_pixels(self.restore_pixels(picture.pixels, mask))

    def restore_pictures(
        self, pictures: Sequence[Picture], masks: Sequence[Tensor | None] | None = None
    ) -> list[Picture]:
        """As `restore_picture` for several; those of one shape go through the network together.

        Args:
            pictures: any layouts. Together they should be small: one batch is made of them.
            masks: one for each, as in `restore_picture`; none for none.
        """
        given = list(masks) if masks is not None else [None] * len(pictures)
        shapes = {picture.pixels.shape for picture in pictures}
        alone = len(pictures) < 2 or len(shapes) > 1 or self.options.strength == 0
        pixels = None if alone else torch.stack([picture.pixels for picture in pictures])
        if pixels is None or not self._fits_at_once(pixels):
            return [self.restore_picture(p, m) for p, m in zip(pictures, given, strict=True)]
        for mask in given:
            self._check_mask_is_wanted(mask)
        holes = None if given[0] is None else torch.stack([m for m in given if m is not None])
        restored = self._restore_at_once(pixels, holes)
        return [p.with_pixels(r) for p, r in zip(pictures, restored, strict=True)]

    def _restore(self, pixels: Tensor, mask: Tensor | None, **options: bool) -> Tensor:
        return self.model.restore(pixels, mask, sigma=self.options.sigma, **options)

    def _fits_at_once(self, pixels: Tensor) -> bool:
        """Whether a batch ``B C H W`` may go through the network together, untiled."""
        batch, channels, height, width = pixels.shape
        return channels in (1, 3) and self._choose_tile(batch * height * width) == 0

    def _restore_at_once(self, pixels: Tensor, holes: Tensor | None) -> Tensor:
        restored = self._restore(pixels, holes).to(pixels.device).clamp(0, 1)
        restored = self._blend(pixels, restored)
        return restored if holes is None else torch.where(holes, restored, pixels)

    def restore_pixels(self, pixels: Tensor, mask: Tensor | None = None) -> Tensor:
        """Restore float32 ``C H W`` in [0, 1]; C is 3 (RGB), 1 (gray) or 4 (CMYK as 1 − ink).

        To a colour network gray is three equal channels, whose results are averaged; of CMYK, the
        three colours go as RGB and black as gray.

        Args:
            pixels: the picture, on any device; results come back there.
            mask: bool ``1 H W``, true in the holes.

        Returns:
            ``C H W``, clipped to [0, 1]; with a mask, known values are bit-equal to the input's,
            and with a strength of 0 all of them.
        """
        self._check_mask_is_wanted(mask)
        channels = pixels.shape[0]
        if self.options.strength == 0:
            return pixels.clone()
        if channels in (1, 3):
            restored = self._restore_tiles(pixels, mask)
        elif channels == 4:
            colours = self._restore_tiles(pixels[:3], mask)
            black = self._restore_tiles(pixels[3:], mask)
            restored = torch.cat((colours, black))
        else:
            raise UsageError(f"picture with {channels} channels; irae restores 1, 3 or 4 (CMYK)")
        # In place for what was put together from tiles: a photograph is there often enough.
        restored = restored.clamp(0, 1) if restored.is_inference() else restored.clamp_(0, 1)
        restored = self._blend(pixels, restored)
        return restored if mask is None else torch.where(mask, restored, pixels)

    def _blend(self, pixels: Tensor, restored: Tensor) -> Tensor:
        if self.options.strength == 1:
            return restored
        return torch.lerp(pixels, restored.to(pixels), self.options.strength).clamp(0, 1)

    def _restore_tiles(self, pixels: Tensor, mask: Tensor | None) -> Tensor:
        tile = self._choose_tile(pixels.shape[-2] * pixels.shape[-1])
        restore: RestoreFunction = self._restore
        if mask is not None:
            # Over the whole picture: what is known about a hole may lie outside the tile.
            pixels = self.model.fill(pixels[None], mask[None])[0]
            restore = partial(self._restore, filled=True)
        restored, used = restore_within_memory(
            restore,
            pixels,
            tile=tile,
            overlap=self.options.overlap,
            multiple=self.model.size_multiple,
            mask=mask,
            notify=self.notify,
        )
        if used != tile:
            self._tile_that_fits = used
        return restored

    def _choose_tile(self, pixels: int) -> int:
        tile = self.options.tile
        if tile is None:
            tile = AUTOMATIC_TILE if pixels > AUTOMATIC_TILE**2 else 0
        fits = self._tile_that_fits
        if fits is not None and pixels > fits**2 and (tile == 0 or tile > fits):
            return fits
        return tile

    def _unpack_mask(self, mask: object, batch: int, height: int, width: int) -> Tensor | None:
        self._check_mask_is_wanted(mask)
        return None if mask is None else unpack_mask(mask, batch, height, width)

    def _check_mask_is_wanted(self, mask: object) -> None:
        if self._task.needs_mask and mask is None:
            raise UsageError(f"model {self.model.name!r} fills holes; give it their mask")
        if mask is not None and not self._task.needs_mask:
            raise UsageError(
                f"model {self.model.name!r} ({self.task}) takes no mask; use an inpaint model"
            )
