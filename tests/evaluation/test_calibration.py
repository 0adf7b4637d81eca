"""How maps of uncertainty are judged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from irae.errors import UsageError
from irae.evaluation.calibration import (
    local_gradient,
    middle_noise_spread,
    sparsification_error,
    spearman,
)
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel
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


def test_noise_in_the_middle_depends_on_the_pictures_noise(denoiser: LoadedModel) -> None:
    flat = torch.full((3, 64, 64), 0.5)
    noisy = (flat + 0.1 * torch.randn(3, 64, 64, generator=generator(0))).clamp(0, 1)
    quiet = middle_noise_spread(denoiser, flat + torch.linspace(-0.2, 0.2, 64))
    loud = middle_noise_spread(denoiser, noisy)
    assert float(loud.mean()) > 2 * float(quiet.mean())
    assert torch.equal(loud, middle_noise_spread(denoiser, noisy))


def test_only_lifted_networks_have_such_a_middle(model_files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="not a lifted network"):
        middle_noise_spread(load_model(model_files["inpaint"]), torch.zeros(3, 16, 16))
