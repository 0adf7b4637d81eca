"""Measuring the damage of a photograph by a small fitted network: noise and JPEG quality.

`irae.imaging.analysis.noise` judges noise by rules and says when it is unsure, which it mostly is
where the noise of a real camera is weak. This network is surer: it was fitted to the features of
photographs with known damage of every kind, their spectra (`irae.imaging.analysis.spectrum`) and
the JPEG quality that their pixels show, by ``scripts/fit_damage.py``, which remakes its numbers,
``damage.safetensors``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from irae.imaging.analysis import spectrum
from irae.imaging.analysis.jpeg_quality import estimate_jpeg_quality
from irae.imaging.analysis.noise import Noise

NUMBERS = Path(__file__).parent / "damage.safetensors"
"""The fitted numbers."""

UNDAMAGED = 100
"""The quality that stands for no JPEG."""

CODES = 3
"""How many numbers say the damage of a picture."""

FEATURES = spectrum.FEATURES + 2
"""Number of features of a picture."""

_FARTHEST = 5.0  # Standard deviations; no feature counts as farther from the mean.


@dataclass(frozen=True)
class Damage:
    """The damage of a photograph.

    Attributes:
        sigma: standard deviation of the noise in 8-bit units, over all channels.
        correlation: correlation between neighbouring pixels of the noise, 0 to 0.95.
        quality: quality of a JPEG on the scale of libjpeg; 100 stands for none.
    """

    sigma: float
    correlation: float
    quality: float

    def codes(self) -> Tensor:
        """Return the codes ``1 CODES`` that tell a network this damage."""
        sigma, correlation, quality = torch.tensor(
            [[self.sigma], [self.correlation], [self.quality]]
        )
        return encode_damage(sigma, correlation, quality)

    def as_json(self) -> dict[str, float]:
        """Return the attributes as plain JSON, rounded."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


def encode_damage(sigma: Tensor, correlation: Tensor, quality: Tensor) -> Tensor:
    """Encode the damage of pictures, each ``B``, as a network is told it: ``B CODES``.

    Typical values become zero, and all codes are of about the size of the pixels of a picture.
    """
    level = ((sigma + 0.5).log2() - 2) / 4
    lost = (UNDAMAGED - quality) / 50
    return 0.5 * torch.stack([level, correlation - 0.3, lost - 0.2], 1)


def decode_damage(codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return sigma, correlation and quality, each ``B``, of codes ``B CODES``."""
    level, correlation, lost = (2 * codes).unbind(1)
    sigma = (2 ** (4 * level + 2) - 0.5).clamp(min=0)
    quality = (UNDAMAGED - 50 * (lost + 0.2)).clamp(1, UNDAMAGED)
    return sigma, (correlation + 0.3).clamp(0, 0.95), quality


def measure_damage(pixels: Tensor, visible: Tensor | None = None) -> Damage | None:
    """Measure the damage of a picture.

    Args:
        pixels: ``C H W`` in [0, 1], C 1 or 3.
        visible: bool ``1 H W``, False for transparent pixels, which are left out.

    Returns:
        The damage; None for a picture that is too small.
    """
    codes = _measured(pixels, visible)
    return None if codes is None else Damage(*(float(part) for part in decode_damage(codes)))


def _measured(pixels: Tensor, visible: Tensor | None = None) -> Tensor | None:
    """Measure the codes ``1 CODES`` of a picture, arguments as for `measure_damage`."""
    features = damage_features(pixels, visible)
    return None if features is None else predict_codes(features[None], read_numbers())


def damage_features(pixels: Tensor, visible: Tensor | None = None) -> Tensor | None:
    """Compute the features of a picture, arguments as for `measure_damage`.

    Returns:
        float32 of length `FEATURES`: the spectra, whether the pixels show an earlier JPEG, and how
        far its quality is below 100, in units of 50. None for a picture that is too small.
    """
    spectra = spectrum.spectral_features(pixels, visible)
    if spectra is None:
        return None
    jpeg = estimate_jpeg_quality(pixels)
    trace = [0.0, 0.0] if jpeg is None else [1.0, (UNDAMAGED - jpeg.quality) / 50]
    return torch.cat([spectra, spectra.new_tensor(trace)])


def with_shared(damage: Damage | None, noise: Noise | None) -> Damage | None:
    """Return the damage with the noise that rules measured, where all channels share it.

    The fitted network sees less of such noise: it takes much of it for texture. So models are
    told more where they are tried. Restoring tells them what was fitted, which was not worse.

    Args:
        damage: as measured here, of a picture without JPEG.
        noise: as measured by rules.
    """
    if damage is None or noise is None or not (noise.sure and noise.shared):
        return damage
    return replace(damage, sigma=noise.sigma, correlation=noise.correlation)


@torch.no_grad()
def measure_codes(pictures: Tensor) -> Tensor:
    """Measure the damage of pictures ``B C H W``: codes ``B CODES`` in host memory.

    A picture that is too small gets the codes of a typical damage, zeros.
    """
    measured = [_measured(picture) for picture in pictures.float().cpu()]
    return torch.cat([torch.zeros(1, CODES) if each is None else each for each in measured])


def with_sigma(codes: Tensor, sigma: float) -> Tensor:
    """Return codes ``B CODES`` that say another level of the noise, in 8-bit units."""
    known = encode_damage(torch.tensor([sigma]), torch.zeros(1), torch.zeros(1))[0, 0]
    return torch.cat([known.to(codes).expand(len(codes), 1), codes[:, 1:]], 1)


@torch.no_grad()
def predict_codes(features: Tensor, numbers: dict[str, Tensor]) -> Tensor:
    """Predict codes ``B CODES`` from features ``B FEATURES``, as the mean of all members.

    Args:
        features: as returned by `damage_features`.
        numbers: ``mean`` and ``scale`` of the features, and of each layer ``N`` the weights
            ``weightN`` (members, inputs, outputs) and ``biasN`` (members, 1, outputs).
    """
    x = normalised(features, numbers["mean"], numbers["scale"])
    return members_codes(x, numbers).mean(0)


def normalised(features: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """Normalise features as the network takes them."""
    return ((features - mean) / scale).clamp(-_FARTHEST, _FARTHEST)


def members_codes(x: Tensor, numbers: dict[str, Tensor]) -> Tensor:
    """Return each member's codes ``members B CODES`` for normalised features."""
    layers = sum(name.startswith("weight") for name in numbers)
    h = x.expand(len(numbers["weight0"]), -1, -1)
    for layer in range(layers):
        h = torch.baddbmm(numbers[f"bias{layer}"], h, numbers[f"weight{layer}"])
        h = F.gelu(h) if layer < layers - 1 else h
    return h


def save_numbers(numbers: dict[str, Tensor], path: Path = NUMBERS) -> None:
    """Write fitted numbers in half precision."""
    save_file({name: value.half().contiguous() for name, value in numbers.items()}, path)
    read_numbers.cache_clear()


@cache
def read_numbers(path: Path = NUMBERS) -> dict[str, Tensor]:
    """Read what `save_numbers` wrote."""
    return {name: value.float() for name, value in load_file(path).items()}
