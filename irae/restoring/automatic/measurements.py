"""What is measured in a picture before any model is tried on it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from irae.imaging.analysis.colours import has_few_colours
from irae.imaging.analysis.damage import Damage, measure_damage, with_shared
from irae.imaging.analysis.noise import Noise, measure_noise
from irae.restoring.automatic.rules import is_white


@dataclass(frozen=True)
class Measurements:
    """The noise of a picture, and the damage that its models are told.

    Attributes:
        few_colours: whether it has so few colours that it was not damaged; nothing else is then
            measured.
        noise: the noise measured by rules; None if the picture is too small or has few colours.
        damage: the damage by the fitted measure; None likewise.
        told: the damage that models are told while they are tried.
        white: whether the noise is what ``denoise`` was trained on: white, and not under JPEG.
    """

    few_colours: bool
    noise: Noise | None = None
    damage: Damage | None = None
    told: Damage | None = None
    white: bool = False


def take_measurements(
    pixels: Tensor, visible: Tensor | None = None, *, jpeg: bool, two_levels: bool = False
) -> Measurements:
    """Measure a picture.

    Args:
        pixels: ``C H W`` in [0, 1], of 1 or 3 channels.
        visible: which pixels are not transparent, bool ``1 H W``; None if all are visible.
        jpeg: whether it has a trace of JPEG.
        two_levels: whether it is black and white, of which the dots are the content.
    """
    # Damage makes many colours of few.
    if two_levels or (not jpeg and has_few_colours(pixels)):
        return Measurements(few_colours=True)
    noise, damage = measure_noise(pixels, visible), measure_damage(pixels, visible)
    return Measurements(
        few_colours=False,
        noise=noise,
        damage=damage,
        told=damage if jpeg else with_shared(damage, noise),
        white=not jpeg and noise is not None and is_white(noise),
    )
