"""What a page about latents shows is what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from irae.errors import ModelError
from irae.evaluation.latents.of_density import level_bits, level_shares
from irae.evaluation.latents.of_restorer import (
    joined,
    lifted_network,
    pictures_after_couplings,
    restorer_sections,
)
from irae.evaluation.latents.page import Figure, Section, render
from irae.models.checkpoints.model_file import load_model
from irae.models.density import Density
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.loaded_density import LoadedDensity
from irae.models.networks.registry import build_network, resolve_options
from irae.runtime import generator


@pytest.fixture
def density() -> LoadedDensity:
    torch.manual_seed(0)
    options = {"size": 8, "couplings": [2, 2], "widths": [6, 6], "blocks": 1}
    network = build_network("density", resolve_options("density", "default", options))
    assert isinstance(network, Density)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator(1))
    return LoadedDensity(network, ModelSpec("density", options, ""), "small")


def test_the_bits_of_all_levels_are_those_of_the_picture(density: LoadedDensity) -> None:
    network = density.network
    picture = torch.randint(0, 256, (1, 1, 8, 8), generator=generator(2), dtype=torch.uint8)
    y = network.dequantise(picture, generator(3))
    expected = float(network.to_bits_per_dim(network.log_prob(y))) * network.dimensions
    assert sum(level_bits(network, y)) == pytest.approx(expected, rel=1e-4)
    shares = level_shares(density, picture[0])
    assert sum(share.energy for share in shares) == pytest.approx(1)
    assert sum(share.numbers for share in shares) == network.dimensions


def test_pictures_after_couplings_end_with_the_restored_one(denoiser: LoadedModel) -> None:
    network = lifted_network(denoiser)
    x = torch.rand(1, 3, 12, 14, generator=generator(0))
    steps = pictures_after_couplings(network, x)
    assert len(steps) == len(network.flow.couplings) + 1
    assert torch.allclose(steps[0], x[0], atol=1e-6)
    assert torch.allclose(steps[-1], network(x)[0], atol=1e-5)


def test_its_own_remainder_gives_the_picture_back_and_another_does_not(
    denoiser: LoadedModel,
) -> None:
    network = lifted_network(denoiser)
    x = torch.rand(1, 3, 11, 13, generator=generator(0))
    restored, remainder = network.split(x, exact=False)
    latent = remainder.latent
    assert torch.allclose(joined(network, restored, remainder, latent), x[0], atol=1e-4)
    without = joined(network, restored, remainder, torch.zeros_like(latent))
    assert float((without - x[0]).abs().max()) > 0.01


def test_sections_of_odd_sizes(denoiser: LoadedModel) -> None:
    sections = restorer_sections(denoiser, torch.rand(3, 11, 13, generator=generator(0)))
    assert [len(section.figures) for section in sections][:2] == [2, 5]
    for section in sections[:2]:
        assert all(figure.picture.shape == (3, 11, 13) for figure in section.figures)


def test_models_without_a_remainder_are_refused(model_files: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match="not a lifted network"):
        lifted_network(load_model(model_files["inpaint"]))


def test_what_users_name_is_escaped() -> None:
    figure = Figure(torch.zeros(1, 4, 4, dtype=torch.uint8), 'a "picture" <b>')
    page = render("<script>", "a & b", [Section("<i>", "x", [figure], [["<td>"], ["1"]])])
    assert "<script>" not in page and "<b>" not in page and "<i>" not in page
