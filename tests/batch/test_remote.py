"""Pictures at URLs: fetched, restored, and put back whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from irae.batch import output as folders
from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.remote import Files, is_url, local_path
from irae.batch.restore_files import Request, restore_files
from irae.batch.summary import Summary
from irae.errors import PictureError, UsageError
from irae.imaging.io.files import read_picture
from irae.restoring.options import RestoreOptions

fsspec = pytest.importorskip("fsspec")

Restore = Callable[..., Summary]


@pytest.fixture
def memory() -> Iterator[Any]:
    file_system = fsspec.filesystem("memory")
    file_system.store.clear()
    file_system.pseudo_dirs[:] = [""]
    yield file_system
    file_system.store.clear()
    file_system.pseudo_dirs[:] = [""]


def put(memory: Any, tmp_path: Path, name: str, seed: int = 0) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), np.uint8)
    Image.fromarray(values).save(tmp_path / "one.png")
    memory.makedirs(name.rpartition("/")[0], exist_ok=True)
    memory.put_file(str(tmp_path / "one.png"), name)


@pytest.fixture
def restore(model_files: dict[str, Path]) -> Restore:
    def run(*inputs: str, out: str | None, tell: list[Outcome] | None = None, **asked: Any) -> Any:
        told = tell if tell is not None else []
        request = Request(inputs, out, recursive=True, **asked)
        options = RestoreOptions(model=str(model_files["denoise"]), device="cpu")
        return restore_files(request, ModelPool(options), told.append)

    return run


def names(memory: Any, folder: str) -> list[str]:
    return sorted(path.removeprefix(f"{folder}/") for path in memory.find(folder))


def scratch_folders(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.glob("irae-*") if len(path.name) == 21]


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def test_a_store_is_restored_to_a_store(memory: Any, tmp_path: Path, restore: Restore) -> None:
    for seed, name in enumerate(("a.png", "sub/b.png", "sub/c.png")):
        put(memory, tmp_path, f"/in/{name}", seed)
    memory.pipe_file("/in/bad.png", b"no picture")
    told: list[Outcome] = []
    summary = restore("memory://in", out="memory://out", tell=told)
    assert (summary.done, summary.failures) == (3, ("memory://in/bad.png",))
    assert names(memory, "/out") == ["a.png", "irae-manifest.jsonl", "sub/b.png", "sub/c.png"]
    by_name = {outcome.input: outcome for outcome in told}
    assert by_name["memory://in/sub/b.png"].output == "memory://out/sub/b.png"
    assert str(by_name["memory://in/bad.png"].error).startswith("memory://in/bad.png: not a pict")
    lines = [json.loads(x) for x in memory.cat_file("/out/irae-manifest.jsonl").splitlines()]
    assert {line["input"] for line in lines} == set(by_name)
    assert scratch_folders(tmp_path) == []
    again = restore("memory://in", out="memory://out")
    assert (again.done, again.skipped, again.failed) == (0, 3, 1)
    put(memory, tmp_path, "/in/a.png", 9)
    memory.rm("/out/sub/b.png")
    assert restore("memory://in", out="memory://out").done == 2


def test_as_from_and_to_a_folder_here(memory: Any, tmp_path: Path, restore: Restore) -> None:
    put(memory, tmp_path, "/in/a.png", 4)
    (tmp_path / "in").mkdir()
    memory.get_file("/in/a.png", str(tmp_path / "in" / "a.png"))
    restore("memory://in", out=str(tmp_path / "from"))
    restore(str(tmp_path / "in"), out="memory://to")
    restore(f"file://{tmp_path}/in", out=f"file://{tmp_path}/url")
    memory.get_file("/to/a.png", str(tmp_path / "to.png"))
    results = [tmp_path / "from" / "a.png", tmp_path / "url" / "a.png", tmp_path / "to.png"]
    assert len({path.read_bytes() for path in results}) == 1
    before = read_picture(tmp_path / "in" / "a.png").pixels
    assert (read_picture(results[0]).pixels != before).any()
    assert json.loads((tmp_path / "url" / "irae-manifest.jsonl").read_text())["input"] == (
        "../in/a.png"
    )


def test_one_object_and_a_pattern(memory: Any, tmp_path: Path, restore: Restore) -> None:
    put(memory, tmp_path, "/in/a.png")
    put(memory, tmp_path, "/in/b.png", 1)
    assert restore("memory://in/*.png", out=str(tmp_path / "out")).done == 2
    assert restore("memory://in/a.png", out=str(tmp_path / "one.restored.png")).done == 1
    told: list[Outcome] = []
    assert restore("memory://in/none.png", "memory://in/a.png", out="memory://o", tell=told).failed
    assert "memory://in/none.png: no pictures found" in str(told[0].error)
    with pytest.raises(UsageError, match="-o"):
        restore("memory://in", out=None)


@pytest.mark.parametrize("point", range(6))
def test_a_batch_that_is_cut_off(
    memory: Any, tmp_path: Path, restore: Restore, monkeypatch: pytest.MonkeyPatch, point: int
) -> None:
    for seed in range(3):
        put(memory, tmp_path, f"/in/{seed}.png", seed)
    restore("memory://in", out="memory://whole")
    calls: list[str] = []

    def cut_off(method: str) -> None:
        whole = getattr(folders.RemoteFolder, method)

        def fatal(*given: Any, **named: Any) -> Any:
            if len(calls) == point:
                raise KeyboardInterrupt
            calls.append(method)
            return whole(*given, **named)

        patch.setattr(folders.RemoteFolder, method, fatal)

    with monkeypatch.context() as patch:
        for method in ("append", "commit", "rewrite", "close"):
            cut_off(method)
        with pytest.raises(KeyboardInterrupt):
            restore("memory://in", out="memory://out")
    there = [name for name in names(memory, "/out") if name.endswith(".png") and name[0] != "."]
    summary = restore("memory://in", out="memory://out")
    assert (summary.done, summary.skipped, summary.failed) == (3 - len(there), len(there), 0)
    assert names(memory, "/out") == ["0.png", "1.png", "2.png", "irae-manifest.jsonl"]
    for seed in range(3):
        assert memory.cat_file(f"/out/{seed}.png") == memory.cat_file(f"/whole/{seed}.png")
    assert len(memory.cat_file("/out/irae-manifest.jsonl").splitlines()) == 3


def test_a_driver_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"class": "no_such_driver.FileSystem", "err": "Install no_such_driver"}
    from fsspec.registry import known_implementations

    monkeypatch.setitem(known_implementations, "nosuch", known)
    with pytest.raises(UsageError, match="nosuch://b/x: .*pip install no_such_driver$"):
        local_path("nosuch://b/x")
    with pytest.raises(UsageError, match="unknown://b/x: cannot be used"):
        local_path("unknown://b/x")


def test_a_store_that_fails_names_the_object(
    memory: Any, tmp_path: Path, restore: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(memory, tmp_path, "/in/a.png")
    put(memory, tmp_path, "/in/b.png", 1)
    get = type(memory).get_file

    def refuse(self: Any, name: str, *rest: Any, **named: Any) -> Any:
        if name.endswith("a.png"):
            raise RuntimeError("503 slow down")
        return get(self, name, *rest, **named)

    monkeypatch.setattr(type(memory), "get_file", refuse)
    told: list[Outcome] = []
    summary = restore("memory://in", out="memory://out", tell=told)
    assert (summary.done, summary.failures) == (1, ("memory://in/a.png",))
    assert "memory://in/a.png: cannot be fetched (503 slow down)" in str(
        [outcome.error for outcome in told]
    )


def test_names_that_lead_elsewhere_are_refused(tmp_path: Path) -> None:
    files = Files(tmp_path / "scratch")
    for url in ("s3://bucket/../../x.png", "s3://b/a/../../../x.png", "s3://b/..\\x.png"):
        with pytest.raises(PictureError, match=r"\.\."):
            files.path_for(url)
    path = files.path_for("s3://bucket//etc/x.png")
    assert path.is_relative_to(tmp_path / "scratch" / "s3")
    assert files.display_name(f"{path}: is empty") == "s3://bucket/etc/x.png: is empty"
    assert files.url_of(tmp_path / "x.png") is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [("s3://b/x", True), ("memory://x", True), ("C:/x", False), ("a/b", False), ("a://b", False)],
)
def test_what_a_url_is(name: str, expected: bool) -> None:
    assert is_url(name) is expected
