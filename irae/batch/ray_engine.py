"""A batch on a Ray cluster: one actor per GPU, or per group of CPU cores."""

from __future__ import annotations

import inspect
import logging
import math
import os
import pickle
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from irae.batch.jobs import Job
from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.output import LocalFolder, OutputFolder
from irae.batch.pipeline import Pipeline
from irae.batch.progress import Console, settled
from irae.batch.remote import Files
from irae.errors import UsageError
from irae.restoring.options import RestoreOptions

CORES = 4
"""CPU cores per actor without GPUs; fewer if a machine has fewer."""

BLOCK = 8
"""Largest number of pictures sent to an actor at once; they are done again if it is killed."""

ROUNDS = 3
"""Number of rounds in a row without any outcome after which the remaining pictures fail."""


@dataclass(frozen=True)
class _Share:
    """The number of actors and the resources of each."""

    actors: int
    cores: int
    gpu: bool


@dataclass(frozen=True)
class _Work:
    """The input of every actor, in absolute paths."""

    jobs: Sequence[Job]
    settings: RestoreOptions
    files: Files
    folder: OutputFolder
    resize_mask: bool

    @classmethod
    def of(
        cls,
        jobs: Sequence[Job],
        settings: RestoreOptions,
        files: Files,
        folder: OutputFolder,
        resize_mask: bool,
    ) -> _Work:
        """Make all paths absolute, for processes with another working directory."""
        model = settings.model
        if model is not None and Path(model).exists():
            settings = replace(settings, model=str(Path(model).absolute()))
        if isinstance(folder, LocalFolder):
            folder = folder.absolute()
        return cls([_absolute(job) for job in jobs], settings, files, folder, resize_mask)


@dataclass
class _Report:
    """An actor's report on its jobs; ``fault`` is the traceback of a bug, if one occurred."""

    numbers: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fault: str | None = None


class _Worker:
    """An actor: restores the jobs with the given numbers, and stages the results."""

    def __init__(self, work: _Work, cores: int) -> None:
        torch.set_num_threads(cores)
        self._notes: list[str] = []
        self._pool = ModelPool(work.settings, self._notes.append)
        self._work = work

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        numbers = [int(number) for number in batch["number"]]
        report = _Report()
        try:
            report.outcomes = self._restore([self._work.jobs[number] for number in numbers])
        except Exception:
            # The driver raises it again. If it were raised here, Ray would assume a lost worker.
            report.fault = traceback.format_exc()
        report.notes, self._notes[:] = list(self._notes), []
        report.numbers = numbers
        return {"report": [pickle.dumps(report)]}

    def _restore(self, jobs: Sequence[Job]) -> list[Outcome]:
        pipeline = Pipeline(
            self._pool,
            jobs,
            files=self._work.files,
            folder=self._work.folder,
            resize_mask=self._work.resize_mask,
        )
        return [outcome for _, outcome in settled(jobs, pipeline.outcomes())]


@contextmanager
def restore_on_ray(
    jobs: Sequence[Job],
    settings: RestoreOptions,
    files: Files,
    folder: OutputFolder,
    *,
    resize_mask: bool = False,
    address: str | None = None,
) -> Iterator[Iterator[tuple[Job, Outcome]]]:
    """Restore jobs on a cluster; the outcomes must be consumed within the context.

    Pictures of a lost actor or machine are sent out again. Those that are lost each time, for
    example because no worker has enough memory, fail in the end. irae must be installed on all
    machines, and the sources, masks, model and output folder must be reachable under the same
    names. Anyone who can reach a Ray cluster can run programs on it.

    Args:
        jobs: the pictures.
        settings: the user's options.
        files: access to the sources.
        folder: where results are staged; this process commits them.
        resize_mask: scale masks of another size.
        address: address of a running cluster; None starts one on this machine.

    Yields:
        The jobs with their outcomes, each once, in the order of completion.

    Raises:
        UsageError: Ray is not installed, or no cluster answers.
    """
    _check_reachable(jobs, files, folder)
    with connected(address) as ray:
        yield _run(ray, jobs, _Work.of(jobs, settings, files, folder, resize_mask))


@contextmanager
def connected(address: str | None = None) -> Iterator[Any]:
    """Connect to a cluster, unless this process is connected already; yields the module `ray`.

    Args:
        address: address of a running cluster; None starts one on this machine.

    Raises:
        UsageError: Ray is not installed, or no cluster answers.
    """
    ray = _import_ray()
    started = not ray.is_initialized()
    if started:
        _connect(ray, address)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


def _import_ray() -> Any:
    # By default Ray reports its use to its makers, draws progress bars of its own, and warns
    # about objects that a restarted actor may lack, which live as long as the actors here.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    try:
        import ray
        import ray.data
    except ImportError:
        raise UsageError("--engine ray needs Ray; pip install 'irae[ray]'") from None
    return ray


