"""Trying models on parts of a picture, and what their changes say about it.

A network that removes noise changes the whole picture alike, also where it is quiet; a network that
eats texture changes the textured parts alone. So the change that a model makes, beside the measured
noise and JPEG quality, tells whether it is for the better; see `irae.restoring.automatic.gain`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from threading import Lock

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.imaging.analysis.damage import UNDAMAGED, Damage
from irae.imaging.analysis.lossy_file import LossyFile
from irae.imaging.analysis.noise import Noise
from irae.models.call import takes_damage
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel
from irae.tasks import DENOISE, JPEG, PHOTO

TRIED = (JPEG, PHOTO)
"""The tasks whose packaged models are tried."""

PART, PARTS = 160, 3
"""Side of the parts in pixels, and their largest number."""

_SMOOTH = 8  # Side of the boxes whose activity is compared, in pixels.
_QUIET = 0.2

# A denoiser that removes nothing but noise changes the brightness by less than the level of the
# noise. One that wipes out letters changes it by 1.5 to 3.6 times that level.
_MOST_CHANGE = 1.2

FEATURES = 17 + 7 * len(TRIED)
"""Number of features of a picture."""

TRACE = 6
"""Index of the feature that is 1 if there is a trace of JPEG, else 0."""

HEAVINESS = 7
"""Index of the feature that is ``log(quality / 75)`` below 75, else 0."""

FLATNESS = 9
"""Index of the feature that is the share of pixels equal to their neighbour."""

AVIF_OR_HEIC = 15
"""Index of the feature that is 1 for a file of these formats, else 0."""

_lock = Lock()


def parts_of(pixels: Tensor) -> list[Tensor]:
    """Cut `PARTS` parts along a diagonal of ``C H W``; a small picture is one part."""
    height, width = pixels.shape[1:]
    if height * width <= PARTS * PART**2:
        return [pixels]
    across, down = min(PART, width), min(PART, height)
    across = min(width, PART * PART // down) if down < PART else across
    down = min(height, PART * PART // across) if across < PART else down
    return [
        pixels[:, top : top + down, left : left + across]
        for share in (0.15, 0.5, 0.85)
        for top, left in [(round(share * (height - down)), round(share * (width - across)))]
    ]


def restore_parts(parts: Sequence[Tensor], damage: Damage | None) -> dict[str, list[Tensor]]:
    """Restore parts ``C H W`` by the packaged model of each task of `TRIED`, on the CPU.

    Args:
        parts: as returned by `parts_of`.
        damage: the damage of the whole picture, which models that take it are told; None if it is
            not known.
    """
    codes = None if damage is None else damage.codes()
    found: dict[str, list[Tensor]] = {}
    # Pictures may be inspected on several threads; a model makes its restoring form only once.
    with _lock:
        for task in TRIED:
            model = _model(task)
            told = codes if takes_damage(model.network) else None
            found[task] = [model.restore(part[None], damage=told)[0].clamp(0, 1) for part in parts]
    return found


def denoiser_suits(parts: Sequence[Tensor], sigma: float) -> bool:
    """Whether the packaged denoiser removes white noise from a picture, and nothing but noise.

    Args:
        parts: as returned by `parts_of`, of 1 or 3 channels.
        sigma: level of the noise in 8-bit units, averaged over the channels.
    """
    with _lock:
        restored = [_model(DENOISE).restore(part[None])[0] for part in parts]
    # The mean of independent channels has less noise than each of them.
    return removes_only_noise(parts, restored, sigma / math.sqrt(len(parts[0])))


def removes_only_noise(parts: Sequence[Tensor], restored: Sequence[Tensor], sigma: float) -> bool:
    """Whether a restoration changes the brightness by no more than noise can.

    Args:
        parts: noisy pictures ``C H W`` in [0, 1].
        restored: the same, restored.
        sigma: level of the noise in the mean of the channels, in 8-bit units.
    """
    pairs = zip(parts, restored, strict=True)
    change = torch.cat([(part - result.to(part)).mean(0).flatten() for part, result in pairs])
    return 255 * float(change.square().mean().sqrt()) <= _MOST_CHANGE * sigma


@cache
def _model(task: str) -> LoadedModel:
    return load_model(task).to("cpu", "auto")


def features(
    parts: Sequence[Tensor],
    restored: dict[str, list[Tensor]],
    noise: Noise | None,
    quality: int | None,
    damage: Damage | None,
    lossy: LossyFile | None,
) -> Tensor:
    """Compute the features of a picture: float32 of length `FEATURES`.

    Args:
        parts: as returned by `parts_of`, of 1 or 3 channels.
        restored: as returned by `restore_parts`.
        noise: the measured noise; None if the picture is too small.
        quality: its JPEG quality; None if there is no trace.
        damage: the damage by the fitted measure; None if the picture is too small.
        lossy: how strongly its file was compressed, if it is no JPEG; None if without loss.
    """
    damage = damage or Damage(0.0, 0.0, UNDAMAGED)
    noise = noise or Noise(0.0, 0.0, 0.0, 0.0, sure=False)
    q = 100 if quality is None else quality
    about = [
        # Where texture cannot be told from noise, the highest frequencies say most.
        _log(max(noise.sigma, noise.white)),
        _log(noise.most),
        _log(noise.colour),
        noise.correlation,
        float(noise.sure),
        float(noise.drawn),
        float(quality is not None),
        math.log(max(q, 5) / 75) if q < 75 else 0.0,
        (min(q, 100) - 75) / 25 if q >= 75 else 0.0,
        *_flatness(parts),
        _log(damage.sigma),
        damage.correlation,
        # Pictures that were resized after JPEG have no other trace of it.
        (UNDAMAGED - damage.quality) / 50 if quality is None else 0.0,
        float(lossy is not None and lossy.kind == "WEBP"),
        float(lossy is not None and lossy.kind != "WEBP"),
        0.0 if lossy is None else _log(lossy.bits),
    ]
    for task in TRIED:
        about += _change(parts, restored[task])
    return torch.tensor(about)


def _flatness(parts: Sequence[Tensor]) -> list[float]:
    """Return the shares of equal neighbours and of pixels at black or white."""
    equal, limits, count = 0.0, 0.0, 0
    for part in parts:
        equal += float((part[:, :, 1:] == part[:, :, :-1]).all(0).sum())
        limits += float(((part <= 0) | (part >= 1)).float().mean(0).sum())
        count += part[0].numel()
    return [equal / count, limits / count]


def _change(parts: Sequence[Tensor], restored: Sequence[Tensor]) -> list[float]:
    """Describe a change: its size in luma and colour, in quiet parts, its shape."""
    if any(min(part.shape[1:]) < _SMOOTH for part in parts):
        return [0.0] * 7
    luma, colour, boxes, activity, along, fourth = [], [], [], [], [], []
    for part, result in zip(parts, restored, strict=True):
        change = 255 * (part - result.to(part))
        gray = change.mean(0)
        luma.append(gray.flatten())
        colour.append((change - gray).flatten())
        off = gray - gray.mean()
        along.append((off[:, 1:] * off[:, :-1]).mean() / off.square().mean().clamp(min=1e-4))
        fourth.append(off.pow(4).mean() / off.square().mean().square().clamp(min=1e-6))
        boxes.append(F.avg_pool2d(gray.square()[None], _SMOOTH).flatten())
        base = 255 * result.to(part).mean(0)[None]
        spread = F.avg_pool2d(base.square(), _SMOOTH) - F.avg_pool2d(base, _SMOOTH).square()
        activity.append(spread.flatten())
    power = torch.cat(boxes)
    order = torch.cat(activity).argsort()
    quiet, lively = (order[: max(1, int(_QUIET * len(order)))], order[int(0.8 * len(order)) :])
    all_luma = torch.cat(luma)
    texture = torch.cat(activity)
    return [
        _log(float(all_luma.square().mean().sqrt())),
        _log(float(torch.cat(colour).square().mean().sqrt())),
        _log(float(power[quiet].mean().sqrt())),
        _log(float(power[lively].mean().sqrt())),
        float(sum(along)) / len(along),
        math.log(max(float(sum(fourth)) / len(fourth), 1.0)) - math.log(3),
        _log(float(texture.clamp(min=0).mean().sqrt())),
    ]


def _log(level: float) -> float:
    return math.log(level + 0.1)
