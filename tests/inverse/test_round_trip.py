"""The errors of the way back, by level and precision."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from irae.errors import ModelError
from irae.inverse.round_trip import PRECISIONS, measure_reversibility
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import ModelSpec
from irae.models.networks.registry import build_network, resolve_options


@pytest.mark.parametrize("task", ["denoise", "inpaint"])
def test_more_precision_errs_less(model_files: dict[str, Path], task: str) -> None:
    model = load_model(model_files[task])
    picture = torch.rand(1, 3, 30, 41)
    mask = torch.rand(1, 1, 30, 41) > 0.9 if task == "inpaint" else None
    errors = measure_reversibility(model, picture, mask)
    parts = [(e.part, e.level) for e in errors if e.precision == "fp32"]
    flows = [("encoder", 1), ("encoder", 2), ("decoder", 1), ("decoder", 2), ("whole", 0)]
    assert parts == ([("whole", 0), ("exact", 0)] if task == "denoise" else flows)
    whole = {e.precision: e for e in errors if e.part == "whole"}
    assert tuple(whole) == PRECISIONS
    assert whole["fp64"].largest < 1e-9
    assert whole["fp64"].largest * 1e5 < whole["fp32"].largest < 0.01
    assert all(0 <= e.rms <= e.largest for e in errors)
    given, _, recovered = model.round_trip(picture, mask, exact=False)
    again = float((given - recovered).abs().max()) * 255
    assert whole["fp32"].largest == pytest.approx(again, rel=0.5)


def test_the_model_stays_as_it_was(model_files: dict[str, Path]) -> None:
    model = load_model(model_files["denoise"])
    before = {k: v.clone() for k, v in model.network.state_dict().items()}
    measure_reversibility(model, torch.rand(1, 3, 8, 8))
    for key, value in model.network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("task", ["denoise", "inpaint"])
def test_a_way_back_that_overflows_is_infinite(model_files: dict[str, Path], task: str) -> None:
    model = load_model(model_files[task])
    for name, parameter in model.network.named_parameters():
        if "conv" in name:
            parameter.mul_(1e12)
    mask = torch.rand(1, 1, 8, 8) > 0.9 if task == "inpaint" else None
    errors = measure_reversibility(model, torch.rand(1, 3, 8, 8), mask)
    assert any(math.isinf(e.largest) for e in errors if e.precision == "fp32")


def test_a_network_without_levels_is_refused(tmp_path: Path) -> None:
    from irae.models.loaded import LoadedModel

    options = resolve_options("dncnn", None, {})
    model = LoadedModel(
        build_network("dncnn", options), ModelSpec("dncnn", options, "denoise"), "x"
    )
    with pytest.raises(ModelError, match="no levels"):
        measure_reversibility(model, torch.rand(1, 3, 8, 8))
