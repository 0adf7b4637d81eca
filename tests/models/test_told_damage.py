"""Networks that are told the damage measure it in the whole picture, and stay exact."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from irae.imaging.analysis.damage import CODES, decode_damage, measure_codes, with_sigma
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.registry import build_network, resolve_options
from irae.restoring.restorer import Restorer
from irae.runtime import generator


def told_model() -> LoadedModel:
    options = resolve_options(
        "irae", "default", {"width": 24, "couplings": 2, "hidden": 8, "takes_damage": True}
    )
    network = build_network("irae", options)
    random = generator(5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=random)
    return LoadedModel(network, ModelSpec("irae", options, "photo"), "told")


def picture(height: int, width: int) -> torch.Tensor:
    return torch.rand(3, height, width, generator=generator(height, width))


def test_it_is_told_what_is_measured_or_what_is_given() -> None:
    model, x = told_model(), torch.stack([picture(64, 70), picture(70, 64).transpose(1, 2)])
    codes = measure_codes(x)
    measured = model.restore(x)
    assert torch.equal(measured, model.restore(x, damage=codes))
    assert not torch.allclose(measured, model.restore(x, damage=codes + 0.2), atol=1e-3)
    torch.testing.assert_close(measured[1:], model.restore(x[1:]), atol=1e-5, rtol=0)


def test_tiles_are_told_the_damage_of_the_whole() -> None:
    x = picture(300, 340)
    x[:, 150:] = x[:, 150:].mean((1, 2), keepdim=True)  # Nothing to be measured in half of it.
    model = told_model()
    whole = Restorer(model, tile=0).restore_pixels(x)
    tiled = Restorer(model, tile=128, overlap=32).restore_pixels(x)
    torch.testing.assert_close(tiled, whole, atol=1e-4, rtol=0)


def test_a_level_that_is_named_is_told_in_place_of_the_measured_one() -> None:
    model, x = told_model(), picture(64, 70)
    codes = with_sigma(measure_codes(x[None]), 8.0)
    assert float(decode_damage(codes)[0]) == pytest.approx(8.0)
    assert torch.equal(codes[:, 1:], measure_codes(x[None])[:, 1:])
    told = model.restore(x[None], damage=codes)[0].clamp(0, 1)
    for tile in (0, 64):
        found = Restorer(model, tile=tile, sigma=8.0, overlap=16).restore_pixels(x)
        torch.testing.assert_close(found[:, :24, :24], told[:, :24, :24], atol=1e-4, rtol=0)
    both = Restorer(model, sigma=8.0).restore(torch.stack([x, x]))
    torch.testing.assert_close(both[1], told, atol=1e-5, rtol=0)
    assert not torch.allclose(told, Restorer(model).restore_pixels(x), atol=1e-3)


def test_the_way_back_is_exact() -> None:
    x = (picture(65, 71)[None] * 255).round() / 255
    _, restored, recovered = told_model().round_trip(x)
    assert torch.equal((recovered * 255).round(), (x * 255).round())
    assert not torch.allclose(x, restored, atol=1e-2)


def test_a_batch_for_training_comes_with_its_codes() -> None:
    from irae.tasks.batch_random import RandomColumns
    from irae.tasks.told_damage import true_codes, with_errors

    clean = torch.rand(2, 3, 64, 64, generator=generator(1)) * 0.5 + 0.25
    noise = 10 / 255 * torch.randn(clean.shape, generator=generator(2))
    codes = true_codes(
        clean + noise, clean, torch.tensor([True, False]), torch.tensor([100.0, 40.0])
    )
    assert codes.shape == (2, CODES)
    level = (torch.tensor(10.5).log2() - 2) / 8
    torch.testing.assert_close(codes[0, 0], level, atol=0.01, rtol=0)
    assert codes[1, 0] < codes[0, 0] and codes[1, 2] > codes[0, 2]
    random = RandomColumns(generator(3), 2, slice(0, 2))
    off = with_errors(codes, random) - codes
    assert bool((off != 0).all()) and float(off.abs().max()) < 0.6


def test_its_latents_are_shown_and_it_is_exported(tmp_path: Path) -> None:
    from irae.evaluation.latents.of_restorer import restorer_sections
    from irae.models.checkpoints.onnx_export import export_onnx

    model = told_model()
    assert restorer_sections(model, picture(64, 80), picture(70, 90))
    assert export_onnx(model, tmp_path / "told.onnx") <= 1e-4