def _check_reachable(jobs: Sequence[Job], files: Files, folder: OutputFolder) -> None:
    places = [files.name(job.source) for job in jobs[:1]] + [folder.name("")]
    for place in places:
        if place.startswith("memory://"):
            raise UsageError(f"{place}: lies in this process alone; Ray's workers cannot reach it")


def _connect(ray: Any, address: str | None) -> None:
    options: dict[str, Any] = {} if address else {"include_dashboard": False}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            **options,
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"--address {address or 'local'}: no usable Ray cluster there ({reason});"
            " start one with 'ray start --head', or drop --address"
        ) from None


def _run(ray: Any, jobs: Sequence[Job], work: _Work) -> Iterator[tuple[Job, Outcome]]:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # The blocks of a lost actor are sent out again below. Ray would let them wait for the actor
    # to restart, which never happens if its machine is lost.
    context.max_errored_blocks = -1
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    left, fruitless, reason = dict(enumerate(jobs)), 0, ""
    while left and fruitless < ROUNDS:
        before = len(left)
        share = _divide(ray, work.settings)
        # After a round without outcomes, one by one: then only those that kill a worker remain.
        size = 1 if fruitless else max(1, min(BLOCK, before // (4 * share.actors)))
        try:
            yield from _take(_hand_out(ray, list(left), work, share, size), left, work.folder)
        except ray.exceptions.RayActorError as error:
            # The actor died before it got any jobs.
            reason = f" ({str(error).strip().splitlines()[-1].strip()})"
        fruitless = fruitless + 1 if len(left) == before else 0
        if left:
            Console.note(f"Ray lost workers; {len(left)} pictures are sent out again")
    for job in left.values():
        lost = f"{ROUNDS} Ray workers were lost over it{reason}"
        error_line = f"{job.source}: {lost}; restore it without --engine ray"
        yield job, Outcome(str(job.source), error=error_line)


def _hand_out(ray: Any, numbers: list[int], work: _Work, share: _Share, size: int) -> Any:
    """Return a lazy data set of the reports on some jobs.

    Args:
        ray: the module `ray`.
        numbers: numbers of the jobs to do.
        work: all jobs and their options.
        share: number of actors and their resources.
        size: number of jobs sent to an actor at once.
    """
    options: dict[str, Any] = {"num_gpus": 1} if share.gpu else {"num_cpus": share.cores}
    if "ray_remote_args_fn" in inspect.signature(ray.data.Dataset.map_batches).parameters:
        options["ray_remote_args_fn"] = _without_restarts
    device = work.settings.device if share.gpu else "cpu"
    return ray.data.from_items(
        [{"number": number} for number in numbers],
        override_num_blocks=math.ceil(len(numbers) / size),
    ).map_batches(
        _Worker,
        fn_constructor_args=(
            replace(work, settings=replace(work.settings, device=device)),
            share.cores,
        ),
        batch_size=None,
        concurrency=(1, share.actors),
        **options,
    )


def _without_restarts() -> dict[str, int]:
    return {"max_restarts": 0, "max_task_retries": 0}


def _take(done: Any, left: dict[int, Job], folder: OutputFolder) -> Iterator[tuple[Job, Outcome]]:
    """Yield the outcomes of a round as they arrive, and remove their jobs from ``left``."""
    for row in done.iter_rows():
        report = pickle.loads(row["report"])
        for note in report.notes:
            Console.note(note)
        if report.fault is not None:
            raise RuntimeError(f"a Ray worker failed:\n{report.fault}")
        for number, outcome in zip(report.numbers, report.outcomes, strict=True):
            if number in left:
                job = left.pop(number)
                yield job, _as_named(outcome, job)
            elif outcome.made is not None:
                # A duplicate: the job was done again after the first report's machine was lost.
                folder.discard(outcome.made.staged)


def _divide(ray: Any, settings: RestoreOptions) -> _Share:
    """Divide the cluster's resources between actors."""
    resources = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in resources))
    if gpus and settings.device != "cpu":
        return _Share(gpus, 1, gpu=True)
    cores = [int(node.get("CPU", 0)) for node in resources if node.get("CPU", 0) >= 1]
    if not cores:
        raise UsageError("the Ray cluster has no free CPU core; give it some (--num-cpus)")
    group = min(CORES, *cores)
    return _Share(sum(count // group for count in cores), group, gpu=False)


def _absolute(job: Job) -> Job:
    return replace(
        job,
        source=job.source.absolute(),
        target=job.target.absolute(),
        mask=None if job.mask is None else job.mask.absolute(),
        copy=None if job.copy is None else job.copy.absolute(),
    )


def _as_named(outcome: Outcome, job: Job) -> Outcome:
    """Replace the actors' absolute paths by the names that the user gave."""
    paths = (job.source, job.target, job.mask, job.copy)
    named = {str(path.absolute()): str(path) for path in paths if path}

    def display_name(text: str) -> str:
        for absolute, given in named.items():
            text = text.replace(absolute, given)
        return text

    return outcome.with_names(display_name)
