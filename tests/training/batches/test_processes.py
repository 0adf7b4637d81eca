"""Batches from processes are those of one process, and their faults are told in one line."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import pytest
import torch

from irae.config import RunConfig, load_config
from irae.errors import DataError, TrainingError
from irae.training.batches import processes
from irae.training.batches.batch import BatchMaker
from irae.training.batches.processes import batches_from_processes, count_processes
from irae.training.loop import train
from irae.training.run import begin, resume

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def config(task: str, root: Path, workers: int, *overrides: str) -> RunConfig:
    return load_config(
        f"{task}.yaml",
        [
            f"data.root={root}",
            "data.train=[{source: train}]",
            "data.validation={source: val, images: 2, crop: 32}",
            "data.patch=16",
            f"data.workers={workers}",
            "training={batch: 4, steps: 6, validate_every: 3, log_every: 1}",
            *overrides,
        ],
    )


@pytest.mark.process
@pytest.mark.usefixtures("few_masks")
@pytest.mark.parametrize("task", ["denoise", "jpeg", "inpaint", "photo"])
def test_processes_make_the_batches_of_one_process(task: str, pictures: Path) -> None:
    more = ["data.validation.levels=['25/80']"] if task == "photo" else []
    alone = BatchMaker(config(task, pictures, 0, *more))
    together = BatchMaker(config(task, pictures, 2, *more))
    with closing(together.prefetched(3)) as batches:  # type: ignore[type-var]
        for step, batch in enumerate(islice(batches, 5), start=3):
            for name, expected in vars(alone.batch(step)).items():
                found = getattr(batch, name)
                assert (found is None) if expected is None else torch.equal(found, expected), name
            assert batch.degraded.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.process
def test_a_run_with_processes_is_the_run_without(pictures: Path, tmp_path: Path) -> None:
    train(begin(config("jpeg", pictures, 0), tmp_path / "alone", CPU))
    train(begin(config("jpeg", pictures, 2), tmp_path / "together", CPU), max_steps=4)
    run = resume(tmp_path / "together", CPU)
    train(run)
    alone = resume(tmp_path / "alone", CPU)
    for here, there in zip(alone.network.parameters(), run.network.parameters(), strict=True):
        assert torch.equal(here, there)


@pytest.mark.process
def test_pictures_that_processes_cannot_read_are_reported(pictures: Path, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    shutil.copytree(pictures, root)
    names = sorted((root / "train").iterdir())
    names[0].write_bytes(names[0].read_bytes()[:200])
    maker = BatchMaker(config("denoise", root, 2, "training.batch=16"))
    with closing(maker.prefetched(0)) as batches:  # type: ignore[type-var]
        list(islice(batches, 3))
    assert list(maker.left_out) == [names[0]]


def _open(make: Callable[[int], object]) -> tuple[Callable[[int], object], dict[Path, str]]:
    return make, {}


def _none(step: int) -> object:
    raise DataError(f"step {step}: the disk is gone")


def _killed(step: int) -> object:
    os.kill(os.getpid(), signal.SIGKILL)
    return step


@pytest.mark.process
def test_an_error_of_a_process_stays_one_line() -> None:
    batches = batches_from_processes(partial(_open, _none), 7, 2, CPU, {})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"\Astep 7: the disk is gone\Z"):
        next(batches)


@pytest.mark.process
def test_a_killed_process_is_one_line() -> None:
    batches = batches_from_processes(partial(_open, _killed), 0, 2, CPU, {})  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match=r"\Adata.workers: a process .* is gone \(.*\); lower"):
        next(batches)


def _signalled_at_once(leave_signals: Callable[[int], None], number: int) -> None:
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(os.getpid(), sent)
    leave_signals(number)


@pytest.mark.process
def test_a_signal_to_a_process_that_is_still_starting_does_not_end_it(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_signals = processes._leave_signals
    monkeypatch.setattr(processes, "_leave_signals", partial(_signalled_at_once, leave_signals))
    maker = BatchMaker(config("jpeg", pictures, 2))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with closing(maker.prefetched(0)) as batches:  # type: ignore[type-var]
        assert len(list(islice(batches, 20))) == 20
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


@pytest.mark.process
def test_signals_are_the_training_process_s_business(pictures: Path) -> None:
    before = set(multiprocessing.active_children())  # Another test's may still be ending.
    maker = BatchMaker(config("jpeg", pictures, 2))
    with closing(maker.prefetched(0)) as batches:  # type: ignore[type-var]
        next(batches)
        children = set(multiprocessing.active_children()) - before
        assert len(children) == 2
        for child in children:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(child.pid or 0, number)
        list(islice(batches, 20))


def test_processes_are_for_a_gpu_that_does_not_damage_faster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "host_threads", lambda: 8)
    assert count_processes("auto", GPU, on_device=False) == 6
    assert count_processes("auto", GPU, on_device=True) == 0
    assert count_processes("auto", CPU, on_device=False) == 0
    assert count_processes(3, CPU, on_device=True) == 3
    monkeypatch.setattr(processes, "host_threads", lambda: 3)
    assert count_processes("auto", GPU, on_device=False) == 0


@pytest.mark.parametrize("task", ["denoise", "jpeg", "photo", "inpaint"])
@pytest.mark.usefixtures("few_masks")
def test_batches_from_processes_reach_a_gpu(task: str, pictures: Path, cuda: torch.device) -> None:
    more = ["data.validation.levels=['25/80']"] if task == "photo" else []
    here = BatchMaker(config(task, pictures, 0, *more))
    there = BatchMaker(config(task, pictures, 2, *more), cuda)
    with closing(there.prefetched(0)) as batches:  # type: ignore[type-var]
        for step, batch in enumerate(islice(batches, 4)):
            torch.testing.assert_close(batch.degraded.cpu(), here.batch(step).degraded)
            assert batch.clean.device.type == "cuda"
            assert batch.degraded.is_contiguous(memory_format=torch.channels_last)
