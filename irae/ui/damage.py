"""Damage that was found in a picture: its mask, and what the page says of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from irae.imaging.io.picture import Picture, to_upright
from irae.restoring.find_damage import FoundDamage

NOTHING_FOUND = "No scratches, dust, hairs or stamps were found."


def write_found(found: FoundDamage, picture: Picture, path: Path) -> Path:
    """Write the mask of found damage: a PNG, upright, white where the picture is damaged."""
    upright = to_upright(found.mask, picture.orientation)
    Image.fromarray(upright[0].numpy().astype(np.uint8) * 255).save(path, "PNG", compress_level=1)
    return path


def describe_found(found: FoundDamage) -> str:
    """Say in a sentence or two what was found."""
    if not found.mask.any():
        return NOTHING_FOUND
    sentence = f"{found.describe()}."
    if found.too_much:
        sentence += " Too little is left to fill it from; paint over what is to be filled."
    return sentence
