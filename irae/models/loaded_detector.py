"""`LoadedDetector`: a detector of damage ready to use, with the spec from its file."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.errors import ModelError
from irae.models.call import network_autocast
from irae.models.loaded_network import LoadedNetwork
from irae.models.networks.damage_detector import DamageDetector

MIRRORED = ((), (2,), (3,), (2, 3))
"""Axes along which a picture is mirrored. The mean of the logits of all four finds more than one
does (docs/tutorials/inpaint.md). It is not turned by 90 degrees: scratches of films run upright,
and the network has learnt so."""

DEFAULT_THRESHOLD = 0.9
"""Probability from which a pixel is damaged if the model's card states no threshold."""


class LoadedDetector(LoadedNetwork[DamageDetector]):
    """A detector of damage with its spec."""

    @property
    def size_multiple(self) -> int:
        """Divisor of the network's heights and widths; pictures of other sizes are padded."""
        return self.network.size_multiple

    @property
    def threshold(self) -> float:
        """Probability from which a pixel is certainly damaged, chosen on undamaged photographs."""
        return float(self.spec.card.get("threshold", DEFAULT_THRESHOLD))

    @torch.inference_mode()
    def probabilities(self, pictures: Tensor) -> Tensor:
        """Return the probability that each pixel is damaged, by the mean logit of `MIRRORED`.

        Args:
            pictures: float32 ``B C H W`` in [0, 1], C 1 or 3, any H and W from 1.

        Returns:
            float32 ``B 1 H W`` on the model's device.

        Raises:
            ModelError: the network returned numbers that are not finite.
        """
        x = pictures.to(self.device, torch.float32).expand(-1, 3, -1, -1)
        height, width = x.shape[2:]
        padding = (0, -width % self.size_multiple, 0, -height % self.size_multiple)
        fits = padding[1] < width and padding[3] < height
        x = F.pad(x, padding, mode="reflect" if fits else "replicate")
        x = x.contiguous(memory_format=torch.channels_last)
        with network_autocast(self.network, self.device, self.precision):
            logits = mean_logits(self.network, x)
        found = logits[..., :height, :width].float().sigmoid()
        if not torch.isfinite(found).all():
            raise ModelError(f"model {self.name!r} returned numbers that are not finite; use fp32")
        return found


def mean_logits(network: nn.Module, x: Tensor) -> Tensor:
    """Return the mean logits ``B 1 H W`` of pictures ``B 3 H W`` and of their mirror images."""
    total = network(x)
    for axes in MIRRORED[1:]:
        total = total + network(x.flip(axes)).flip(axes)
    mean: Tensor = total / len(MIRRORED)
    return mean
