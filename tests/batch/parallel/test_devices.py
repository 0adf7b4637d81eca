"""Several devices share the pictures of a batch, and the files are those of one."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier, get_ident
from typing import Any

import pytest
import torch
from torchvision.utils import save_image

from irae.batch import pipeline as pipelines
from irae.batch.jobs import Job
from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.parallel.devices import STREAMS, Devices
from irae.batch.parallel.read_ahead import ReadAhead
from irae.batch.pipeline import Pipeline
from irae.batch.restore_files import Request, restore_files
from irae.errors import UsageError
from irae.imaging.io.files import read_picture
from irae.restoring.options import RestoreOptions

SIZES = [(24, 32), (24, 32), (16, 16), (40, 24), (24, 32), (40, 24), (16, 16), (32, 32)]


def make_pictures(folder: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    folder.mkdir()
    for index, (height, width) in enumerate(SIZES):
        save_image(torch.rand(3, height, width, generator=draw), folder / f"{index}.png")
    (folder / "broken.png").write_bytes(b"no picture")


def pool_on(device: str, model: Path) -> ModelPool:
    return ModelPool(RestoreOptions(model=str(model), device=device))


def test_two_devices_write_what_one_writes(tmp_path: Path, model_files: dict[str, Path]) -> None:
    make_pictures(tmp_path / "in")
    found = {}
    for name in ("cpu", "cpu,cpu", "cpu,cpu,cpu"):
        outcomes: list[Outcome] = []
        out = tmp_path / name.replace(",", "-")
        request = Request((str(tmp_path / "in"),), str(out))
        pool = pool_on(name, model_files["denoise"])
        summary = restore_files(request, pool, outcomes.append)
        assert (summary.done, summary.failed) == (len(SIZES), 1)
        found[name] = {path.name: path.read_bytes() for path in out.glob("*.png")}
        assert [Path(each.input).name for each in outcomes] == [
            *(f"{index}.png" for index in range(len(SIZES))),
            "broken.png",
        ]
    assert len(found["cpu"]) == len(SIZES)
    assert found["cpu"] == found["cpu,cpu"] == found["cpu,cpu,cpu"]


def test_two_devices_restore_at_the_same_time(
    tmp_path: Path, model_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each group waits until another device has begun one, so that one device alone would fail."""
    make_pictures(tmp_path / "in")
    sizes = [(16 + 8 * n, 16) for n in range(4)]
    jobs = []
    for index, (height, width) in enumerate(sizes):
        source = tmp_path / f"{index}.png"
        save_image(torch.rand(3, height, width), source)
        jobs.append(Job(source, tmp_path / "out" / f"{index}.png"))
    both, used = Barrier(2), set()
    together = Pipeline._restore_together

    def meet(self: Pipeline, task: Any, jobs: Any, read: Any, writer: Any, pool: Any) -> Any:
        both.wait(60)
        used.add((id(pool), get_ident()))
        return together(self, task, jobs, read, writer, pool)

    monkeypatch.setattr(Pipeline, "_restore_together", meet)
    pipeline = Pipeline(pool_on("cpu,cpu", model_files["denoise"]), jobs)
    outcomes = [future.result() for future in pipeline.outcomes()]
    assert [each.input for each in outcomes] == [str(job.source) for job in jobs]
    assert len(used) == 2 and len({pool for pool, _ in used}) == 2


def test_a_gpu_restores_in_two_streams_and_a_cpu_in_the_calling_thread(
    model_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pool_on("cpu", model_files["denoise"])
    devices = Devices(pool)
    assert devices.count == 1
    assert devices.submit(lambda own: (own, get_ident())).result() == (pool, get_ident())
    monkeypatch.setattr("irae.batch.parallel.devices.select_device", torch.device)
    monkeypatch.setattr("irae.batch.model_pool.select_device", torch.device)
    pool = pool_on("cuda:0,cuda:1,cpu", model_files["denoise"])
    found = Devices(pool)
    assert found.count == 2 * STREAMS + 1
    names = [found._free.get()[0].options.device for _ in range(found.count)]
    assert names == ["cuda:0", "cuda:0", "cuda:1", "cuda:1", "cpu"]


def test_large_pictures_are_held_one_for_each_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pictures(tmp_path / "in")
    jobs = [Job(tmp_path / "in" / f"{n}.png", tmp_path / f"{n}.png") for n in range(len(SIZES))]
    monkeypatch.setattr("irae.batch.parallel.read_ahead.AHEAD_PIXELS", 1)
    ahead = ReadAhead(jobs, lambda job: job, pipelines.Files.create(), at_once=2)
    groups = ahead.groups()
    first, second, full = next(groups), next(groups), next(groups)
    assert len(first) + len(second) == 2 and not full
    ahead.release(first[0].pixels)
    assert len(next(groups)) == 1 and not next(groups)
    ahead.close()


@pytest.mark.parametrize("device", ["cpu,", "cpu,cuda:99", "cpu,gpu", ","])
def test_a_list_with_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(UsageError, match="device"):
        ModelPool(RestoreOptions(device=device))


def test_two_streams_of_a_gpu_write_what_one_device_writes(
    tmp_path: Path, model_files: dict[str, Path], cuda: torch.device
) -> None:
    make_pictures(tmp_path / "in")
    request = Request((str(tmp_path / "in"),), str(tmp_path / "out"))
    last = torch.cuda.device_count() - 1
    pool = pool_on(f"cuda:0,cuda:{last}", model_files["denoise"])
    assert restore_files(request, pool, lambda _: None).done == len(SIZES)
    here = pool_on("cpu", model_files["denoise"]).restorer_for("")
    for index in range(len(SIZES)):
        alone = here.restore_picture(read_picture(tmp_path / "in" / f"{index}.png")).pixels
        made = read_picture(tmp_path / "out" / f"{index}.png").pixels
        assert (alone - made).abs().max() * 255 <= 1.51
