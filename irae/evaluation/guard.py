"""What guards a packaged model: its PSNR on a few fixed pictures, kept in its card.

The pictures come with scikit-image, so that whoever installs the weights can check them; damage is
drawn from fixed seeds. They are no test set: the figures say that a model is the one it was, not
how good it is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from irae.errors import ModelError
from irae.imaging.degrade import add_noise, apply_mask, irregular_mask, jpeg_compress
from irae.imaging.metrics import psnr
from irae.models.loaded import LoadedModel
from irae.runtime import generator

CROPS = {"chelsea": (60, 100), "coffee": (150, 200), "astronaut": (20, 150)}
"""Name of a picture of ``skimage.data``, and the top left corner of its crop."""

SIDE = 160

LEVELS = {
    "denoise": ["sigma 15", "sigma 25", "sigma 50", "sigma 25, clipped"],
    "jpeg": ["quality 10", "quality 40"],
    "inpaint": ["strokes"],
}


def guard_pictures() -> list[Tensor]:
    """The pictures, each ``1 3 160 160`` in [0, 1].

    Raises:
        ModelError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError:
        raise ModelError("guard figures need scikit-image: pip install 'irae[demo]'") from None
    pictures = []
    for name, (top, left) in CROPS.items():
        pixels = getattr(data, name)()[top : top + SIDE, left : left + SIDE]
        tensor = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
        pictures.append(tensor[None].float() / 255)
    return pictures


def guard_damage(clean: Tensor, level: str, index: int) -> tuple[Tensor, Tensor | None]:
    """A guard picture damaged as a level of `LEVELS` says, and the mask of its holes."""
    name, _, value = level.partition(" ")
    if name == "sigma":
        sigma, _, clipped = value.partition(", ")
        return add_noise(clean, float(sigma), generator(index), clip=bool(clipped)), None
    if name == "quality":
        return jpeg_compress(clean[0], int(value))[None], None
    height, width = clean.shape[2:]
    mask = irregular_mask(height, width, generator(index))[None]
    return apply_mask(clean, mask), mask


def guard_figures(model: LoadedModel) -> dict[str, float]:
    """Level → mean PSNR in dB over the guard pictures, at the model's device and precision.

    Raises:
        ModelError: scikit-image is not installed, or an output is not finite.
    """
    figures = {}
    for level in LEVELS[model.task]:
        values = []
        for index, clean in enumerate(guard_pictures()):
            degraded, mask = guard_damage(clean, level, index)
            restored = model.restore(degraded, mask).cpu().clamp(0, 1)
            values.append(float(psnr(restored, clean)))
        figures[level] = round(sum(values) / len(values), 4)
    return figures
