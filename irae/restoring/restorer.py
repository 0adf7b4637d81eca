"""`Restorer`: restores pictures of any kind and size with a loaded model."""

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
from irae.imaging.analysis.damage import measure_codes, with_sigma
from irae.imaging.analysis.impulses import find_impulses, remove_impulses
from irae.imaging.analysis.tone import Tone, find_tone
from irae.imaging.io.masks import NOTHING_KNOWN
from irae.imaging.io.picture import Picture
from irae.imaging.io.pillow import picture_from_pil, picture_to_pil
from irae.imaging.tiling import (
    DEFAULT_OVERLAP,
    Progress,
    RestoreFunction,
    restore_within_memory,
)
from irae.models.call import takes_damage
from irae.models.checkpoints.model_file import load_model, packaged_models
from irae.models.loaded import LoadedModel
from irae.restoring.arrays import unpack_array, unpack_mask, unpack_tensor
from irae.restoring.automatic.trial import parts_of, removes_only_noise
from irae.restoring.options import RestoreOptions
from irae.restoring.whitening import Whitening, find_shared_noise
from irae.runtime import select_device
from irae.tasks import DENOISE
from irae.tasks.matching import task_of

AUTOMATIC_TILE = 640
"""Side in pixels of the tiles in which pictures with more than its square are restored. The
packaged denoiser then restores 24 megapixels in less than 1.5 GB; at 1024 it took 0.1 GB more."""

