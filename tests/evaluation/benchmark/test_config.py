"""Benchmarks as configs: every shipped one makes sense, every mistake is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from irae.errors import ConfigError
from irae.evaluation.benchmark.config import load_benchmark
from irae.evaluation.benchmark.density_cells import DensityCell
from irae.evaluation.benchmark.plan import plan
from irae.layered_yaml import shipped_configs
from irae.models.checkpoints.model_file import load_model
from irae.models.networks.irae import PRESETS
from irae.models.networks.registry import CLASSICAL, DENSITIES, build_network, resolve_options
from irae.tasks import get_task
from irae.tasks.matching import missing_input, suits

SHIPPED = [name for name in shipped_configs() if name.startswith("benchmark/")]
WHOLE = [name for name in SHIPPED if name != "benchmark/matrix.yaml"]

GOOD = """
datasets: {train: {patch: 16}}
tasks: {denoise: {levels: [25]}}
models: {irae: {network: irae}}
budget: {steps: 2}
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_every_shipped_benchmark_has_cells_that_fit(name: str) -> None:
    built = set()
    for cell in plan(load_benchmark(name)):
        assert cell.hash() == cell.hash()
        assert cell.resolved() == json.loads(json.dumps(cell.resolved()))
        if cell.checkpoint is not None:
            if cell.checkpoint in CLASSICAL:
                assert suits(load_model(cell.checkpoint), get_task(cell.task)), cell.name
            continue
        config = cell.run_config
        if isinstance(cell, DensityCell):
            assert config.model.network in DENSITIES
            build_network(config.model.network, cell.network_options())
            continue
        options = resolve_options(config.model.network, config.model.preset, config.model.options)
        if (key := repr((config.model.network, options))) not in built:
            built.add(key)
            network = build_network(config.model.network, options)
            multiple = int(getattr(network, "size_multiple", 1))
            assert config.data.patch % multiple == 0, cell.name
            assert missing_input(get_task(cell.task), network) is None, cell.name
            # What the network can be told of the holes is not forgotten in the config.
            told = bool(getattr(network, "condition_channels", 0))
            assert told <= (cell.task == "inpaint"), cell.name


def test_the_shared_matrix_names_no_data() -> None:
    with pytest.raises(ConfigError, match="datasets"):
        load_benchmark("matrix")


def test_the_first_results_are_what_was_asked_for() -> None:
    cells = plan(load_benchmark("first.yaml"))
    assert len(cells) == 34
    assert sum(cell.checkpoint is None for cell in cells) == 30
    assert {cell.config.budget.minutes for cell in cells if cell.config.budget} == {5}
    models = {c.model for c in cells if c.name.startswith("birds/denoise-25/")}
    assert models == {"irae", "irae-paper", "dncnn", "ffdnet", "unet"}


def test_holes_are_compared_on_equal_time_with_the_cited_networks() -> None:
    cells = plan(load_benchmark("holes.yaml"))
    trained = {"irae", "contextual-attention", "shift-net", "csa", "pconv", "unet"}
    given = {"telea", "navier-stokes", "fsr", "patchmatch"}
    damage = {"faces/hole-center-32", "photographs/damage-thin"}
    assert {cell.name for cell in cells} == {f"{d}/{m}" for d in damage for m in trained | given}
    assert {cell.model for cell in cells if cell.checkpoint is None} == trained
    assert {cell.config.budget.minutes for cell in cells if cell.config.budget} == {20}
    # Nothing is trained on what is tested on.
    for cell in cells:
        assert cell.test in ("celeba", "testsets/CBSD68")
        if cell.checkpoint is None and cell.test != "celeba":
            sources = {source.source for source in cell.run_config.data.train}
            assert all(source.startswith("photos/") for source in sources)
            assert cell.run_config.data.validation.source == "photos_val"


def test_training_matches_the_level_it_is_tested_at() -> None:
    cells = {cell.name: cell for cell in plan(load_benchmark("celeba"))}
    noise = cells["celeba/denoise-50/irae"].run_config.degradation
    assert (noise.sigma, noise.clipped) == (50, 0)
    jpeg = cells["celeba/jpeg-10/arcnn"].run_config.degradation
    assert (jpeg.quality, jpeg.subsampling, jpeg.aligned) == (10, ["4:2:0"], 1)
    hole = cells["celeba/inpaint-center-32/pconv"].run_config.degradation
    assert (hole.holes, hole.box_side) == ({"center": 1}, (0.5, 0.5))
    irregular = cells["celeba/inpaint-irregular/pconv"].run_config.degradation
    assert irregular.holes == {"irregular": 1}
    authors = plan(load_benchmark("paper/inpaint"))[0].run_config.degradation
    assert (authors.holes, authors.box_side) == ({"box": 1}, (0.375, 0.5))


