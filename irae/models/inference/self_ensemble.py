"""Self-ensemble: the average of a picture restored in each of its eight orientations."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from irae.imaging.io.picture import TURNS, to_stored, to_upright

Sigma = float | Tensor | None


def mean_over_orientations(
    restore: Callable[[Tensor, Tensor | None, Sigma], Tensor],
    degraded: Tensor,
    mask: Tensor | None,
    sigma: Sigma,
) -> Tensor:
    """Restore all rotations and reflections of a picture and average the results.

    A network's errors differ between them, so the mean has smaller errors (Timofte, Rothe and Van
    Gool 2016, arXiv 1511.02228, "enhanced prediction"). It takes eight times as long.

    Args:
        restore: maps degraded pictures, mask and sigma to restored pictures.
        degraded: ``B C H W``.
        mask: ``B 1 H W``, or None.
        sigma: one number, one per picture (``B``), a map ``B 1 H W``, or None.

    Returns:
        The mean, ``B C H W``.
    """
    total: Tensor | None = None
    for orientation in TURNS:
        hole = None if mask is None else to_upright(mask, orientation)
        level = sigma
        if isinstance(sigma, Tensor) and sigma.ndim == 4:
            level = to_upright(sigma, orientation)
        restored = restore(to_upright(degraded, orientation), hole, level)
        restored = to_stored(restored, orientation)
        total = restored if total is None else total + restored
    assert total is not None
    return total / len(TURNS)
