"""A benchmark on a Ray cluster gives the results of one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from irae.errors import UsageError
from irae.evaluation.benchmark.config import load_benchmark
from irae.evaluation.benchmark.on_ray import run_on_ray
from irae.evaluation.benchmark.plan import plan
from irae.evaluation.benchmark.results_file import read_results
from irae.evaluation.benchmark.runner import run_benchmark

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'irae[ray]')")

CONFIG: dict[str, Any] = {
    "root": "data",
    "datasets": {"small": {"train": "train", "validation": "val", "test": "val", "patch": 16}},
    "tasks": {"denoise": {"levels": [25]}},
    "models": {
        "irae": {"network": "irae", "options": {"width": 12, "couplings": 2, "hidden": 4}},
        "ffdnet": {"network": "ffdnet", "options": {"width": 8, "layers": 3}},
        "lost": {"checkpoint": "absent.safetensors"},
    },
    "budget": {"steps": 2},
    "training": {"batch": 2, "threads": 1, "precision": "fp32"},
    "samples": 0,
    "cost": {"height": 16, "width": 16, "rounds": 1},
}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of one core of this machine."""
    # Ray has its workers give way to all others, for minutes on a busy machine.
    patience = {"RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "120"}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", **patience}
    try:
        ray.init(
            address="local", num_cpus=1, object_store_memory=80 * 2**20, include_dashboard=False
        )
    except Exception as error:  # Ray's own, when the node is not up in time.
        if "timed out" not in str(error):
            raise
        pytest.skip(f"this machine is too busy to start a Ray node ({error})")
    yield ray
    ray.shutdown()


def test_each_cell_is_a_task_and_the_results_are_those_of_one_process(
    cluster: Any, tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # Relative names in the config are this process's own.
    (tmp_path / "data").symlink_to(pictures, target_is_directory=True)
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(CONFIG))
    cells = plan(load_benchmark("b.yaml"))
    said: list[str] = []
    outcome = run_on_ray(cluster, cells, Path("out"), "cpu", say=said.append)
    assert sorted(outcome.finished) == ["small/denoise-25/ffdnet", "small/denoise-25/irae"]
    assert list(outcome.failures) == ["small/denoise-25/lost"]
    assert sum("absent.safetensors: no such checkpoint" in line for line in said) == 1
    run_benchmark(cells, Path("alone"), torch.device("cpu"), say=said.append)
    alone = {row["cell"]: row for row in read_results(Path("alone/results.jsonl"))}
    for row in read_results(Path("out/results.jsonl")):
        assert row["metrics"] == alone[row["cell"]]["metrics"]
        assert row["trained"]["steps"] == 2
    again = run_on_ray(cluster, cells, Path("out"), "cpu", say=said.append)
    assert len(again.kept) == 2 and not again.finished
    # A mistake of the user is one, and not a bug of a worker.
    changed = plan(load_benchmark("b.yaml", ["seed=1"]))
    with pytest.raises(UsageError, match="was computed with another config"):
        run_on_ray(cluster, changed, Path("out"), "cpu", say=said.append)
