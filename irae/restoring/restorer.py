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
    ) -> None:
        """Load a model and move it to its device.

        Args:
            model: a task (``denoise``, ``jpeg``, ``inpaint``: the packaged model of that name),
                a model file, a run folder, or a model that is loaded already.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            precision: of the coupling networks, ``fp32``, ``bf16``, or ``auto``: bf16 where the
                device is measured faster at it and the model loses at most 0.02 dB.
            tile: largest side restored at once, pixels; 0: always the whole picture; none:
                tiles of 1024 for pictures with more pixels than such a tile.
            overlap: least pixels that neighbouring tiles share.
            sigma: the noise level in 8-bit units, for models that must be told (FFDNet, BM3D).
            strength: how much of the change is made, from 0 (the picture as it was, exactly) to 1
                (all of it): pixels in between are blended of the two. Not for inpainting.
            ensemble: take the mean over the picture's eight turns and reflections, each restored
                by itself: better by a little, in eight times the time.
            notify: told in one line when memory ran out and tiles are made smaller; by default
                a warning is logged.

        Raises:
            ModelError: the model cannot be loaded.
            UsageError: a device that is not there, a tile smaller than the model's grid, a
                noise level that is missing or superfluous, or a strength that is out of range
                or less than 1 for inpainting.
        """
        # Written so that NaN fails it too.
        if not 0 <= strength <= 1:
            raise UsageError(f"strength {strength} is out of range; it goes from 0 to 1")
        chosen = select_device(device)
        self.model = model if isinstance(model, LoadedModel) else load_model(model)
        self._task = task_of(self.model)
        multiple = self.model.size_multiple
        if tile is not None and tile != 0 and tile < multiple:
            raise UsageError(f"tile {tile} is too small; use 0 (no tiles) or at least {multiple}")
        if overlap < 0:
            raise UsageError(f"overlap {overlap} is negative; use 0 or more")
        if self.model.takes_sigma != (sigma is not None):
            wants = "must be told the noise level" if sigma is None else "takes no noise level"
            raise UsageError(
                f"model {self.model.name!r} {wants}; {'give' if sigma is None else 'drop'} --sigma"
            )
        if strength < 1 and self._task.needs_mask:
            raise UsageError(
                f"--strength {strength:g}: model {self.model.name!r} fills holes, of which there"
                " is nothing to blend with; drop --strength"
            )
        self.model.to(chosen, precision)
        self.model.ensemble = ensemble
        self._sigma = sigma
        self.strength = strength
        self.tile = tile
        self.overlap = overlap
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
            if self.strength == 0:
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
        if self.strength == 0:
            # Not by way of float32, which float64 does not survive.
            return image.copy() if isinstance(image, np.ndarray) else image.detach().clone()
        parts = [
            self.restore_pixels(unpacked.pixels[index], None if holes is None else holes[index])
            for index in range(batch)
        ]
        result: ImageT = unpacked.pack(torch.stack(parts), holes)
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
        alone = len(pictures) < 2 or len(shapes) > 1 or self.strength == 0
        if alone or not self._fits_together(pictures):
            return [self.restore_picture(p, m) for p, m in zip(pictures, given, strict=True)]
        for mask in given:
            self._check_mask_is_wanted(mask)
        pixels = torch.stack([picture.pixels for picture in pictures])
        holes = None if given[0] is None else torch.stack([m for m in given if m is not None])
        restored = self._blend(pixels, self._restore(pixels, holes).cpu().clamp(0, 1))
        if holes is not None:
            restored = torch.where(holes, restored, pixels)
        return [p.with_pixels(r) for p, r in zip(pictures, restored, strict=True)]

    def _restore(self, pixels: Tensor, mask: Tensor | None, **options: bool) -> Tensor:
        if self._sigma is None:
            return self.model.restore(pixels, mask, **options)
        return self.model.restore(pixels, mask, sigma=self._sigma, **options)

    def _fits_together(self, pictures: Sequence[Picture]) -> bool:
        channels, height, width = pictures[0].pixels.shape
        return channels in (1, 3) and self._choose_tile(len(pictures) * height * width) == 0

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
        if self.strength == 0:
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
        if self.strength == 1:
            return restored
        return torch.lerp(pixels, restored.to(pixels), self.strength).clamp(0, 1)

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
            overlap=self.overlap,
            multiple=self.model.size_multiple,
            mask=mask,
            notify=self.notify,
        )
        if used != tile:
            self._tile_that_fits = used
        return restored

    def _choose_tile(self, pixels: int) -> int:
        tile = self.tile
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
