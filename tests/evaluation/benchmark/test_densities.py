"""Densities in a benchmark: trained alike, measured in bits per dimension, reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from irae.data.small import open_small
from irae.errors import ConfigError
from irae.evaluation.benchmark.config import load_benchmark
from irae.evaluation.benchmark.density_cells import PROTOCOL, DensityCell
from irae.evaluation.benchmark.plan import plan
from irae.evaluation.benchmark.results_file import read_results
from irae.evaluation.benchmark.runner import Outcome, run_benchmark
from irae.evaluation.report.statistics import bootstrap_interval
from irae.evaluation.report.summary import sections, standings, verdicts
from irae.evaluation.report.write import write_reports
from irae.models.checkpoints.model_file import load_density

CPU = torch.device("cpu")
MODELS = {
    "density": {"network": "density", "options": {"couplings": [2], "widths": [8], "blocks": 1}},
    "glow": {"network": "glow", "options": {"levels": 1, "depth": 2, "width": 8}},
    "realnvp": {"network": "realnvp", "options": {"levels": 1, "width": 4, "blocks": 1}},
    "nice": {"network": "nice", "options": {"width": 16, "layers": 1}},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scikit-learn's handwritten digits, 8×8: 160 to learn from, 40 to test on."""
    sklearn = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
    folder = tmp_path_factory.mktemp("root")
    for number, picture in enumerate(sklearn.load_digits().images[:200]):
        part = folder / ("train" if number < 160 else "test")
        part.mkdir(exist_ok=True)
        Image.fromarray((picture * 15).astype(np.uint8)).save(part / f"{number:03d}.png")
    return folder


def write_config(path: Path, root: Path, **changes: Any) -> Path:
    content: dict[str, Any] = {
        "root": str(root),
        "datasets": {"digits": {"train": "train", "test": "test", "size": 8, "channels": 1}},
        "tasks": {"likelihood": {"objective": "likelihood", "levels": [8]}},
        "models": MODELS,
        "budget": {"steps": 12},
        "augment": {"flip": False},
        "training": {"batch": 16, "threads": 1, "precision": "fp32", "warmup": 2, "ema": 0.5},
        "cost": {"height": 16, "width": 16, "rounds": 1},
        **changes,
    }
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def go(config: Path, folder: Path, *overrides: str) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    cells = plan(load_benchmark(config, list(overrides)))
    return run_benchmark(cells, folder, CPU, say=said.append), said


