"""How well a map of uncertainty tells where a result is wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from irae.errors import UsageError
from irae.imaging.analysis.noise_level import estimate_noise
from irae.models.loaded import LoadedModel
from irae.models.networks.lifted import LiftedIRAE
from irae.restoring.uncertainty import spread_of
from irae.runtime import generator

DRAWS = 8
"""Number of draws of noise in the middle of a network."""

NOISE_SHARE = 0.1
"""Standard deviation of the noise in the middle, as a share of the picture's noise."""

STEPS = 20
"""Shares of the pixels that are left out for a sparsification curve."""


def spearman(uncertainty: Tensor, error: Tensor) -> float:
    """Return the rank correlation of two maps of one shape, ties at their mean rank."""
    from scipy.stats import spearmanr

    found = spearmanr(uncertainty.flatten().cpu().numpy(), error.flatten().cpu().numpy())
    return float(found.statistic)


def sparsification_error(uncertainty: Tensor, error: Tensor) -> float:
    """Return the area under the sparsification error, AUSE (Ilg et al. 2018, arXiv 1802.07095).

    The most uncertain pixels are left out, a growing share of them; the mean error of the others,
    by that of all, is compared with what leaving out the largest errors would give. 0 is best; the
    mean over shares from 0 to 0.95 is returned.
    """
    ours = _curve(error.flatten()[uncertainty.flatten().argsort()])
    best = _curve(error.flatten().sort().values)
    return float((ours - best).mean() / error.mean().clamp(min=1e-12))


def _curve(errors: Tensor) -> Tensor:
    """Return the mean of the first errors, for growing numbers left out at the end."""
    sums = errors.double().cumsum(0)
    counts = torch.tensor(
        [max(1, round(len(errors) * (1 - step / STEPS))) for step in range(STEPS)]
    )
    return sums[counts - 1] / counts


def local_gradient(picture: Tensor) -> Tensor:
    """Return the length of the luminance gradient of ``C H W``: ``1 H W``, a trivial predictor."""
    gray = F.pad(picture.mean(0, keepdim=True)[None], (1, 1, 1, 1), mode="replicate")[0]
    across = (gray[:, 1:-1, 2:] - gray[:, 1:-1, :-2]) / 2
    down = (gray[:, 2:, 1:-1] - gray[:, :-2, 1:-1]) / 2
    return (across.square() + down.square()).sqrt()


@torch.inference_mode()
def middle_noise_spread(model: LoadedModel, pixels: Tensor, *, seed: int = 0) -> Tensor:
    """Return the spread over draws of noise in the middle: float32 ``1 H W`` in 8-bit units.

    It is an alternative to `irae.restoring.uncertainty.orientation_spread`, for comparison.

    Args:
        model: a lifted network that needs nothing besides the picture.
        pixels: float32 ``3 H W`` in [0, 1], small enough to be restored at once.
        seed: seed of the noise.

    Raises:
        UsageError: the network is of another kind.
    """
    network = model.network
    if not isinstance(network, LiftedIRAE) or model.takes_mask or model.takes_sigma:
        raise UsageError(f"model {model.name!r} is not a lifted network of pictures alone")
    x, condition = model.network_inputs(pixels[None], None)
    middle = network.encode(x, condition)
    amount = NOISE_SHARE * (estimate_noise(pixels) or 0.0) / 255
    results = []
    for draw in range(DRAWS):
        noise = torch.randn(middle.shape, generator=generator(seed, draw)).to(middle)
        results.append(network.decode(middle + amount * noise))
    height, width = pixels.shape[1:]
    stacked = torch.cat(results)[..., :height, :width].clamp(0, 1).cpu()
    return spread_of((stacked - stacked.mean(0)).square().sum(0), DRAWS)
