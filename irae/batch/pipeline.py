"""Reading, restoring and writing in parallel; pictures of one size are restored together."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from irae.batch.jobs import Job
from irae.batch.model_pool import ModelPool, TaskDecision
from irae.batch.outcome import Outcome, StagedResult
from irae.batch.output import OutputFolder
from irae.batch.read_ahead import ReadAhead, Reading
from irae.batch.remote import Files
from irae.errors import IraeError, PictureError
from irae.imaging.io.files import read_mask, read_picture, write_picture
from irae.imaging.io.picture import Picture
from irae.inverse.undo import check_sidecar_target, write_sidecar
from irae.runtime import host_threads, is_out_of_memory, select_device
from irae.writing import file_sha256

MOST_READERS = 4
"""Largest number of threads that read, and of those that write, beside a GPU."""


def _threads(device: torch.device) -> int:
    """Return the number of reading threads, and of writing ones, for a device that restores."""
    return 1 if device.type == "cpu" else min(MOST_READERS, host_threads())


@dataclass(frozen=True)
class _Read:
    """A picture as read, with everything that restoring and writing it needs.

    Attributes:
        picture: the decoded picture.
        mask: bool ``1 H W``, True in the masked region, if there is one.
        decision: the task chosen for it.
        original: the bytes of its file if no pixel is to change.
        staged: the source's data for the manifest.
        seconds: time that reading took.
    """

    picture: Picture
    mask: Tensor | None
    decision: TaskDecision
    original: bytes | None
    staged: StagedResult | None
    seconds: float


class Pipeline:
    """Reads, restores and writes the pictures of a batch in parallel.

    Args:
        pool: finds the task and the restorer for each picture.
        jobs: the pictures with their targets and masks.
        files: access to the pictures.
        folder: the output folder, where results are staged until a manifest commits them. With
            None each result is written to its target.
        overwrite: whether an existing target may be replaced.
        resize_mask: scale a mask of another size instead of refusing it.
    """

    def __init__(
        self,
        pool: ModelPool,
        jobs: Sequence[Job],
        *,
        files: Files | None = None,
        folder: OutputFolder | None = None,
        overwrite: bool = False,
        resize_mask: bool = False,
    ) -> None:
        self._pool, self._jobs = pool, jobs
        self._files, self._folder = files or Files.create(), folder
        self._overwrite, self._resize_mask = overwrite, resize_mask

    def outcomes(self) -> Generator[Future[Outcome]]:
        """Yield the outcome of each job, in order.

        Other threads read the next pictures and write the last ones, while the calling thread
        restores: one each beside a CPU, up to `MOST_READERS` each beside a GPU, which restores
        faster than one thread decodes.

        ``result()`` of a future raises the error of its picture: `PictureError` if the picture
        cannot be read or written or its mask does not fit, `ModelError` if the model returned
        non-finite numbers.
        """
        threads = _threads(select_device(self._pool.options.device))
        ahead = ReadAhead(self._jobs, self._read, self._files, threads)
        writer = ThreadPoolExecutor(threads, thread_name_prefix="write")
        written: deque[tuple[int, Future[Outcome]]] = deque()
        try:
            for group in ahead.groups():
                full = not group
                written += self._restore(group, writer)
                # The next group is restored while the last pictures of this one are written, unless
                # memory is full until they are released.
                while len(written) > (0 if full else threads):
                    pixels, outcome = written.popleft()
                    yield outcome
                    ahead.release(pixels)
            while written:
                yield written.popleft()[1]
        finally:
            ahead.close()
            writer.shutdown(cancel_futures=True)

    def _read(self, job: Job) -> _Read:
        begin = time.perf_counter()
        with self._files.fetched(job.source):
            picture = read_picture(job.source)
            mask = None if job.mask is None else read_mask(
                job.mask,
                height=picture.height,
                width=picture.width,
                orientation=picture.orientation,
                resize=self._resize_mask,
                grow=self._pool.options.grow_mask,
            )  # fmt: skip
            decision = self._pool.choose(job, picture)
            original = self._original(job, decision)
            staged = None if self._folder is None else _source_of(job)
        if job.stamp is not None and self._files.stamp(job.source) != job.stamp:
            raise PictureError(
                f"{job.source}: changed after it was listed; run the command again once nothing"
                " writes to it"
            )
        return _Read(picture, mask, decision, original, staged, time.perf_counter() - begin)

    def _original(self, job: Job, decision: TaskDecision) -> bytes | None:
        """Return the file's bytes if no pixel changes: compressing a JPEG again would harm it."""
        changes = decision.task is not None and self._pool.options.strength > 0
        if changes or job.source.suffix.lower() != job.target.suffix.lower():
            return None
        return job.source.read_bytes()

    def _restore(
        self, group: list[Reading[_Read]], writer: ThreadPoolExecutor
    ) -> list[tuple[int, Future[Outcome]]]:
        """Restore pictures of one size and submit them for writing.

        The group is emptied, because a picture in it would stay in memory until its result is
        written.

        Returns:
            The number of pixels and the outcome of each picture.
        """
        jobs, pixels = [reading.job for reading in group], [reading.pixels for reading in group]
        read: dict[int, _Read] = {}
        outcomes: dict[int, Future[Outcome]] = {}
        for place in range(len(jobs)):
            try:
                read[place] = group.pop(0).result.result()
            except (IraeError, OSError, MemoryError, RuntimeError) as error:
                outcomes[place] = _failed(error)
        for task in dict.fromkeys(one.decision.task for one in read.values()):
            places = [place for place, one in read.items() if one.decision.task == task]
            alike = {place: read.pop(place) for place in places}
            outcomes |= self._restore_alike(task, jobs, alike, writer)
        return [(pixels[place], outcomes[place]) for place in range(len(jobs))]

    def _restore_alike(
        self,
        task: str | None,
        jobs: Sequence[Job],
        read: dict[int, _Read],
        writer: ThreadPoolExecutor,
    ) -> dict[int, Future[Outcome]]:
        """Restore the pictures of one task together, or one by one if that fails."""
        try:
            return self._restore_together(task, jobs, read, writer)
        except (IraeError, MemoryError, RuntimeError) as error:
            if len(read) == 1 or not (isinstance(error, IraeError) or is_out_of_memory(error)):
                return {place: _failed(error) for place in read}
        outcomes: dict[int, Future[Outcome]] = {}
        for place, one in read.items():
            outcomes |= self._restore_alike(task, jobs, {place: one}, writer)
        return outcomes

    def _restore_together(
        self,
        task: str | None,
        jobs: Sequence[Job],
        read: dict[int, _Read],
        writer: ThreadPoolExecutor,
    ) -> dict[int, Future[Outcome]]:
        begin = time.perf_counter()
        pictures = [one.picture for one in read.values()]
        if task is not None:
            restorer = self._pool.restorer_for(task)
            pictures = restorer.restore_pictures(pictures, [one.mask for one in read.values()])
        seconds = (time.perf_counter() - begin) / max(1, len(read))
        outcomes = {}
        for place, picture in zip(list(read), pictures, strict=True):
            # Release the picture as read before the result is written: a photograph is large.
            one = read.pop(place)
            rest = (one.decision, one.original, one.staged, one.seconds + seconds)
            del one
            outcomes[place] = writer.submit(self._write, jobs[place], picture, *rest)
        return outcomes

    def _write(
        self,
        job: Job,
        picture: Picture,
        decision: TaskDecision,
        original: bytes | None,
        staged: StagedResult | None,
        seconds: float,
    ) -> Outcome:
        begin = time.perf_counter()
        if self._folder is None or staged is None:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            self._write_at(job.target, job, picture, original, self._overwrite)
        else:
            staged = self._stage(self._folder, job, picture, original, staged)
        restorer = None if decision.task is None else self._pool.restorer_for(decision.task)
        return Outcome(
            input=str(job.source),
            output=str(job.target),
            task=decision.task,
            model=None if restorer is None else restorer.model.name,
            seconds=round(seconds + time.perf_counter() - begin, 3),
            width=picture.width,
            height=picture.height,
            damage=decision.damage,
            why=decision.why,
            made=staged,
        )

    def _write_at(
        self,
        path: Path,
        job: Job,
        picture: Picture,
        original: bytes | None,
        overwrite: bool,
    ) -> None:
        """Write a result, and its sidecar if there is to be one."""
        if not self._pool.options.undoable:
            write_picture(path, picture, overwrite=overwrite, encoded=original)
            return
        check_sidecar_target(path, overwrite=overwrite)
        write_picture(path, picture, overwrite=overwrite, encoded=original)
        try:
            with self._files.fetched(job.source):
                write_sidecar(job.source, path)
        except BaseException:
            # A result without its sidecar cannot be undone, as the options demand.
            path.unlink(missing_ok=True)
            raise

    def _stage(
        self,
        folder: OutputFolder,
        job: Job,
        picture: Picture,
        original: bytes | None,
        source: StagedResult,
    ) -> StagedResult:
        staged = folder.stage(job.relative)
        try:
            self._write_at(staged, job, picture, original, False)
            stamp, checksum = folder.staged_stamp(staged), file_sha256(staged)
            name = folder.deliver(staged)
            return replace(source, staged=name, output_stamp=stamp, output_sha256=checksum)
        except BaseException as error:
            shutil.rmtree(staged.parent, ignore_errors=True)
            if isinstance(error, IraeError):
                # The message must name the user's target, not the staged path.
                raise type(error)(str(error).replace(str(staged), str(job.target))) from error
            raise


def _source_of(job: Job) -> StagedResult:
    """Collect the source's data for the manifest; there is no result yet."""
    mask = None if job.mask is None else file_sha256(job.mask)
    return StagedResult(stamp=job.stamp, sha256=file_sha256(job.source), mask_sha256=mask)


def _failed(error: Exception) -> Future[Outcome]:
    failed: Future[Outcome] = Future()
    failed.set_exception(error)
    return failed
