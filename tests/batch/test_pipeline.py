"""Reading, restoring and writing overlap, and nothing else changes by it."""

from __future__ import annotations

from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import torch
from torchvision.utils import save_image

from irae.batch import pipeline as pipelines
from irae.batch.jobs import Job
from irae.batch.model_pool import ModelPool
from irae.batch.parallel import read_ahead as module
from irae.batch.pipeline import Pipeline
from irae.batch.progress import Outcome
from irae.errors import IraeError, ModelError
from irae.imaging.io.files import read_picture
from irae.imaging.io.picture import Picture
from irae.restoring.options import RestoreOptions


def using(model: Path) -> ModelPool:
    return ModelPool(RestoreOptions(model=str(model)))


def make_jobs(folder: Path, sizes: list[tuple[int, int]]) -> list[Job]:
    rng = torch.Generator().manual_seed(0)
    jobs = []
    for index, (height, width) in enumerate(sizes):
        source = folder / f"{index}.png"
        save_image(torch.rand(3, height, width, generator=rng), source)
        jobs.append(Job(source, folder / "out" / f"{index}.png"))
    return jobs


def run(pipeline: Pipeline, jobs: list[Job]) -> list[Outcome | Exception]:
    outcomes: list[Outcome | Exception] = []
    for _, future in zip(jobs, pipeline.outcomes(), strict=True):
        try:
            outcomes.append(future.result())
        except (IraeError, OSError, RuntimeError) as error:
            outcomes.append(error)
    return outcomes