@pytest.fixture(scope="module")
def done(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished benchmark."""
    folder = tmp_path_factory.mktemp("benchmark")
    outcome, said = go(write_config(folder / "b.yaml", root), folder / "out")
    assert outcome.finished == [f"digits/likelihood-8/{name}" for name in MODELS], said
    return folder / "out"


@pytest.mark.slow
def test_each_density_is_trained_alike_and_measured_on_the_test_pictures(
    done: Path, root: Path
) -> None:
    rows = {row["model"]: row for row in read_results(done / "results.jsonl")}
    assert {row["trained"]["steps"] for row in rows.values()} == {12}
    assert {row["protocol"] for row in rows.values()} == {PROTOCOL}
    test = open_small("test", size=8, channels=1, root=root, split="test")
    for name, row in rows.items():
        model = load_density(done / f"cells/digits/likelihood-8/{name}/last.safetensors")
        expected = model.bits_per_dim(test).tolist()
        assert row["metrics"]["bits_per_dim"] == pytest.approx(expected, abs=1e-4)
        assert len(row["pictures"]) == 40
        assert row["round_trip"] <= 0.5
        assert row["cost"]["parameters"] == model.parameters
        assert min(
            row["cost"][key]
            for key in ("macs_per_pixel", "seconds_per_megapixel", "seconds_to_sample")
        ) > 0  # fmt: skip
        assert (done / row["drawn"]).is_file()
    # NICE consists of matrices alone, and they count.
    width, layers = 16, 1
    macs = 4 * (2 * 32 * width + (layers - 1) * width**2) / 64
    assert rows["nice"]["cost"]["macs_per_pixel"] == pytest.approx(macs)


@pytest.mark.slow
def test_the_report_says_what_the_bits_are_and_fewer_are_better(done: Path) -> None:
    pytest.importorskip("jinja2", reason="pip install 'irae[report]'")
    write_reports(done)
    text = (done / "results.md").read_text(encoding="utf-8")
    assert "dequantised by uniform noise" in text
    assert "damaged" not in text
    assert "64 samples" in text
    (section,) = sections(read_results(done / "results.jsonl"))
    assert section.measures == ["bits_per_dim"]
    (level,) = section.levels
    rank = standings(level, "bits_per_dim")
    means = {name: each.score.mean for name, each in rank.items()}
    (best,) = (name for name, each in rank.items() if each.best)
    assert best == min(means, key=means.__getitem__)
    assert rank[best].score.low < means[best] < rank[best].score.high
    assert f"**{means[best]:.4f}**" in text
    (verdict,) = verdicts([section], "bits_per_dim")
    assert verdict.model == "density"
    assert verdict.baseline == min(set(means) - {"density"}, key=means.__getitem__)
    if verdict.word != "tie":
        assert (verdict.word == "win") == (verdict.ours < verdict.theirs)
    page = (done / "report.html").read_text(encoding="utf-8")
    assert "bits/dim" in page
    assert "upper bound on the code length" in page


@pytest.mark.slow
def test_given_densities_are_measured_if_they_are_of_these_pictures(
    done: Path, root: Path, tmp_path: Path
) -> None:
    trained = str(done / "cells/digits/likelihood-8/density/last.safetensors")
    config = write_config(
        tmp_path / "b.yaml",
        root,
        models={"given": {"checkpoint": trained}, "fashion": {"checkpoint": "fashion"}},
    )
    outcome, said = go(config, tmp_path / "out")
    assert outcome.finished == ["digits/likelihood-8/given"]
    (failure,) = outcome.failures["digits/likelihood-8/fashion"]
    assert "28×28×1 of 8 bits" in failure
    assert "8×8×1 of 8 bits" in failure
    (row,) = read_results(tmp_path / "out/results.jsonl")
    first = next(r for r in read_results(done / "results.jsonl") if r["model"] == "density")
    assert row["metrics"] == first["metrics"]
    assert row["trained"] is None


def test_the_hash_depends_on_size_channels_and_bits(root: Path, tmp_path: Path) -> None:
    config = write_config(tmp_path / "b.yaml", root)

    def hashes(*overrides: str) -> set[str]:
        return {cell.hash() for cell in plan(load_benchmark(config, list(overrides)))}

    first = hashes()
    assert len(first) == len(MODELS)
    assert first == hashes("training.threads=2")
    for change in ("datasets.digits.size=16", "datasets.digits.channels=3", "budget.steps=13"):
        assert not first & hashes(change), change
    assert not first & hashes("tasks.likelihood.levels=[5]")


def test_densities_and_restoring_networks_may_be_in_one_benchmark(
    root: Path, tmp_path: Path
) -> None:
    config = write_config(
        tmp_path / "b.yaml",
        root,
        tasks={
            "likelihood": {"objective": "likelihood", "levels": [5, 8]},
            "denoise": {"levels": [25]},
        },
        models={
            "nice": {"network": "nice", "tasks": ["likelihood"]},
            "irae": {"network": "irae", "tasks": ["denoise"]},
        },
    )
    cells = plan(load_benchmark(config))
    names = [cell.name for cell in cells]
    assert names == [
        "digits/likelihood-5/nice", "digits/likelihood-8/nice", "digits/denoise-25/irae"
    ]  # fmt: skip
    assert [isinstance(cell, DensityCell) for cell in cells] == [True, True, False]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("datasets.digits.size=null", "datasets.digits.size: task 'likelihood' needs it"),
        ("tasks.likelihood.levels=[9]", "9 is no number of bits; use 1 to 8"),
        ("tasks.likelihood.levels=[center]", "'center' is no number of bits"),
        ("tasks.likelihood.clipped=true", "objective likelihood has no clipped"),
    ],
)
def test_mistakes_are_one_line(root: Path, tmp_path: Path, change: str, words: str) -> None:
    config = write_config(tmp_path / "b.yaml", root)
    with pytest.raises(ConfigError, match=words):
        load_benchmark(config, [change])


@pytest.mark.slow
def test_a_cell_that_cannot_be_says_why_and_the_others_go_on(root: Path, tmp_path: Path) -> None:
    models = {"nice": MODELS["nice"], "irae": {"network": "irae"}}
    config = write_config(tmp_path / "b.yaml", root, models=models, budget={"steps": 1})
    outcome, _ = go(config, tmp_path / "out")
    assert outcome.finished == ["digits/likelihood-8/nice"]
    (failure,) = outcome.failures["digits/likelihood-8/irae"]
    assert "\n" not in failure
    # Absolute, since a folder by its name alone is looked up below the root.
    folder = str(root / "train")
    config = write_config(
        tmp_path / "c.yaml",
        root,
        datasets={"digits": {"train": folder, "test": folder, "size": 8, "channels": 1}},
    )
    outcome, _ = go(config, tmp_path / "other")
    assert not outcome.finished
    assert all("is trained on" in lines[0] for lines in outcome.failures.values())


def test_intervals_are_of_the_mean_over_pictures() -> None:
    values = [3.0, 3.5, 2.5, 3.2]
    found = bootstrap_interval(values)
    assert found.low < sum(values) / 4 < found.high
