"""A batch on a Ray cluster of two nodes, whose workers and nodes are killed on the way."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.output import STAGING
from irae.batch.restore_files import Request, restore_files
from irae.errors import UsageError
from irae.restoring.options import RestoreOptions

ray = pytest.importorskip("ray", reason="Ray is not installed (pip install 'irae[ray]')")
pytest.importorskip("ray.data", reason="Ray Data is not installed (pip install 'irae[ray]')")

PICTURES = 24

# A node of one core.
OPTIONS = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of this machine, of one core each, which talk over its own address."""
    from ray.cluster_utils import Cluster

    # Ray has its workers give way to all others, for minutes on a busy machine.
    patience = {"RAY_worker_niceness": "0", "RAY_raylet_start_wait_time_s": "120"}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", **patience}
    try:
        cluster = Cluster(
            initialize_head=True, head_node_args={**OPTIONS, "include_dashboard": False}
        )
    except Exception as error:  # Ray's own, when a node is not up within 30 seconds.
        if "timed out" not in str(error):
            raise
        pytest.skip(f"this machine is too busy to start a Ray node ({error})")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed in range(PICTURES):
        values = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
        path = tmp_path / "in" / ("sub" if seed % 2 else ".") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    return tmp_path


def workers() -> list[int]:
    """The processes of the actors, all of them below this test's own."""
    parents, found = {}, []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            status = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue  # It ended meanwhile.
        parents[int(entry.name)] = int(status[1])
        if command.startswith(b"ray::") and b"_Worker" in command:
            found.append(int(entry.name))

    def ours(process: int) -> bool:
        while process > 1:
            if process == os.getpid():
                return True
            process = parents.get(process, 0)
        return False

    return [process for process in found if ours(process)]


def outputs(out: Path) -> dict[str, bytes]:
    paths = [path for path in out.rglob("*.png") if STAGING not in str(path)]
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in paths}


def test_workers_and_nodes_that_are_killed(
    cluster: Any, folder: Path, model_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)  # Relative names are this process's own.
    options = RestoreOptions(model=str(model_files["denoise"]), device="cpu")
    restore_files(Request(("in",), "here", recursive=True), ModelPool(options), lambda _: None)
    second = cluster.add_node(**OPTIONS)
    cluster.wait_for_nodes()
    assert len([node for node in ray_nodes(cluster) if node["Alive"]]) == 2
    told: list[Outcome] = []
    killed: list[int] = []

    def disturb(outcome: Outcome) -> None:
        told.append(outcome)
        if len(told) == 2:
            killed.extend(workers()[:1])
            os.kill(killed[0], signal.SIGKILL)
        if len(told) == 5:
            cluster.remove_node(second, allow_graceful=False)

    request = Request(("in",), "out", recursive=True, engine="ray", address=cluster.address)
    summary = restore_files(request, ModelPool(options), disturb)
    assert killed
    assert (summary.done, summary.failures) == (PICTURES, ("in/bad.png",))
    names = [outcome.output for outcome in told if outcome.status == "done"]
    assert len(names) == len(set(names)) == PICTURES
    assert outputs(Path("out")) == outputs(Path("here"))
    bad = next(outcome for outcome in told if outcome.status == "failed")
    assert str(bad.error).startswith("in/bad.png: not a picture")
    lines = [json.loads(x) for x in Path("out/irae-manifest.jsonl").read_text().splitlines()]
    assert len(lines) == PICTURES + 1 and sum(x["error"] is None for x in lines) == PICTURES
    assert not list(Path("out").glob(f"{STAGING}*"))
    Path("in/bad.png").unlink()
    again = restore_files(request, ModelPool(options), lambda _: None)
    assert (again.done, again.skipped, again.failed) == (0, PICTURES, 0)


def ray_nodes(cluster: Any) -> list[dict[str, Any]]:
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        nodes: list[dict[str, Any]] = ray.nodes()
        return nodes
    finally:
        ray.shutdown()


def test_what_workers_cannot_reach_is_refused(folder: Path, model_files: dict[str, Path]) -> None:
    pool = ModelPool(RestoreOptions(model=str(model_files["denoise"]), device="cpu"))
    for out, words in ((None, "needs -o"), ("memory://out", "lies in this process alone")):
        request = Request((str(folder / "in"),), out, engine="ray")
        with pytest.raises(UsageError, match=words):
            restore_files(request, pool, lambda _: None)
