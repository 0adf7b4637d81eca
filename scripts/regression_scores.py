"""Regression scores of a packaged model: its PSNR on a few fixed pictures, kept in its card.

The pictures come with scikit-image, so that whoever installs the weights can check them; damage is
drawn from fixed seeds. They are no test set: the scores say that a model is the one it was, not
how good it is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from irae.errors import ModelError
from irae.imaging.metrics import psnr
from irae.models.loaded import LoadedModel
from irae.tasks.base import Degradation
from irae.tasks.denoise import Noise
from irae.tasks.inpaint import Strokes
from irae.tasks.jpeg import Jpeg
from irae.tasks.photo import NoisyJpeg

CROPS = {"chelsea": (60, 100), "coffee": (150, 200), "astronaut": (20, 150)}
"""Name of a picture of ``skimage.data``, and the top left corner of its crop."""

SIDE = 160

LEVELS: dict[str, dict[str, Degradation]] = {
    "denoise": {
        "sigma 15": Noise(15),
        "sigma 25": Noise(25),
        "sigma 50": Noise(50),
        "sigma 25, clipped": Noise(25, clipped=True),
    },
    "jpeg": {"quality 10": Jpeg(10), "quality 40": Jpeg(40)},
    "inpaint": {"strokes": Strokes()},
    "photo": {"sigma 8, quality 95": NoisyJpeg(8, 95), "sigma 25, quality 80": NoisyJpeg(25, 80)},
}
"""Of each task, the name and the damage of the levels that a card keeps scores of."""


def regression_pictures() -> list[Tensor]:
    """The pictures, each ``1 3 160 160`` in [0, 1].

    Raises:
        ModelError: scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError:
        raise ModelError("regression scores need scikit-image: pip install 'irae[demo]'") from None
    pictures = []
    for name, (top, left) in CROPS.items():
        pixels = getattr(data, name)()[top : top + SIDE, left : left + SIDE]
        tensor = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)
        pictures.append(tensor[None].float() / 255)
    return pictures


def regression_scores(model: LoadedModel) -> dict[str, float]:
    """Level → mean PSNR in dB over the pictures, at the model's device and precision.

    Raises:
        ModelError: scikit-image is not installed, or an output is not finite.
    """
    scores = {}
    for name, level in LEVELS[model.task].items():
        values = []
        for index, clean in enumerate(regression_pictures()):
            damaged = level.degrade(clean[0], (index,))
            mask = None if damaged.mask is None else damaged.mask[None]
            restored = model.restore(damaged.pixels[None], mask).cpu().clamp(0, 1)
            values.append(float(psnr(restored, clean)))
        scores[name] = round(sum(values) / len(values), 4)
    return scores
