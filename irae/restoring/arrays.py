"""Conversion of a caller's arrays and tensors to the pixels that a model restores, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from irae.errors import UsageError
from irae.imaging.io.masks import mask_levels
from irae.imaging.io.picture import codes
from irae.imaging.io.pillow import picture_from_pil

_INTEGER_PEAK: dict[Any, int] = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}

# Unclipped noise of sigma 50 leaves [0, 1] by five standard deviations, that is by 1; a picture
# in [0, 255] leaves it by far more.
_FLOAT_RANGE = (-3.0, 4.0)


@dataclass(frozen=True)
class Unpacked:
    """A caller's image as pixels, with the way back to its kind.

    Attributes:
        pixels: float32 ``B C H W``, C = 1 or 3.
        pack: converts the restored pixels (``B C H W``) and the mask (``B 1 H W`` or None) to
            the caller's kind, dtype and shape; alpha, and with a mask all known values, are
            copied from the caller's image.
    """

    pixels: Tensor
    pack: Callable[[Tensor, Tensor | None], Any]


def unpack_array(image: NDArray[Any]) -> Unpacked:
    """Unpack an array ``H W`` or ``H W C``, C = 1 to 4 (with an even C, the last is alpha).

    Raises:
        UsageError: the array has another shape, a dtype other than uint8, uint16 and floats, or
            floats out of range.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and not 1 <= image.shape[2] <= 4):
        raise UsageError(f"array of shape {image.shape}: an image is H W, or H W C with C 1 to 4")
    if 0 in image.shape:
        raise UsageError(f"array of shape {image.shape}: the image is empty")
    channels_last = image if image.ndim == 3 else image[:, :, None]
    peak = _INTEGER_PEAK.get(image.dtype.newbyteorder("="))
    if peak is None and image.dtype.kind != "f":
        raise UsageError(f"array of {image.dtype}: use uint8, uint16, or floats in [0, 1]")
    values = channels_last.astype(np.float32) / (peak or 1)
    whole = torch.from_numpy(values).movedim(2, 0)[None].contiguous()
    if peak is None:
        _check_range(whole, "array")
    colours = _colours(channels_last.shape[2])

    def pack(restored: Tensor, mask: Tensor | None) -> NDArray[Any]:
        result = channels_last.copy()
        levels = restored[0].movedim(0, 2).cpu()
        # Rounded as written pictures are, so that an array and a file give the same levels.
        rounded = levels.clamp(0, 1) if peak is None else codes(levels, peak.bit_length())
        values = rounded.numpy()
        if mask is None:
            result[:, :, :colours] = values.astype(image.dtype)
        else:
            hole = mask[0, 0].cpu().numpy()
            result[hole, :colours] = values[hole].astype(image.dtype)
        return result.reshape(image.shape)

    return Unpacked(whole[:, :colours], pack)


def unpack_tensor(image: Tensor) -> Unpacked:
    """Unpack a float tensor ``C H W`` or ``B C H W`` in [0, 1] (with an even C, the last is alpha).

    Raises:
        UsageError: the tensor has another shape, another dtype, or values out of range.
    """
    shape = tuple(image.shape)
    if image.ndim not in (3, 4) or not 1 <= shape[-3] <= 4:
        raise UsageError(
            f"tensor of shape {shape}: an image is C H W or B C H W, with C 1 to 4"
            " (an array may be H W C)"
        )
    if 0 in shape:
        raise UsageError(f"tensor of shape {shape}: the image is empty")
    if not image.is_floating_point():
        raise UsageError(f"tensor of {image.dtype}: use floats in [0, 1], as image.float() / 255")
    batch = (image if image.ndim == 4 else image[None]).detach()
    colours = _colours(shape[-3])
    pixels = batch.float()
    _check_range(pixels, "tensor")

    def pack(restored: Tensor, mask: Tensor | None) -> Tensor:
        result = batch.clone()
        values = restored.clamp(0, 1).to(batch)
        if mask is not None:
            values = torch.where(mask.to(batch.device), values, batch[:, :colours])
        result[:, :colours] = values
        return result.reshape(image.shape)

    return Unpacked(pixels[:, :colours], pack)


def unpack_mask(mask: object, batch: int, height: int, width: int) -> Tensor:
    """Convert a caller's mask to bool ``batch 1 H W``, True in the masked region.

    The mask is a PIL picture, which is read as a mask file is (`irae.imaging.io.masks`), an array
    ``H W`` (or ``H W 1``) or a tensor ``H W``, ``1 H W`` or ``B 1 H W``. In arrays and tensors,
    masked pixels are True, or above half of the largest value.

    Raises:
        UsageError: the mask is of another kind, or its size is not the image's.
    """
    if isinstance(mask, Image.Image):
        picture = picture_from_pil(mask, name="mask")
        values = mask_levels(picture.pixels, picture.alpha)[0] > 0.5
    elif isinstance(mask, np.ndarray):
        plane = mask[:, :, 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
        values = torch.from_numpy(plane > (plane.max() / 2 if plane.size else 0))
    elif isinstance(mask, Tensor):
        plain = mask.detach().cpu()
        values = plain > (plain.max() / 2 if plain.numel() else 0)
    else:
        raise UsageError(f"mask of {type(mask).__name__}: use a PIL image, an array or a tensor")
    if tuple(values.shape[-2:]) != (height, width):
        size = " by ".join(str(side) for side in values.shape)
        raise UsageError(f"mask of {size} for an image of {height} by {width}: make them equal")
    if values.ndim == 2:
        values = values[None, None]
    elif values.ndim == 3 and values.shape[0] == 1:
        values = values[None]
    if values.ndim != 4 or values.shape[1] != 1 or values.shape[0] not in (1, batch):
        raise UsageError(f"mask of shape {tuple(values.shape)}: use H W, 1 H W or B 1 H W")
    return values.expand(batch, 1, height, width)


def _colours(channels: int) -> int:
    return 3 if channels >= 3 else 1


def _check_range(pixels: Tensor, kind: str) -> None:
    low, high = float(pixels.min()), float(pixels.max())
    # Written so that NaN fails too.
    if not (low >= _FLOAT_RANGE[0] and high <= _FLOAT_RANGE[1]):
        raise UsageError(
            f"{kind} of floats from {low:g} to {high:g}: an image lies in [0, 1]; divide by 255?"
        )
