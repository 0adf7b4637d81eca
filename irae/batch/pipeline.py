"""Reading, restoring and writing in parallel; pictures of one size are restored together."""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from irae.batch.documents import restore_document
from irae.batch.jobs import Job
from irae.batch.model_pool import ModelPool, TaskDecision
from irae.batch.outcome import Outcome, StagedResult
from irae.batch.output import OutputFolder
from irae.batch.parallel.devices import Devices
from irae.batch.parallel.read_ahead import ReadAhead, Reading
from irae.batch.remote import Files
from irae.errors import IraeError, PictureError, for_command_line
from irae.imaging.io.changes import describe_loss, describe_missing, missing_parts
from irae.imaging.io.encode import check_writable, same_format
from irae.imaging.io.files import Document, open_document, read_picture, write_picture
from irae.imaging.io.picture import Picture, same_levels
from irae.inverse.undo import check_sidecar_target, write_sidecar
from irae.runtime import host_threads, is_out_of_memory
from irae.writing import file_sha256, folder_for

MOST_READERS = 4
"""Largest number of threads that read, and of those that write, beside a GPU."""


def _threads(device: torch.device) -> int:
    """Return the number of reading threads, and of writing ones, for a device that restores."""
    return 1 if device.type == "cpu" else min(MOST_READERS, host_threads())


@dataclass(frozen=True)
class _Read:
    """A picture as read, with everything that restoring and writing it needs.

    Attributes:
        picture: the decoded picture; None for a file of several pages.
        mask: bool ``1 H W``, True in the masked region, if there is one.
        decision: the task chosen for it.
        staged: the source's data for the manifest.
        seconds: time that reading took.
        document: the pages of a file of several, which are read when they are restored.
    """

    picture: Picture | None
    mask: Tensor | None
    decision: TaskDecision
    staged: StagedResult | None
    seconds: float
    document: Document | None = None