def test_budgets_of_patches_are_counted_in_steps(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(GOOD.replace("steps: 2", "patches: 100") + "training: {batch: 8}\n")
    cell = plan(load_benchmark(path))[0]
    assert cell.steps == cell.run_config.training.steps == 13


def test_the_hash_tells_what_matters_from_what_does_not(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(GOOD)

    def digest(*overrides: str) -> str:
        return plan(load_benchmark(path, list(overrides)))[0].hash()

    for same in ("root=/elsewhere", "training.threads=1", "samples=9", "cost.rounds=1"):
        assert digest(same) == digest(), same
    different = ("training.batch=2", "seed=1", "budget.steps=3", "models.irae.preset=paper")
    assert len({digest(), *(digest(each) for each in different)}) == 1 + len(different)


def test_a_preset_that_has_changed_makes_another_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    def hashes() -> dict[str, str]:
        return {cell.name: cell.hash() for cell in plan(load_benchmark("first.yaml"), "celeba/*")}

    before = hashes()
    monkeypatch.setitem(PRESETS["default"], "couplings", 7)
    after = hashes()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"celeba/denoise-25/irae", "celeba/jpeg-10/irae"}


def test_the_hash_sees_into_a_given_file(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    path = tmp_path / "b.yaml"
    path.write_text(
        "datasets: {train: {}}\ntasks: {denoise: {levels: [25]}}\n"
        f"models: {{given: {{checkpoint: {weights}}}}}\n"
    )
    found = set()
    for content in (b"a", b"b"):
        weights.write_bytes(content)
        found.add(plan(load_benchmark(path))[0].hash())
    assert len(found) == 2


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("steps: 2", "steps: 2, minutes: 1", "exactly one of"),
        ("budget: {steps: 2}", "", "give a budget"),
        ("budget:", "budgets:", "budgets: unknown key"),
        ("irae: {network: irae}", "irae: {}", "needs either"),
        ("network: irae", "network: irae, training: {batch: 3}", "same for all models"),
        ("network: irae", "network: irae, training: {stepz: 3}", "stepz: unknown key"),
        ("network: irae", "network: irae, tasks: [jpeg]", "no task 'jpeg'"),
        ("models: {irae", "models: {a/b", "a/b"),
        ("models: {irae:", "models: {irae: {network: unet}, irae:", "irae: is given twice"),
        ("levels: [25]", "levels: [25, 25]", "two cells train/denoise-25/irae"),
        ("levels: [25]", "levels: [300]", "300"),
        ("levels: [25]", "levels: [loud]", "loud"),
        ("denoise: {levels: [25]}", "inpaint: {levels: ['center:x']}", "center:x"),
        ("denoise: {levels: [25]}", "inpaint: {levels: [irregular]}", "folder of masks"),
        ("denoise: {levels: [25]}", "jpeg: {levels: [0]}", "0 is not from 1 to 100"),
        ("denoise: {", "noise: {", "tasks.noise.task"),
        ("budget", "training: {steps: 4}\nbudget", "the budget says"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    path = tmp_path / "b.yaml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        plan(load_benchmark(path))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_repeated_keys_of_a_config_that_is_extended(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD + "seed: 1\nseed: 2\n")
    path = tmp_path / "b.yaml"
    path.write_text("extends: base.yaml\n")
    with pytest.raises(ConfigError, match=r"base\.yaml: seed: is given twice"):
        load_benchmark(path)


def test_errors_of_an_override_name_it(tmp_path: Path) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(GOOD)
    with pytest.raises(ConfigError, match=r"^--set budget\.steps=0: budget\.steps: "):
        load_benchmark(path, ["budget.steps=0"])
    named = load_benchmark(path, ["datasets.train.train=photos"]).datasets["train"].train
    assert named is not None and [each.source for each in named] == ["photos"]


def test_cells_are_chosen_by_pattern() -> None:
    config = load_benchmark("first")
    assert len(plan(config, "celeba/*/irae")) == 2
    assert len(plan(config, "arcnn")) == 3
    with pytest.raises(ConfigError, match="matches none"):
        plan(config, "nothing/*")


def test_an_unknown_name_lists_those_shipped() -> None:
    with pytest.raises(ConfigError, match=r"first\.yaml"):
        load_benchmark("nothing")
