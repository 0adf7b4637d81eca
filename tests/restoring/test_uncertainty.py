"""Maps of uncertainty: what they are made of."""

from __future__ import annotations

import pytest
import torch

from irae.errors import UsageError
from irae.imaging.io.picture import TURNS, to_stored, to_upright
from irae.models.loaded import LoadedModel
from irae.restoring.restorer import Restorer
from irae.restoring.uncertainty import WHITE, orientation_spread, to_map
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


def test_an_ensemble_is_as_unsure_as_its_members(denoiser: LoadedModel) -> None:
    pixels = torch.rand(3, 20, 26, generator=generator(0))
    shares: list[float] = []
    restorer = Restorer(denoiser, device="cpu", precision="fp32", ensemble=True)
    found = orientation_spread(restorer, pixels, progress=shares.append)
    alone = Restorer(denoiser, device="cpu", precision="fp32")
    assert torch.equal(found, orientation_spread(alone, pixels))
    assert restorer.model.ensemble
    assert shares == [step / 8 for step in range(1, 9)]


def test_a_map_is_white_at_its_stated_spread() -> None:
    spread = torch.tensor([[[0.0, WHITE / 2, WHITE, 3 * WHITE]]])
    assert to_map(spread)[0, 0].tolist() == [0, 128, 255, 255]
    with pytest.raises(UsageError, match="not finite"):
        to_map(spread * torch.nan)
