"""Self-ensemble: the mean over eight orientations, what it keeps and what it gains."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from torch import Tensor

from irae.imaging.degrade import add_noise
from irae.imaging.io.picture import TURNS, to_stored, to_upright
from irae.imaging.metrics import psnr
from irae.models.checkpoints.model_file import load_model
from irae.models.inference.self_ensemble import mean_over_orientations
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.registry import build_network, resolve_options
from irae.runtime import generator

SMALL = {"width": 16, "couplings": 3, "hidden": 8}


def model(task: str = "denoise", network: str = "irae", **options: object) -> LoadedModel:
    resolved = resolve_options(network, "default", options)
    torch.manual_seed(0)
    built = build_network(network, resolved)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    loaded = LoadedModel(built, ModelSpec(network, resolved, task), "small")
    loaded.ensemble = True
    return loaded


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 13), st.integers(1, 13), st.sampled_from(list(TURNS)))
def test_a_turned_picture_gives_the_turned_result(height: int, width: int, turn: int) -> None:
    network = model(**SMALL)
    x = torch.rand(2, 3, height, width, generator=generator(height, width))
    restored = network.restore(x)
    assert restored.shape == x.shape
    turned = to_stored(network.restore(to_upright(x, turn)), turn)
    torch.testing.assert_close(turned, restored, atol=1e-5, rtol=0)
    if height > 2 and width > 2:  # The smallest look alike from everywhere.
        network.ensemble = False
        assert (network.restore(x) - restored).abs().max() > 1e-5


def test_it_is_the_mean_of_all_orientations() -> None:
    seen: list[Tensor] = []

    def restore(x: Tensor, mask: Tensor | None, sigma: object) -> Tensor:
        assert mask is None
        assert sigma == 7.0
        seen.append(x)
        return x + x[..., :1, :1]  # Of the corner that is first in this orientation.

    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(1, 3, 2, 2)
    found = mean_over_orientations(restore, x, None, 7.0)
    torch.testing.assert_close(found, x + 2.5)
    assert len({tuple(each.flatten().tolist()) for each in seen}) == 8


def test_holes_turn_with_the_picture_and_known_pixels_stay() -> None:
    network = model("inpaint", condition_channels=1, **SMALL)
    x = torch.rand(2, 3, 11, 8, generator=generator(0))
    mask = torch.zeros(1, 1, 11, 8, dtype=torch.bool)
    mask[..., 2:6, 5:] = True
    restored = network.restore(x, mask)
    holes = mask.expand_as(x)
    assert torch.equal(restored[~holes], x[~holes])
    network.ensemble = False
    filled = network.fill(x, mask.expand(2, 1, 11, 8))
    parts = [
        to_stored(
            network.restore(to_upright(filled, turn), to_upright(mask, turn), filled=True), turn
        )
        for turn in TURNS
    ]
    torch.testing.assert_close(restored, torch.stack(parts).mean(0))


@pytest.mark.parametrize("shape", [(), (2,), (2, 1, 6, 9)])
def test_the_noise_level_turns_with_the_picture(shape: tuple[int, ...]) -> None:
    network = model("denoise", "ffdnet", width=8, layers=3)
    sigma = 50 * torch.rand(shape, generator=generator(1))
    x = torch.rand(2, 3, 6, 9, generator=generator(0))
    level = float(sigma) if sigma.ndim == 0 else sigma
    restored = network.restore(x, sigma=level)
    turned = to_upright(sigma, 6) if sigma.ndim == 4 else level
    again = to_stored(network.restore(to_upright(x, 6), sigma=turned), 6)
    torch.testing.assert_close(again, restored, atol=1e-5, rtol=0)


@pytest.mark.parametrize("picture", [data.astronaut, data.coffee], ids=["astronaut", "coffee"])
def test_the_packaged_denoiser_gains_by_it(picture: Callable[[], object]) -> None:
    pixels = torch.as_tensor(picture()).permute(2, 0, 1)[None, :, 80:176, 160:288] / 255
    noisy = add_noise(pixels[0], 25, generator(0))[None]
    network = load_model("denoise")
    before = psnr(network.restore(noisy).clamp(0, 1), pixels)
    network.ensemble = True
    after = psnr(network.restore(noisy).clamp(0, 1), pixels)
    assert after - before > 0.05
