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
    kinds = ", ".join(found.shares)
    share = f"{100 * found.share:.1f}" if found.share >= 0.001 else "less than 0.1"
    sentence = f"{kinds[:1].upper()}{kinds[1:]} were found in {share} % of the picture."
    if found.too_much:
        sentence += " Too little is left to fill that from; paint over what is to be filled."
    return sentence
