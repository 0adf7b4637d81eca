"""Batches for a detector: damage pasted onto clean patches, and where it is."""

from __future__ import annotations

from concurrent.futures import Executor
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from irae.imaging.degrade import jpeg_compress
from irae.imaging.film_damage import paste_damage, read_overlays
from irae.imaging.metrics import rgb_to_y
from irae.runtime import generator
from irae.tasks.base import Batch
from irae.tasks.batch_random import BatchRandom
from irae.tasks.schema import PastedDamageSection

_DAMAGE = 5  # Key of the random stream of a sample's damage.

_MOST_NOISE = 14 / 255
_QUALITIES = (60, 97)


def overlays_of(section: PastedDamageSection, root: Path, *, apart: bool) -> list[Tensor]:
    """Read the overlays that a config names, here or below ``root``; none if it names no folder.

    ``apart`` and the errors are those of `irae.imaging.film_damage.read_overlays`.
    """
    if section.overlays is None:
        return []
    below = Path(section.overlays).expanduser()
    return read_overlays(below if below.is_dir() else root / below, apart=apart)


class PastedDamage:
    """Damages the patches of a batch, each from a generator of its own, on the CPU.

    A toned or gray picture is damaged as a colour one. Noise lies over the damage, as grain does,
    and JPEG comes last.

    Args:
        section: the section ``degradation`` of the run's config.
        seed: seed of the run.
        workers: executor for the samples.
        root: root folder of the data.

    Raises:
        DataError: there are no overlays in the folder.
    """

    def __init__(
        self, section: PastedDamageSection, *, seed: int, workers: Executor, root: Path
    ) -> None:
        self._section, self._seed, self._workers = section, seed, workers
        self._overlays = overlays_of(section, root, apart=False)

    def __call__(self, clean: Tensor, gray: Tensor, random: BatchRandom) -> Batch:
        """Return the batch of clean patches ``B 3 H W`` on the CPU; ``gray`` plays no part."""
        del gray
        numbers = range(random.batch)[random.rows]
        streams = [generator(self._seed, random.step, _DAMAGE, number) for number in numbers]
        made = list(self._workers.map(self._damage, clean, streams))
        degraded = torch.stack([picture for picture, _ in made])
        damaged = torch.stack([mask for _, mask in made])
        degraded = degraded.contiguous(memory_format=torch.channels_last)
        return Batch(clean, degraded, damaged=damaged)

    def _damage(self, clean: Tensor, stream: Generator) -> tuple[Tensor, Tensor]:
        """Return a damaged patch ``3 H W`` and its mask ``1 H W``."""
        section = self._section

        def happens(share: float) -> bool:
            return _uniform(stream, 0, 1) < share

        picture = _toned(clean, stream) if happens(section.toned) else clean
        mask = torch.zeros(1, *clean.shape[1:], dtype=torch.bool)
        if not happens(section.undamaged):
            picture, mask = paste_damage(picture, stream, self._overlays)
        if happens(section.noise):
            picture = picture + _grain(picture, stream)
        picture = picture.clamp(0, 1)
        if happens(section.jpeg):
            quality = round(_uniform(stream, *_QUALITIES))
            picture = jpeg_compress(picture, quality)
        return picture, mask


def _uniform(stream: Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=stream))


def _toned(clean: Tensor, stream: Generator) -> Tensor:
    """Return a black-and-white picture with a warm tone, which is strongest in its middle grays."""
    luma = rgb_to_y(clean[None])[0]
    warmth = torch.tensor([_uniform(stream, 0, top) for top in (0.1, 0.05, -0.1)])
    return (luma + 4 * luma * (1 - luma) * warmth.view(3, 1, 1)).clamp(0, 1)


def _grain(picture: Tensor, stream: Generator) -> Tensor:
    """Return noise for a picture: white or smoothed, of each channel or of all alike."""
    sigma = _uniform(stream, 0, _MOST_NOISE)
    noise = sigma * torch.randn(picture.shape, generator=stream)
    if _uniform(stream, 0, 1) < 0.5:
        noise = noise.mean(0, keepdim=True).expand_as(noise) * 3**0.5
    if _uniform(stream, 0, 1) < 0.5:
        noise = F.avg_pool2d(noise[None], 3, 1, 1)[0] * 2.2
    return noise
