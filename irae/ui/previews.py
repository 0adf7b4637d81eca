"""What a browser can show of a picture, and the mask that was painted on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from irae.errors import UsageError
from irae.imaging.io.picture import Picture, codes, to_upright

PREVIEW_SIDE = 4096
"""Longest side of a preview, pixels. What every browser's canvas can hold and be painted on."""

_CHECKER = 8


def upright_size(picture: Picture) -> tuple[int, int]:
    """Width and height as the picture is looked at."""
    size = picture.width, picture.height
    return size if picture.orientation < 5 else (size[1], size[0])


def make_preview(picture: Picture, longest: int = PREVIEW_SIDE) -> Image.Image:
    """The picture in 8-bit RGB, upright, transparent parts over a checkerboard.

    Args:
        picture: any layout.
        longest: the side it is reduced to if it is larger, pixels.
    """
    pixels = picture.pixels
    if pixels.shape[0] == 4:  # CMYK, as 1 - ink.
        pixels = pixels[:3] * pixels[3:]
    image = _image(to_upright(pixels, picture.orientation).expand(3, -1, -1))
    if picture.alpha is not None:
        alpha = _image(to_upright(picture.alpha, picture.orientation))
        image = Image.composite(image, _checkerboard(*image.size), alpha)
    if max(image.size) > longest:
        image.thumbnail((longest, longest), Image.Resampling.LANCZOS, reducing_gap=3)
    profile = picture.layout.icc
    if profile is not None and profile[16:20] == b"RGB ":
        image.info["icc_profile"] = profile
    return image


def save_preview(picture: Picture, path: Path, longest: int = PREVIEW_SIDE) -> None:
    """Write the preview as a PNG, with the picture's colour profile if it is one of RGB."""
    image = make_preview(picture, longest)
    # Hardly compressed: it only goes to this machine's browser.
    image.save(path, "PNG", compress_level=1, icc_profile=image.info.get("icc_profile"))


def painted_mask(layers: Sequence[Path], size: tuple[int, int]) -> Image.Image:
    """The mask that was painted: white where a stroke covers at least half of a pixel.

    Args:
        layers: pictures of what was painted, with alpha.
        size: width and height of the upright picture; a mask painted on a smaller preview is
            enlarged to it.

    Raises:
        UsageError: nothing was painted.
    """
    mask = np.zeros((size[1], size[0]), np.uint8)
    for path in layers:
        with Image.open(path, formats=["PNG"]) as layer:
            covered = (np.asarray(layer.convert("RGBA"))[..., 3] > 127).astype(np.uint8) * 255
        enlarged = Image.fromarray(covered).resize(size, Image.Resampling.NEAREST)
        mask |= np.asarray(enlarged)
    if not mask.any():
        raise UsageError("nothing is painted yet; paint over what is to be filled")
    return Image.fromarray(mask)


def _image(planes: torch.Tensor) -> Image.Image:
    values = codes(planes, 8).movedim(0, 2).contiguous().numpy()
    return Image.fromarray(values if values.shape[2] == 3 else values[:, :, 0])


def _checkerboard(width: int, height: int) -> Image.Image:
    rows, columns = np.arange(height) // _CHECKER, np.arange(width) // _CHECKER
    light = (rows[:, None] + columns[None, :]) % 2 == 0
    return Image.fromarray(np.where(light, 255, 204).astype(np.uint8)).convert("RGB")
