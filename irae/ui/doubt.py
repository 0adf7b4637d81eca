"""What the model was unsure of, as a map that the page lays over a result."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from irae.imaging.io.picture import Picture, to_upright
from irae.restoring.uncertainty import to_map
from irae.ui.pictures import Doubt
from irae.ui.previews import Preview

COLOUR = (60, 110, 255)
"""Colour of what the model is unsure of: few photographs have much of it."""

MOST_OPAQUE = 0.85
LEAST_FULL = 2.0
"""Least spread, in 8-bit units, that is shown in the full colour: less cannot be seen."""

_FULL_SHARE = 99.5


def keep_doubt(spread: Tensor, picture: Picture, folder: Path) -> tuple[Doubt, float]:
    """Write the map of a spread into a folder.

    Args:
        spread: what `irae.restoring.uncertainty.orientation_spread` returned, ``1 H W``.
        picture: the picture, whose orientation the maps get.
        folder: where to; an earlier map there is replaced.

    Returns:
        The map, and the spread in 8-bit units from which it has its full colour.
    """
    upright = to_upright(spread, picture.orientation)
    file = folder / "uncertainty.png"
    Image.fromarray(to_map(upright)[0].numpy()).save(file, "PNG")
    values = upright[0].numpy()
    full = max(LEAST_FULL, float(np.percentile(values, _FULL_SHARE)))
    shown = np.empty((*values.shape, 4), np.uint8)
    shown[..., :3] = COLOUR
    shown[..., 3] = (255 * MOST_OPAQUE * np.minimum(values / full, 1)).round()
    return Doubt(file, Preview.save_image(Image.fromarray(shown), folder / "doubt")), full
