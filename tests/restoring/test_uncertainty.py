"""Maps of uncertainty: what they are made of."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from irae.errors import UsageError
from irae.imaging.io.picture import TURNS, to_stored, to_upright
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel
from irae.restoring.restorer import Restorer
from irae.restoring.uncertainty import WHITE, middle_noise_spread, orientation_spread, to_map
from irae.runtime import generator


def test_the_spread_over_orientations_is_the_standard_deviation(denoiser: LoadedModel) -> None:
    restorer = Restorer(denoiser, device="cpu", precision="fp32")
    pixels = torch.rand(3, 20, 26, generator=generator(0))
    results = []
    for orientation in TURNS:
        restored = restorer.restore_pixels(to_upright(pixels, orientation))
        results.append(to_stored(restored, orientation))
    expected = 255 * torch.stack(results).var(0).mean(0, keepdim=True).sqrt()
    found = orientation_spread(restorer, pixels)
    assert found.shape == (1, 20, 26)
    assert torch.allclose(found, expected, atol=1e-3)
    assert float(found.max()) > 0.01


def test_a_model_that_changes_nothing_is_sure(denoiser: LoadedModel) -> None:
    restorer = Restorer(denoiser, device="cpu", precision="fp32")
    with torch.no_grad():
        for parameter in restorer.model.network.parameters():
            parameter.zero_()
    pixels = torch.rand(3, 16, 16, generator=generator(0))
    assert float(orientation_spread(restorer, pixels).max()) < 1e-3


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


def test_a_map_is_white_at_its_stated_spread() -> None:
    spread = torch.tensor([[[0.0, WHITE / 2, WHITE, 3 * WHITE]]])
    assert to_map(spread)[0, 0].tolist() == [0, 128, 255, 255]
    with pytest.raises(UsageError, match="not finite"):
        to_map(spread * torch.nan)
