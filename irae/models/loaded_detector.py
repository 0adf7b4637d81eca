"""`LoadedDetector`: a detector of damage ready to use, with the spec from its file."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.errors import ModelError
from irae.models.call import network_autocast
from irae.models.loaded_network import LoadedNetwork
from irae.models.networks.damage_detector import DamageDetector

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
        """Return the probability that each pixel is damaged.

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
            logits: Tensor = self.network(x)
        found = logits[..., :height, :width].float().sigmoid()
        if not torch.isfinite(found).all():
            raise ModelError(f"model {self.name!r} returned numbers that are not finite; use fp32")
        return found
