"""The rules by which `irae restore` chooses a task, if the user names none."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from irae.imaging.analysis.noise import WHITE_CORRELATION, Noise
from irae.restoring.automatic.gain import Gains
from irae.restoring.automatic.trial import FLATNESS
from irae.tasks import JPEG

LEAST_GAIN = 0.3
"""Least predicted gain in dB for which a model changes a picture.

The prediction is what nine of ten pictures exceed (`irae.restoring.automatic.gain`)."""

LOSSY_GAIN = 0.8
"""The same for a file that is written with loss, which takes up to 0.3 dB of the gain, and where a
mistake cannot be undone."""

HEAVY_JPEG, HEAVY_GAIN = 60, -0.5
"""Below this JPEG quality this prediction suffices: models gain 1 dB there, and writing takes
little."""

# With more pixels than this equal to their neighbour, a JPEG of a drawing: of 130 photographs
# compressed at quality 20 to 95, hardly one has so many, of cartoons all.
_FLAT = 0.5

# White noise of this level in a lossless file is exactly what the denoiser was trained on.
_WHITE = 3.0
# The channels' own noise is at least this share of it; the rest of it they have in common.
_LEAST_OWN = 0.5


def suffices(gain: float, typical: float, least: float) -> bool:
    """Whether predicted gains in dB are enough to change a picture.

    The gain to rely on may be a small loss where ``least`` is one, but never the typical gain. A
    smooth gradient without any damage looks like a JPEG of the lowest quality.

    Args:
        gain: the gain to rely on.
        typical: the typical gain.
        least: least gain to rely on for which a picture is changed.
    """
    return gain > least and typical > 0


def better_task(gains: Mapping[str, float], typical: Mapping[str, float], least: float) -> str:
    """Return the task to take.

    Of those that can be relied on for more than ``least``, it is the one that typically gains
    most; if there is none, the one that can be relied on for most.

    Args:
        gains: gain in dB to rely on, by task; not empty.
        typical: typical gain in dB, by task; where it is missing, that to rely on counts.
        least: least gain in dB for which a picture is changed.
    """
    able = [task for task, gain in gains.items() if suffices(gain, typical.get(task, gain), least)]
    if not able:
        return max(gains, key=lambda task: gains[task])
    return max(able, key=lambda task: typical.get(task, gains[task]))


def least_gain(quality: int | None, *, cautious: bool) -> float:
    """Return the predicted gain in dB above which a picture is changed.

    Args:
        quality: its JPEG quality, if there is a trace.
        cautious: whether a larger gain is asked, as of files that are written with loss.
    """
    if quality is not None and quality < HEAVY_JPEG:
        return HEAVY_GAIN
    return LOSSY_GAIN if cautious else LEAST_GAIN


def is_white(noise: Noise) -> bool:
    """Whether neighbouring pixels and, in a colour picture, the channels have independent noise."""
    mostly_common = 0 < noise.colour < _LEAST_OWN * noise.sigma
    white = noise.sigma >= _WHITE and noise.correlation < WHITE_CORRELATION
    return noise.sure and white and not mostly_common


def trained_for(gains: Gains, found: Tensor, quality: int | None) -> Gains:
    """Leave out the model ``jpeg`` for drawings of medium and high quality.

    It was trained on photographs alone. What it does to flat colours and sharp edges is from
    +1.9 to -3 dB, and the prediction does not see which; ``photo`` was trained on drawings too.

    Args:
        gains: the predicted gains.
        found: the picture's features.
        quality: its JPEG quality; None if there is no trace.
    """
    if quality is None or quality < HEAVY_JPEG or float(found[FLATNESS]) <= _FLAT:
        return gains
    without = [
        {t: g for t, g in each.items() if t != JPEG} for each in (gains.least, gains.typical)
    ]
    return Gains(*without)