JOINED_SHARE = 0.25
"""Largest share of a GPU's free memory for a picture whose tiles are joined there."""

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
                folder, or a loaded model, which is copied and not changed.
            device: see `RestoreOptions`, also for ``precision``, ``tile``, ``overlap``,
                ``sigma``, ``strength`` and ``ensemble``.
            notify: called with one line when memory ran out and tiles are made smaller; by default
                a warning is logged.
            options: all options at once, in place of the keywords above.

        Raises:
            ModelError: the model cannot be loaded.
            UsageError: the device does not exist, or an option does not suit the model.
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
        # Of a model that somebody trained, nobody knows that another one is better.
        packaged = self.model.name in packaged_models()
        self._takes_denoiser = self._task.leaves_shared_noise and packaged
        self._denoiser: LoadedModel | None = None
        # Remembered, so that the next picture does not run out of memory again.
        self._tile_that_fits: int | None = None

    @property
    def task(self) -> str:
        """The name of the model's task, one of `irae.tasks`."""
        return self._task.name

    def restore(self, image: ImageT, mask: object = None) -> ImageT:
        """Restore an image; the result is of the same kind, dtype, mode and size.

        Args:
            image: a PIL image; an array ``H W`` or ``H W C`` of uint8, uint16 or floats in
                [0, 1]; or a float tensor ``C H W`` or ``B C H W`` in [0, 1]. C is 1 or 3, or 2
                or 4 if the last channel is alpha, which is returned unchanged. A PIL image with a
                palette is returned in a mode that holds the restored colours.
            mask: for inpainting only: the masked region (True or white), as a PIL image, array or
                tensor of the image's size. All other pixels are returned bit-equal.

        Raises:
            UsageError: the image's kind, shape, dtype or range, or the mask, is not supported, or
                the mask marks the whole image.
            ModelError: the model returned non-finite numbers.
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
            # Copied directly: a detour by float32 would round float64.
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

    def restore_picture(
        self, picture: Picture, mask: Tensor | None = None, progress: Progress | None = None
    ) -> Picture:
        """Restore a picture read by `irae.imaging.io.files`; alpha and layout stay as they are.

        Args:
            picture: a picture of any layout.
            mask: bool ``1 H W``, True in the masked region, oriented as ``picture.pixels``.
            progress: called after each tile with the share that is done; may raise to end the work.
        """
        return picture.with_pixels(self.restore_pixels(picture.pixels, mask, progress))

    def restore_pictures(
        self, pictures: Sequence[Picture], masks: Sequence[Tensor | None] | None = None
    ) -> list[Picture]:
        """Restore several pictures; pictures of equal shape pass through the network together.

        Args:
            pictures: pictures of any layout, together small enough for one batch.
            masks: one mask for each picture, as in `restore_picture`, or None.
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

    def _restore(self, pixels: Tensor, mask: Tensor | None, **options: Any) -> Tensor:
        return self.model.restore(pixels, mask, sigma=self.options.sigma, **options)

    def _damage_of(self, pixels: Tensor) -> Tensor | None:
        """Return what a network that is told the damage of whole pictures ``B C H W`` is told."""
        if not takes_damage(self.model.network):
            return None
        codes, sigma = measure_codes(pixels), self.options.sigma
        return codes if sigma is None else with_sigma(codes, sigma)

    def _fits_at_once(self, pixels: Tensor) -> bool:
        """Whether a batch ``B C H W`` may pass through the network at once, without tiles."""
        batch, channels, height, width = pixels.shape
        if channels not in (1, 3) or self._choose_tile(batch * height * width) != 0:
            return False
        # Such pictures are prepared one by one.
        return not any(
            self._tone_of(one) or self._has_impulses(one) or self._whitening_of(one, one)
            for one in pixels
        )

    def _has_impulses(self, pixels: Tensor) -> bool:
        return self._task.fills_impulses and find_impulses(pixels) is not None

    def _tone_of(self, pixels: Tensor) -> Tone | None:
        """Return the tone that the result has to keep, if the picture is toned."""
        wanted = self._task.keeps_tone and pixels.shape[0] == 3
        return find_tone(pixels) if wanted else None

    def _whitening_of(self, pixels: Tensor, stored: Tensor) -> Whitening | None:
        """Return how to make noise white that all channels share, if the denoiser is to take it."""
        # Whoever names a noise level wants it to be told to the network.
        wanted = self._takes_denoiser and self.options.sigma is None
        found = find_shared_noise(pixels, stored) if wanted else None
        if found is None:
            return None
        white = [found.apply(part[None]) for part in parts_of(pixels)]
        restored = [self._restore_white(part)[0] for part in white]
        suits = removes_only_noise([part[0] for part in white], restored, found.sigma)
        return found if suits else None

    def _denoise(
        self,
        whitening: Whitening,
        restore: RestoreFunction,
        pixels: Tensor,
        mask: Tensor | None,
    ) -> Tensor:
        """Restore ``1 C h w`` whose noise all channels share; ``restore`` takes it as it is."""
        direct = restore(pixels, mask) if whitening.direct_share else None
        return whitening.undo(self._restore_white(whitening.apply(pixels)), pixels, direct)

    def _restore_white(self, pixels: Tensor) -> Tensor:
        """Restore ``B 3 h w`` with white noise by the packaged denoiser."""
        if self._denoiser is None:
            self._denoiser = load_model(DENOISE).to(self.model.device, self.options.precision)
            self._denoiser.ensemble = self.options.ensemble
        return self._denoiser.restore(pixels).to(pixels.device)

    def _restore_at_once(self, pixels: Tensor, holes: Tensor | None) -> Tensor:
        _check_some_known(holes)
        restored = self._restore(pixels, holes, damage=self._damage_of(pixels))
        restored = restored.to(pixels.device).clamp(0, 1)
        restored = self._blend(pixels, restored)
        return restored if holes is None else torch.where(holes, restored, pixels)

    def restore_pixels(
        self, pixels: Tensor, mask: Tensor | None = None, progress: Progress | None = None
    ) -> Tensor:
        """Restore float32 ``C H W`` in [0, 1]; C is 3 (RGB), 1 (gray) or 4 (CMYK as 1 − ink).

        A colour network gets gray as three equal channels, and the results are averaged. CMYK is
        restored as an RGB (CMY) and a gray (K) picture. The task ``photo`` restores toned
        black-and-white pictures as gray ones and gives them their tone again, and fills salt and
        pepper before. The packaged model leaves noise that all channels share to the denoiser; see
        `irae.restoring.whitening`.

        Args:
            pixels: the picture, on any device; the result is on the same device.
            mask: bool ``1 H W``, True in the masked region.
            progress: called after each tile with the share that is done; may raise to end the work.

        Returns:
            ``C H W``, clipped to [0, 1]; known values (with a mask) and all values (with a strength
            of 0) are bit-equal to the input's.
        """
        self._check_mask_is_wanted(mask)
        channels = pixels.shape[0]
        if self.options.strength == 0:
            return pixels.clone()
        given = pixels
        if self._task.fills_impulses and channels in (1, 3):
            given = remove_impulses(pixels)
        tone = self._tone_of(given)
        if channels in (1, 3):
            line = given if tone is None else tone.to_gray(given)
            restored = self._restore_tiles(line, mask, progress, self._whitening_of(line, given))
            restored = restored if tone is None else tone.to_colour(restored)
        elif channels == 4:
            tell = progress or (lambda _share: None)
            colours = self._restore_tiles(pixels[:3], mask, lambda share: tell(share / 2))
            black = self._restore_tiles(pixels[3:], mask, lambda share: tell((1 + share) / 2))
            restored = torch.cat((colours, black))
        else:
            raise UsageError(f"picture with {channels} channels; irae restores 1, 3 or 4 (CMYK)")
        # In place for a result assembled from tiles: a large photograph has copies enough.
        restored = restored.clamp(0, 1) if restored.is_inference() else restored.clamp_(0, 1)
        restored = self._blend(pixels, restored)
        return restored if mask is None else torch.where(mask, restored, pixels)

    def _blend(self, pixels: Tensor, restored: Tensor) -> Tensor:
        if self.options.strength == 1:
            return restored
        return torch.lerp(pixels, restored.to(pixels), self.options.strength).clamp(0, 1)

    def _restore_tiles(
        self,
        pixels: Tensor,
        mask: Tensor | None,
        progress: Progress | None,
        whitening: Whitening | None = None,
    ) -> Tensor:
        tile = self._choose_tile(pixels.shape[-2] * pixels.shape[-1])
        restore: RestoreFunction = self._restore
        overlap = self.options.overlap
        if (damage := self._damage_of(pixels[None])) is not None:
            # Of the whole picture: a tile may be all texture.
            restore = partial(self._restore, damage=damage)
        if whitening is not None:
            restore = partial(self._denoise, whitening, restore)
        if mask is not None:
            _check_some_known(mask[None])
            overlap = max(overlap, self.model.context)
            # Over the whole picture, because the surroundings of a hole may lie outside the tile.
            pixels = self.model.fill(pixels[None], mask[None])[0]
            restore = partial(self._restore, filled=True)
        restored, used = restore_within_memory(
            restore,
            pixels,
            tile=tile,
            overlap=overlap,
            multiple=self.model.size_multiple,
            mask=mask,
            notify=self.notify,
            progress=progress,
            device=self._joins_tiles(pixels),
        )
        if used != tile:
            self._tile_that_fits = used
        return restored

    def _joins_tiles(self, pixels: Tensor) -> torch.device | None:
        """Return the GPU of the model if a picture in host memory can be joined there."""
        device = self.model.device
        if device.type != "cuda" or not pixels.is_cpu:
            return None
        # The picture and its result; the tiles' activations need the rest.
        needed = 2 * pixels.numel() * pixels.element_size()
        return device if needed < JOINED_SHARE * torch.cuda.mem_get_info(device)[0] else None

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


def _check_some_known(masks: Tensor | None) -> None:
    """Refuse masks ``B 1 H W`` of which one marks a whole picture."""
    if masks is not None and bool(masks.flatten(1).all(1).any()):
        raise UsageError(f"the mask {NOTHING_KNOWN}")
