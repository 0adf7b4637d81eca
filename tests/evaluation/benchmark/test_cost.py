"""What a cost is made of: memory really held, and one run for all models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from irae.evaluation.benchmark.cells import Cell
from irae.evaluation.benchmark.config import load_benchmark
from irae.evaluation.benchmark.cost import COST_FILE, cost_key, measure_costs
from irae.evaluation.benchmark.plan import plan
from irae.models.networks.registry import NETWORKS

CONFIG = """
datasets: {a: {}, b: {}}
tasks: {denoise: {levels: [15, 25]}}
models:
  irae: {network: irae, options: {width: 12, couplings: 2, hidden: 4}}
  unet: {network: unet, options: {width: 8}}
  gone: {checkpoint: gone.safetensors}
budget: {steps: 2}
cost: {height: 32, width: 48, rounds: 1}
"""


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    path = tmp_path / "b.yaml"
    path.write_text(CONFIG)
    return plan(load_benchmark(path))


def test_each_form_of_network_is_measured_once(cells: list[Cell], tmp_path: Path) -> None:
    found = measure_costs(cells, tmp_path)
    assert len(cells) == 12
    assert len(found) == 3  # Neither data set nor level changes what a network costs.
    irae, unet, gone = (found[cost_key(cell)] for cell in cells[:3])
    assert gone == {}
    assert 0 < irae["parameters"] < unet["parameters"]
    assert irae["macs_per_pixel"] > 0
    assert (irae["height"], irae["width"], irae["device"]) == (32, 48, "cpu")


def test_the_next_start_takes_the_same_figures(cells: list[Cell], tmp_path: Path) -> None:
    good = [cell for cell in cells if cell.model != "gone"]
    first = measure_costs(good[:1], tmp_path)
    assert measure_costs(good[:1], tmp_path) == first
    # A model that is new: all are measured anew, since figures of one matrix are of one run.
    both = measure_costs(good, tmp_path)
    assert set(first) < set(both)
    assert json.loads((tmp_path / COST_FILE).read_text()) == both
    (tmp_path / COST_FILE).write_text("{cut")
    assert set(measure_costs(good, tmp_path)) == set(both)


def test_a_preset_that_changed_is_measured_anew(
    cells: list[Cell], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cost_key(cells[0])
    options = cells[0].config.models["irae"].options
    cells[0].config.models["irae"].options = {**options, "form": "lifted"}
    assert cost_key(cells[0]) == before  # The preset's own, said.
    monkeypatch.setitem(NETWORKS["irae"].presets["default"], "takes_sigma", True)
    assert cost_key(cells[0]) != before