def test_several_read_and_write_beside_a_gpu(
    tmp_path: Path, model_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pictures are read at one time, and three written; the outcomes stay in order."""
    monkeypatch.setattr(pipelines, "_threads", lambda device: 3)
    reading, writing = Barrier(3), Barrier(3)
    read, write = pipelines.read_picture, pipelines.write_picture

    def read_with_others(path: Path) -> Picture:
        reading.wait(30)
        return read(path)

    def write_with_others(path: Path, picture: Picture, **options: Any) -> None:
        writing.wait(30)
        write(path, picture, **options)

    monkeypatch.setattr(pipelines, "read_picture", read_with_others)
    monkeypatch.setattr(pipelines, "write_picture", write_with_others)
    jobs = make_jobs(tmp_path, [(24, 32)] * 6)
    outcomes = run(Pipeline(using(model_files["denoise"]), jobs), jobs)
    assert [getattr(each, "input", each) for each in outcomes] == [str(job.source) for job in jobs]
    assert all(job.target.is_file() for job in jobs)


def test_a_cpu_has_one_reader_and_a_gpu_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "host_threads", lambda: 16)
    assert pipelines._threads(torch.device("cpu")) == 1
    assert pipelines._threads(torch.device("cuda")) == pipelines.MOST_READERS
    monkeypatch.setattr(pipelines, "host_threads", lambda: 2)
    assert pipelines._threads(torch.device("cuda")) == 2


def test_a_batch_is_restored_on_a_gpu(
    tmp_path: Path, model_files: dict[str, Path], cuda: torch.device
) -> None:
    jobs = make_jobs(tmp_path, SIZES)
    pool = ModelPool(RestoreOptions(model=str(model_files["denoise"]), device="cuda"))
    assert all(isinstance(each, Outcome) for each in run(Pipeline(pool, jobs), jobs))
    here = using(model_files["denoise"]).restorer_for("")
    for job in jobs:
        alone = here.restore_picture(read_picture(job.source)).pixels
        assert (alone - read_picture(job.target).pixels).abs().max() * 255 <= 1.51


SIZES = [(24, 32)] * 5 + [(16, 16), (24, 32), (40, 24), (40, 24)]


def test_as_one_by_one(tmp_path: Path, model_files: dict[str, Path]) -> None:
    jobs = make_jobs(tmp_path, SIZES)
    pool = using(model_files["denoise"])
    outcomes = run(Pipeline(pool, jobs), jobs)
    for job, outcome in zip(jobs, outcomes, strict=True):
        assert isinstance(outcome, Outcome)
        assert outcome.input == str(job.source)
        alone = pool.restorer_for("").restore_picture(read_picture(job.source)).pixels
        together = read_picture(job.target).pixels
        assert (alone - together).abs().max() * 255 <= 0.51  # The file rounds to 8 bits.


def test_pictures_of_one_size_go_together(
    tmp_path: Path, model_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_jobs(tmp_path, SIZES)
    pool = using(model_files["denoise"])
    batches: list[int] = []
    whole = pool.restorer_for("").model.restore

    def counted(x: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        batches.append(len(x))
        return whole(x, *rest, **options)

    monkeypatch.setattr(pool.restorer_for("").model, "restore", counted)
    run(Pipeline(pool, jobs), jobs)
    assert batches == [5, 1, 1, 2]


def test_one_bad_file_spares_those_beside_it(tmp_path: Path, model_files: dict[str, Path]) -> None:
    jobs = make_jobs(tmp_path, [(24, 32)] * 4)
    data = jobs[1].source.read_bytes()
    jobs[1].source.write_bytes(data[: len(data) // 2])
    jobs[2].target.parent.mkdir()
    jobs[2].target.touch()
    outcomes = run(Pipeline(using(model_files["denoise"]), jobs), jobs)
    assert [isinstance(outcome, Outcome) for outcome in outcomes] == [True, False, False, True]
    assert "damaged" in str(outcomes[1]) and "exists already" in str(outcomes[2])


def test_a_failed_batch_is_done_again_one_by_one(
    tmp_path: Path, model_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_jobs(tmp_path, [(24, 32)] * 3)
    pool = using(model_files["denoise"])
    whole = pool.restorer_for("").model.restore
    first = read_picture(jobs[0].source).pixels

    def fragile(x: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        if len(x) > 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        if torch.equal(x[0], first):
            raise ModelError("gave numbers that are not finite")
        return whole(x, *rest, **options)

    monkeypatch.setattr(pool.restorer_for("").model, "restore", fragile)
    outcomes = run(Pipeline(pool, jobs), jobs)
    assert [isinstance(outcome, Outcome) for outcome in outcomes] == [False, True, True]


@pytest.mark.parametrize("room", [1, 24 * 32, 3 * 24 * 32])
def test_memory_holds_only_so_many_pixels(
    tmp_path: Path,
    model_files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    room: int,
) -> None:
    jobs = make_jobs(tmp_path, SIZES)
    monkeypatch.setattr(module, "AHEAD_PIXELS", room)
    held: list[int] = []
    fill = module.ReadAhead._fill

    def watched(ahead: module.ReadAhead[Any]) -> None:
        fill(ahead)
        held.append(ahead.held)

    monkeypatch.setattr(module.ReadAhead, "_fill", watched)
    outcomes = run(Pipeline(using(model_files["denoise"]), jobs), jobs)
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    assert 0 < max(held) <= max(room, 40 * 24)


def test_masks_go_with_their_pictures(tmp_path: Path, model_files: dict[str, Path]) -> None:
    jobs = []
    for index, job in enumerate(make_jobs(tmp_path, [(24, 32)] * 3)):
        mask = torch.zeros(1, 24, 32)
        mask[:, 4 * index : 4 * index + 6, 5:20] = 1
        save_image(mask, tmp_path / f"{index}.mask.png")
        jobs.append(Job(job.source, job.target, tmp_path / f"{index}.mask.png"))
    pool = using(model_files["inpaint"])
    outcomes = run(Pipeline(pool, jobs), jobs)
    assert all(isinstance(outcome, Outcome) for outcome in outcomes)
    for index, job in enumerate(jobs):
        before, after = read_picture(job.source).pixels, read_picture(job.target).pixels
        changed = (before != after).any(0)
        hole = torch.zeros(24, 32, dtype=torch.bool)
        hole[4 * index : 4 * index + 6, 5:20] = True
        assert not changed[~hole].any() and changed[hole].float().mean() > 0.9


def test_a_fault_of_the_program_is_not_hidden(
    tmp_path: Path, model_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_jobs(tmp_path, [(24, 32)])
    pool = using(model_files["denoise"])

    def faulty(x: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(pool.restorer_for("").model, "restore", faulty)
    with pytest.raises(RuntimeError, match="shapes differ"):
        next(Pipeline(pool, jobs).outcomes()).result()