@dataclass(frozen=True)
class _Result:
    """A result to write.

    Attributes:
        picture: the restored picture, or the first page.
        encoded: content of the file; None if the picture is to be encoded.
        kept: whether ``encoded`` is the content of the source.
        decision: the task that was done.
        staged: the source's data for the manifest.
        seconds: time that reading and restoring took.
    """

    picture: Picture
    encoded: bytes | None
    kept: bool
    decision: TaskDecision
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

        Other threads read the next pictures and write the last ones: one each beside a CPU, up to
        `MOST_READERS` each beside a GPU, which restores faster than one thread decodes. On one CPU
        the calling thread restores, otherwise those of `Devices`.

        ``result()`` of a future raises the error of its picture: `PictureError` if the picture
        cannot be read or written or its mask does not fit, `ModelError` if the model returned
        non-finite numbers.
        """
        devices = Devices(self._pool)
        threads = sum(_threads(device) for device in devices.kinds)
        ahead = ReadAhead(self._jobs, self._read, self._files, threads, devices.count)
        writer = ThreadPoolExecutor(threads, thread_name_prefix="write")
        restored: deque[Future[list[tuple[int, Future[Outcome]]]]] = deque()
        written: deque[tuple[int, Future[Outcome]]] = deque()
        # One more than are restored at a time, so that no device waits for this thread.
        waiting = devices.count if devices.count > 1 else 0
        try:
            for group in ahead.groups():
                full = not group
                if group:
                    restored.append(devices.submit(partial(self._restore, group, writer)))
                if restored and (full or len(restored) > waiting):
                    written += restored.popleft().result()
                # The next group is restored while the last pictures of this one are written, unless
                # memory is full until they are released.
                while len(written) > (0 if full else threads):
                    pixels, outcome = written.popleft()
                    yield outcome
                    ahead.release(pixels)
            while restored or written:
                written += restored.popleft().result() if restored else []
                while written:
                    yield written.popleft()[1]
        finally:
            ahead.close()
            devices.close()
            writer.shutdown(cancel_futures=True)

    def _read(self, job: Job) -> _Read:
        begin = time.perf_counter()
        with self._files.fetched(job.source):
            document = open_document(job.source)
            read = self._read_single(job) if document is None else None
            staged = None if self._folder is None else _source_of(job)
        if job.stamp is not None and self._files.stamp(job.source) != job.stamp:
            raise PictureError(
                f"{job.source}: changed after it was listed; run the command again once nothing"
                " writes to it"
            )
        picture, mask, decision = read or (None, None, TaskDecision(None))
        seconds = time.perf_counter() - begin
        return _Read(picture, mask, decision, staged, seconds, document)

    def _read_single(self, job: Job) -> tuple[Picture, Tensor | None, TaskDecision]:
        picture = read_picture(job.source)
        check_writable(picture, job.target.suffix, str(job.target))
        mask, decision = self._pool.prepare(job, picture, resize_mask=self._resize_mask)
        return picture, mask, decision

    def _original(self, job: Job) -> bytes | None:
        """Return the file's bytes for a result in its format: encoding again would change it."""
        if not same_format(job.source.suffix, job.target.suffix):
            return None
        with self._files.fetched(job.source):
            return job.source.read_bytes()

    def _restore(
        self, group: list[Reading[_Read]], writer: ThreadPoolExecutor, pool: ModelPool
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
        for place in [place for place, one in read.items() if one.document is not None]:
            outcomes[place] = self._restore_pages(jobs[place], read.pop(place), writer, pool)
        for task in dict.fromkeys(one.decision.task for one in read.values()):
            places = [place for place, one in read.items() if one.decision.task == task]
            alike = {place: read.pop(place) for place in places}
            outcomes |= self._restore_alike(task, jobs, alike, writer, pool)
        return [(pixels[place], outcomes[place]) for place in range(len(jobs))]

    def _restore_pages(
        self, job: Job, read: _Read, writer: ThreadPoolExecutor, pool: ModelPool
    ) -> Future[Outcome]:
        """Restore a file of several pages; only its encoded pages are in memory together."""
        begin = time.perf_counter()
        try:
            with self._files.fetched(job.source):
                if read.staged is not None and file_sha256(job.source) != read.staged.sha256:
                    raise PictureError(f"{job.source}: changed while it was read; run it again")
                assert read.document is not None
                made = restore_document(job, read.document, pool, resize_mask=self._resize_mask)
        except (IraeError, OSError, MemoryError, RuntimeError) as error:
            return _failed(error)
        seconds = read.seconds + time.perf_counter() - begin
        kept = made.encoded is None
        result = _Result(made.first, made.encoded, kept, made.decision, read.staged, seconds)
        return writer.submit(self._write, job, result)

    def _restore_alike(
        self,
        task: str | None,
        jobs: Sequence[Job],
        read: dict[int, _Read],
        writer: ThreadPoolExecutor,
        pool: ModelPool,
    ) -> dict[int, Future[Outcome]]:
        """Restore the pictures of one task together, or one by one if that fails."""
        try:
            return self._restore_together(task, jobs, read, writer, pool)
        except (IraeError, MemoryError, RuntimeError) as error:
            if len(read) == 1 or not (isinstance(error, IraeError) or is_out_of_memory(error)):
                return {place: _failed(error) for place in read}
        outcomes: dict[int, Future[Outcome]] = {}
        for place, one in read.items():
            outcomes |= self._restore_alike(task, jobs, {place: one}, writer, pool)
        return outcomes

    def _restore_together(
        self,
        task: str | None,
        jobs: Sequence[Job],
        read: dict[int, _Read],
        writer: ThreadPoolExecutor,
        pool: ModelPool,
    ) -> dict[int, Future[Outcome]]:
        begin = time.perf_counter()
        given = {place: one.picture for place, one in read.items() if one.picture is not None}
        pictures = list(given.values())
        if task is not None:
            pictures = pool.restore(task, pictures, [one.mask for one in read.values()])
        restored = dict(zip(given, pictures, strict=True))
        del pictures
        seconds = (time.perf_counter() - begin) / max(1, len(read))
        outcomes = {}
        for place in list(read):
            # Release the picture as read before the result is written: a photograph is large.
            one, source, picture = read.pop(place), given.pop(place), restored.pop(place)
            decision = one.decision
            if task is not None and same_levels(source, picture):
                picture, decision = source, decision.with_no_change(jobs[place].source)
            result = _Result(
                picture, None, decision.task is None, decision, one.staged, one.seconds + seconds
            )
            del one, source, picture
            outcomes[place] = writer.submit(self._write, jobs[place], result)
            del result
        return outcomes

    def _write(self, job: Job, result: _Result) -> Outcome:
        begin = time.perf_counter()
        if result.kept:
            job = job.as_copy()
            result = replace(result, encoded=self._original(job))
            if result.encoded is None:
                decision = result.decision.with_other_format(job.target.suffix)
                result = replace(result, decision=decision)
        notes = self._notes(job, result)
        staged = result.staged
        if self._folder is None or staged is None:
            with folder_for(job.target):
                self._write_at(job.target, job, result, self._overwrite)
        else:
            staged = self._stage(self._folder, job, result, staged)
        decision = result.decision
        restorer = None if decision.task is None else self._pool.restorer_for(decision.task)
        return Outcome(
            input=str(job.source),
            output=str(job.target),
            task=decision.task,
            model=None if restorer is None else restorer.model.name,
            seconds=round(result.seconds + time.perf_counter() - begin, 3),
            width=result.picture.width,
            height=result.picture.height,
            damage=decision.damage,
            why=decision.why,
            notes=notes,
            made=staged,
        )

    def _notes(self, job: Job, result: _Result) -> tuple[str, ...]:
        """Return lines that say what the written file lacks of the source, or what it loses."""
        notes = list(result.decision.notes)
        if not (result.kept and result.encoded is not None):
            notes += job.notes
            missing = missing_parts(result.picture.layout, job.target.suffix)
            undoable = self._pool.options.undoable
            if missing:
                notes.append(describe_missing(job.source, job.target, missing, undoable))
            # Where only holes are filled, the job's notes say so.
            exact = job.mask is not None or self._pool.only_fills
            loss = None if exact else describe_loss(result.picture, job.target)
            notes += [] if loss is None else [loss]
        return tuple(for_command_line(note) for note in notes)

    def _write_at(
        self,
        path: Path,
        job: Job,
        result: _Result,
        overwrite: bool,
    ) -> None:
        """Write a result, and its sidecar if there is to be one."""
        picture, original = result.picture, result.encoded
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
        result: _Result,
        source: StagedResult,
    ) -> StagedResult:
        staged = folder.stage(job.relative)
        try:
            self._write_at(staged, job, result, False)
            stamp, checksum = folder.staged_stamp(staged), file_sha256(staged)
            name = folder.deliver(staged)
            return replace(
                source,
                relative=job.relative,
                staged=name,
                output_stamp=stamp,
                output_sha256=checksum,
            )
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
