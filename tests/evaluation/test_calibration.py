"""How maps of uncertainty are judged."""

from __future__ import annotations

import pytest
import torch

from irae.evaluation.calibration import local_gradient, sparsification_error, spearman
from irae.runtime import generator


def test_the_error_itself_is_the_best_map_and_its_opposite_the_worst() -> None:
    error = torch.rand(1, 30, 30, generator=generator(0))
    noise = torch.rand(1, 30, 30, generator=generator(1))
    assert spearman(error * 3, error) == pytest.approx(1)
    assert spearman(-error, error) == pytest.approx(-1)
    assert sparsification_error(error, error) == pytest.approx(0, abs=1e-9)
    middle = sparsification_error(noise, error)
    # Leaving out pixels by chance keeps a mean of 1; by rank, (1 - share) of a uniform error.
    assert middle == pytest.approx(0.475, abs=0.03)
    assert sparsification_error(-error, error) > middle
    assert sparsification_error(error + noise, error) < middle


def test_the_gradient_of_a_ramp() -> None:
    ramp = torch.arange(8.0).expand(3, 6, 8) * 3
    assert torch.allclose(local_gradient(ramp)[:, :, 1:-1], torch.full((1, 6, 6), 3.0))
