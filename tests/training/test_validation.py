"""Validation of holes: filled once, and scored as if they were filled anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.utils import save_image

from irae.config import load_config
from irae.imaging.metrics import psnr
from irae.models import loaded
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.registry import build_network, resolve_options
from irae.runtime import generator
from irae.training.dead_units import watch_units
from irae.training.validation import MOST_PSNR, Validation


@pytest.fixture
def validation(tmp_path: Path) -> Validation:
    folder = tmp_path
    for number in range(2):
        save_image(torch.rand(3, 40, 48, generator=generator(number)), folder / f"{number}.png")
    named = f"{{source: {folder}, images: 2, crop: 32}}"
    return Validation(
        load_config("inpaint.yaml", [f"data.train=[{folder}]", f"data.validation={named}"])
    )


def model_of(name: str, options: dict[str, object]) -> LoadedModel:
    resolved = resolve_options(name, "default", options)
    torch.manual_seed(1)
    network = build_network(name, resolved)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return LoadedModel(network.eval(), ModelSpec(name, resolved, "inpaint"), name)


LIFTED = {"width": 32, "couplings": 2, "hidden": 8, "condition_channels": 4}


@pytest.mark.parametrize(
    ("name", "options", "fills"), [("irae", LIFTED, 1), ("pconv", {"width": 4, "depth": 2}, 0)]
)
def test_holes_are_filled_once_and_scores_are_as_before(
    validation: Validation,
    name: str,
    options: dict[str, object],
    fills: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, cases = model_of(name, options), validation.samples(100)
    assert len(cases) == 2 * 7
    outputs: dict[str, list[float]] = {}
    with watch_units(model.network) as firing:
        for case in cases:
            clean, mask = case.clean[None], case.damaged.mask
            assert mask is not None
            score = psnr(case.restored(model)[None].clamp(0, 1), clean, mask[None])
            outputs.setdefault(case.level, []).append(float(score))
            model.run_network(*case.inputs())
    filled: list[Tensor] = []

    def counted(picture: Tensor, mask: Tensor, value: float | None = None) -> Tensor:
        if value is None:
            filled.append(picture)
        return fill(picture, mask, value)

    fill = loaded.fill_holes
    monkeypatch.setattr(loaded, "fill_holes", counted)
    first, second = validation.score(model), validation.score(model)
    assert len(filled) == fills * len(cases)
    assert first.levels == second.levels
    assert {k: a for k, (_, a) in first.levels.items()} == {
        level: sum(scores) / len(scores) for level, scores in outputs.items()
    }
    assert first.firing.keys() == firing.keys()
    assert all(torch.equal(first.firing[key], firing[key]) for key in firing)
    assert (first.round_trip is None) == (not model.invertible)


def test_no_further_case_is_looked_at_once_all_units_have_fired(
    validation: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("irae", LIFTED)
    runs: list[int] = []
    run = LoadedModel.run_network

    def counted(self: LoadedModel, *args: object, **options: object) -> Tensor:
        runs.append(1)
        return run(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(LoadedModel, "run_network", counted)
    biases = [n.conv1.bias for n in model.network.flow.networks()]  # type: ignore[union-attr, operator]
    with torch.no_grad():
        for bias in biases:
            bias.fill_(5.0)
    assert validation.score(model).dead == 0
    assert len(runs) == 1
    with torch.no_grad():
        biases[0][3] = -50.0
    assert validation.score(model).dead > 0
    assert len(runs) == 1 + 14


def test_holes_that_are_right_from_the_start_do_not_make_the_mean_infinite(tmp_path: Path) -> None:
    for number in range(2):
        save_image(torch.zeros(3, 40, 48), tmp_path / f"{number}.png")
    named = f"{{source: {tmp_path}, images: 2, crop: 32}}"
    options = [f"data.train=[{tmp_path}]", f"data.validation={named}"]
    score = Validation(load_config("inpaint.yaml", options)).score(model_of("irae", LIFTED))
    assert all(before == MOST_PSNR for before, _ in score.levels.values())
    assert 0 < score.mean <= MOST_PSNR
