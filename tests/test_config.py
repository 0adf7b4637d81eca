"""The schema of a run, against every shipped config and every mistake we could think of."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from irae.config import check_config, dump_config, load_config
from irae.errors import ConfigError
from irae.layered_yaml import shipped_configs
from irae.models.checkpoints.model_file import load_model, packaged_models
from irae.models.networks.registry import build_network, resolve_options

RUNNABLE = [name for name in shipped_configs() if not name.startswith("benchmark/")]


@pytest.mark.parametrize("name", RUNNABLE)
def test_every_shipped_config_loads_and_builds_its_network(name: str) -> None:
    config = load_config(name)
    options = resolve_options(config.model.network, config.model.preset, config.model.options)
    build_network(config.model.network, options)
    assert check_config(yaml.safe_load(dump_config(config)), "dump") == config


def test_bare_name_is_looked_for_here_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("denoise.yaml").seed == 0
    Path("denoise.yaml").write_text("extends: base.yaml\nseed: 5\n")
    assert load_config("denoise.yaml").seed == 5


def test_overrides_and_extends_merge_deeply(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: denoise.yaml\ntraining: {batch: 3}\n")
    (tmp_path / "b.yaml").write_text("extends: a.yaml\ntraining: {steps: 7}\n")
    config = load_config(tmp_path / "b.yaml", ["degradation.sigma=25", "training.ema=0.5"])
    assert (config.training.batch, config.training.steps) == (3, 7)
    assert (config.degradation.sigma, config.training.ema) == (25, 0.5)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("task: denoise\ndata: {train: [{source: x}]}\ntrainig: {}\n", "trainig: unknown key"),
        ("extends: base.yaml\ntraining: {step: 3}\n", "training.step: unknown key"),
        ("extends: base.yaml\ntraining: {steps: many}\n", "training.steps"),
        ("extends: base.yaml\ndegradation: {sigma: [50, 10]}\n", "sigma must lie in"),
        ("extends: jpeg.yaml\ndegradation: {quality: 300}\n", "quality must lie in"),
        ("extends: base.yaml\ndegradation: {quality: 10}\n", "quality: is of task jpeg"),
        ("task: paint\n", "task"),
        ("- a list\n", "must hold keys"),
        ("a: [1\n", "not valid YAML"),
        ("extends: me.yaml\n", "extends itself"),
        ("extends: nowhere.yaml\n", "nowhere.yaml"),
        (
            "extends: base.yaml\nseed: 1\nseed: 2\n",
            "me.yaml: seed: is given twice, again at line 3",
        ),
        ("extends: base.yaml\ndata: {patch: 32}\ndata: {}\n", "data: is given twice"),
        ("extends: base.yaml\ndata: {patch: 32, patch: 32}\n", "patch: is given twice"),
        ("extends: twice.yaml\n", "twice.yaml: training: is given twice, again at line 3"),
        ("extends: base.yaml\n? [a, b]\n: 1\n", "not valid YAML"),
        ("task: denoise\na: &a [*a]\n", "a: unknown key"),
        ("extends: base.yaml\nseed: 2020-13-45\n", "not valid YAML"),
        (f"extends: base.yaml\nseed: {'9' * 5000}\n", "not valid YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "me.yaml"
    path.write_text(text)
    (tmp_path / "twice.yaml").write_text("extends: base.yaml\ntraining: {}\ntraining: {steps: 1}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("override", ["training.steps", "=3", "training.steps=[", "no.such.key=1"])
def test_bad_overrides_are_named(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("denoise.yaml", [override])
    first = override.split("=")[0].split(".")[0]
    assert first in str(caught.value)


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("training.betas=[1.5, 0.9]", "less than 1"),
        ("training.betas=[0.9, .nan]", "finite"),
        ("data.cache_gb=.inf", "finite"),
        ("data.cache_gb=1e300", "1000000"),
        ("data.train=[{source: a, weight: .inf}]", "finite"),
        ("training.learning_rate=.inf", "finite"),
        ("degradation.sigma=.nan", "finite"),
        ("seed=99999999999999999999", "less than"),
        ("training.threads=100000000", "1024"),
        ("training.batch=100000000000", "1048576"),
        ("data.train=3", "list"),
        ("training={steps: 1, steps: 2}", "steps is given twice"),
        ("training.stepz=3", "training.stepz: unknown key"),
        ("data={patchs: 3}", "data.patchs: unknown key"),
    ],
)
def test_errors_of_an_override_name_it(override: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("denoise.yaml", ["training.steps=5", override, "data.patch=32"])
    said = str(caught.value)
    assert said.startswith("--set ") and override in said
    assert named in said
    assert "\n" not in said


def test_an_error_of_the_file_does_not_name_an_override(tmp_path: Path) -> None:
    path = tmp_path / "me.yaml"
    path.write_text("extends: base.yaml\ntraining: {step: 3}\n")
    with pytest.raises(ConfigError, match=r"^.*me\.yaml: training\.step: "):
        load_config(path, ["training.steps=5", "seed=1"])


@pytest.mark.parametrize("value", ["photos", "{source: photos}", "[photos]", "[{source: photos}]"])
def test_one_source_needs_no_list_and_no_key(value: str) -> None:
    (source,) = load_config("denoise.yaml", [f"data.train={value}"]).data.train
    assert (source.source, source.weight) == ("photos", 1.0)
    named = load_config("denoise.yaml", [f"data.train={value}", "data.patch=32"])
    assert check_config(yaml.safe_load(dump_config(named)), "again") == named


def test_unknown_name_lists_the_shipped_configs() -> None:
    with pytest.raises(ConfigError, match=r"denoise\.yaml"):
        load_config("nothing.yaml")


@pytest.mark.parametrize("name", packaged_models())
def test_configs_of_earlier_versions_are_read(name: str) -> None:
    """A run of irae 0.1 wrote down the keys of all tasks; those of others are left out."""
    spec = load_model(name).spec
    config = check_config(spec.card["config"], "the card")
    assert config.task == spec.task
    assert check_config(yaml.safe_load(dump_config(config)), "written again") == config
    # What was changed for another task is a mistake.
    changed = copy.deepcopy(spec.card["config"])
    changed["degradation"]["holes" if spec.task != "inpaint" else "aligned"] = 0.123
    with pytest.raises(ConfigError, match="is of task"):
        check_config(changed, "the card")
