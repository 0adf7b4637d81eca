"""Anomaly scores of a density; larger means less like the training pictures.

The likelihood alone is no such score: pictures of another kind may well be likelier than the
training pictures (Nalisnick et al. 2019, arXiv 1810.09136). All scores are in bits per dimension:

- ``bits_per_dim``: minus the log-likelihood, for comparison.
- ``typicality``: distance of ``bits_per_dim`` from its mean over held-out pictures, the test of
  Nalisnick et al. 2019 (arXiv 1906.02994) for one picture.
- ``complexity_png``, ``complexity_webp``: ``bits_per_dim`` minus the bits of a lossless file (Serrà
  et al. 2020, arXiv 1909.11480).
- ``ratio``: ``bits_per_dim`` minus those of a background model, which was trained on pictures of
  which some pixels were replaced (Ren et al. 2019, arXiv 1906.02845).

The trivial baselines, `TRIVIAL`, need no model.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from irae.imaging.compressed_size import COMPRESSORS, compressed_bits_per_dim
from irae.models.density import Density

RATIO = "ratio"
SCORES = ("bits_per_dim", "typicality", *(f"complexity_{kind}" for kind in COMPRESSORS), RATIO)
"""Names of the scores; the ratio needs a background model."""

TRIVIAL = (*(f"{kind}_size" for kind in COMPRESSORS), "mean", "zeros")
"""Baselines without a model: file sizes, mean, and share of zeros."""

QUANTILES = 201
"""Number of quantiles of each score that a model's card keeps."""


def anomaly_scores(
    bits: Tensor, pictures: Tensor, mean_bits: float, background_bits: Tensor | None = None
) -> dict[str, Tensor]:
    """Return every score of a batch, float32 ``N`` each.

    Args:
        bits: bits per dimension of the pictures, ``N``.
        pictures: the quantised pictures, uint8 ``N C H W``.
        mean_bits: mean bits per dimension of held-out pictures.
        background_bits: bits per dimension under a background model; without, there is no ratio.
    """
    found = {"bits_per_dim": bits, "typicality": (bits - mean_bits).abs()}
    for kind in COMPRESSORS:
        found[f"complexity_{kind}"] = bits - compressed_bits_per_dim(pictures, kind)
    if background_bits is not None:
        found[RATIO] = bits - background_bits
    return found


def trivial_scores(pictures: Tensor) -> dict[str, Tensor]:
    """Return the baselines of quantised pictures, uint8 ``N C H W``: float32 ``N`` each."""
    found = {f"{kind}_size": compressed_bits_per_dim(pictures, kind) for kind in COMPRESSORS}
    flat = pictures.flatten(1)
    found["mean"] = flat.float().mean(1)
    found["zeros"] = (flat == 0).float().mean(1)
    return found


def held_out_scores(bits: Tensor, pictures: Tensor, network: Density) -> dict[str, Any]:
    """Return what a model's card keeps of held-out pictures.

    These are the mean and quantiles of their scores, the bits of each, and a hash of the pictures,
    by which `ratio_quantiles` recognises that a background model has the same ones.

    Args:
        bits: bits per dimension of the pictures, ``N``.
        pictures: uint8 ``N C H W``.
        network: the density, for its number of bits.
    """
    mean = float(bits.double().mean())
    scores = anomaly_scores(bits, network.quantise(pictures), mean)
    return {
        "pictures": len(pictures),
        "fingerprint": fingerprint(pictures),
        "mean_bits_per_dim": round(mean, 5),
        "bits_per_dim": [round(value, 4) for value in bits.tolist()],
        "quantiles": {name: quantiles(values) for name, values in scores.items()},
    }


def fingerprint(pictures: Tensor) -> str:
    """Return a hash of pictures, uint8 ``N C H W``: 16 hexadecimal digits."""
    return hashlib.sha256(pictures.contiguous().numpy().tobytes()).hexdigest()[:16]


def ratio_quantiles(held_out: dict[str, Any], of_background: dict[str, Any]) -> list[float] | None:
    """Return the quantiles of the likelihood ratio of held-out pictures.

    Args:
        held_out: what `held_out_scores` has put into the model's card.
        of_background: the same of the background model.

    Returns:
        The quantiles, or None if the cards are not of the same pictures.
    """
    ours, theirs = (each.get("bits_per_dim", ()) for each in (held_out, of_background))
    if not ours or len(ours) != len(theirs):
        return None
    if held_out.get("fingerprint") != of_background.get("fingerprint"):
        return None
    return quantiles(torch.tensor(ours) - torch.tensor(theirs))


def quantiles(values: Tensor) -> list[float]:
    """Return `QUANTILES` equally spaced quantiles, rising."""
    places = torch.linspace(0, 1, QUANTILES, dtype=torch.float64)
    return [round(q, 5) for q in torch.quantile(values.double(), places).tolist()]


def percentiles(values: Tensor, reference: list[float]) -> Tensor:
    """Return the percentile, 0 to 100, of each value among rising quantiles."""
    edges = torch.tensor(reference, dtype=torch.float64)
    low = torch.searchsorted(edges, values.double(), right=False)
    high = torch.searchsorted(edges, values.double(), right=True)
    return 100 * (low + high).double() / (2 * len(edges))
