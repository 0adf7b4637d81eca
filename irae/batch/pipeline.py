"""Reading, restoring and writing at once, with pictures of one size restored together."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from torch import Tensor

from irae.batch.jobs import Job
from irae.batch.model_pool import ModelPool, TaskDecision
from irae.batch.outcome import Outcome, StagedResult
from irae.batch.output import OutputFolder
from irae.batch.remote import Files, file_sha256
from irae.errors import IraeError, PictureError
from irae.imaging.io.files import picture_size, read_mask, read_picture, write_picture
from irae.imaging.io.picture import Picture
from irae.imaging.tiling import is_out_of_memory
from irae.inverse.undo import check_sidecar_target, write_sidecar

AHEAD_PIXELS = 16_000_000
"""Pixels of all pictures in memory at once; a larger picture is there alone."""

AHEAD_PICTURES = 64
"""Most pictures read and not yet restored."""

AHEAD_FETCHES = 16
"""Most pictures fetched from URLs and not yet restored; four at a time are fetched."""

BATCH_PIXELS = 512 * 512
"""Pixels of the pictures restored together. Small ones gain by it; a large one fills the
processor by itself."""


@dataclass(frozen=True)
class _MadeOf:
    """What a result was made of, for the manifest."""

    stamp: str | None
    sha256: str
    mask_sha256: str | None


@dataclass(frozen=True)
class _Read:
    """A picture with all that is known of it; ``original``: its file, if it is to stay as it is."""

    picture: Picture
    mask: Tensor | None
    choice: TaskDecision
    original: bytes | None
    made_of: _MadeOf | None
    seconds: float


class Pipeline:
    """Works a few pictures ahead of whoever asks for their outcomes.

    One thread reads the next pictures and one writes the last ones while the caller's thread
    restores. Use it as a context, and ask for the outcomes in the order of the jobs.

    Args:
        pool: what finds the task of each picture, and what restores it.
        jobs: the pictures, their targets, their masks if there are holes.
        files: where the pictures are.
        folder: the output folder: results are staged there, for a manifest to commit. None: each
            is written to its target.
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
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._fetcher = ThreadPoolExecutor(4, thread_name_prefix="fetch")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._sizes: list[tuple[int, int]] = []
        self._fetches: dict[int, Future[None]] = {}
        self._reads: dict[int, Future[_Read]] = {}
        self._outcomes: dict[int, Future[Outcome]] = {}
        self._restored = 0  # Jobs below this are restored, or have failed.
        self._held = 0

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._fetcher.shutdown(cancel_futures=True)
        self._reader.shutdown(cancel_futures=True)
        self._writer.shutdown(cancel_futures=error is not None)

    def outcome(self, index: int, job: Job) -> Outcome:
        """What became of a job; to be asked for in the order of the jobs, each once.

        Raises:
            PictureError: it cannot be read or written, or the mask does not fit.
            ModelError: the model gave numbers that are not finite.
        """
        self._read_ahead()
        # The next one too, where memory allows: it is restored while this one is written.
        while self._restored <= index + 1 and self._restored in self._reads:
            self._restore_some()
            self._read_ahead()
        try:
            return self._outcomes.pop(index).result()
        finally:
            self._held -= self._pixels(index)

    def _pixels(self, index: int) -> int:
        width, height = self._sizes[index]
        return width * height

    def _fetch_ahead(self) -> None:
        for index in range(self._restored, min(self._restored + AHEAD_FETCHES, len(self._jobs))):
            source = self._jobs[index].source
            if index not in self._fetches and self._files.url_of(source) is not None:
                self._fetches[index] = self._fetcher.submit(self._files.fetch, source)

    def _size(self, index: int) -> tuple[int, int]:
        if index in self._fetches:
            wait([self._fetches[index]])  # What went wrong is told when it is read.
        return picture_size(self._jobs[index].source)

    def _read_ahead(self) -> None:
        self._fetch_ahead()
        while len(self._reads) < AHEAD_PICTURES:
            index = self._restored + len(self._reads)
            if index == len(self._jobs):
                return
            if index == len(self._sizes):
                self._sizes.append(self._size(index))
            if self._held and self._held + self._pixels(index) > AHEAD_PIXELS:
                return
            self._held += self._pixels(index)
            self._reads[index] = self._reader.submit(self._read, self._jobs[index])

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
            choice = self._pool.choose(job, picture)
            original = self._original(job, choice)
            made_of = None if self._folder is None else self._note_source(job)
        if job.stamp is not None and self._files.stamp(job.source) != job.stamp:
            raise PictureError(
                f"{job.source}: changed after it was listed; run the command again once nothing"
                " writes to it"
            )
        return _Read(picture, mask, choice, original, made_of, time.perf_counter() - begin)

    def _original(self, job: Job, choice: TaskDecision) -> bytes | None:
        """The file itself, where no pixel changes: writing it again would harm a JPEG."""
        changes = choice.task is not None and self._pool.options.strength > 0
        if changes or job.source.suffix.lower() != job.target.suffix.lower():
            return None
        return job.source.read_bytes()

    @staticmethod
    def _note_source(job: Job) -> _MadeOf:
        mask = None if job.mask is None else file_sha256(job.mask)
        return _MadeOf(job.stamp, file_sha256(job.source), mask)

    def _restore_some(self) -> None:
        """Restore the next picture, and with it those of its size that follow and are read."""
        first = self._restored
        last = first + 1
        while (
            last in self._reads
            and self._sizes[last] == self._sizes[first]
            and (last + 1 - first) * self._pixels(first) <= BATCH_PIXELS
        ):
            last += 1
        self._restored = last
        read: dict[int, _Read] = {}
        for index in range(first, last):
            try:
                read[index] = self._reads.pop(index).result()
            except (IraeError, OSError, MemoryError, RuntimeError) as error:
                self._fail(index, error)
        while read:
            task = next(iter(read.values())).choice.task
            # Taken out: whoever restores them lets go of them one by one.
            alike = [index for index, one in read.items() if one.choice.task == task]
            self._restore_task(task, {index: read.pop(index) for index in alike})

    def _restore_task(self, task: str | None, read: dict[int, _Read]) -> None:
        try:
            self._restore_together(task, read)
        except (IraeError, MemoryError, RuntimeError) as error:
            if len(read) > 1 and (isinstance(error, IraeError) or is_out_of_memory(error)):
                for index, one in read.items():
                    self._restore_task(task, {index: one})
            else:
                for index in read:
                    self._fail(index, error)

    def _restore_together(self, task: str | None, read: dict[int, _Read]) -> None:
        begin = time.perf_counter()
        pictures = [one.picture for one in read.values()]
        if task is not None:
            restorer = self._pool.restorer_for(task)
            masks = [one.mask for one in read.values()]
            pictures = restorer.restore_pictures(pictures, masks)
        seconds = (time.perf_counter() - begin) / max(1, len(read))
        for (index, one), picture in zip(list(read.items()), pictures, strict=True):
            # Let go of what was read before the result is written: a photograph is large.
            del read[index]
            self._outcomes[index] = self._writer.submit(
                self._write,
                self._jobs[index],
                picture,
                one.choice,
                one.original,
                one.made_of,
                one.seconds + seconds,
            )

    def _fail(self, index: int, error: Exception) -> None:
        self._outcomes[index] = Future()
        self._outcomes[index].set_exception(error)

    def _write(
        self,
        job: Job,
        picture: Picture,
        choice: TaskDecision,
        original: bytes | None,
        made_of: _MadeOf | None,
        seconds: float,
    ) -> Outcome:
        begin = time.perf_counter()
        made = None
        if self._folder is None or made_of is None:
            job.target.parent.mkdir(parents=True, exist_ok=True)
            self._write_at(job.target, job, picture, original, self._overwrite)
        else:
            made = self._stage(self._folder, job, picture, original, made_of)
        restorer = None if choice.task is None else self._pool.restorer_for(choice.task)
        return Outcome(
            input=str(job.source),
            output=str(job.target),
            task=choice.task,
            model=None if restorer is None else restorer.model.name,
            seconds=round(seconds + time.perf_counter() - begin, 3),
            width=picture.width,
            height=picture.height,
            damage=choice.damage,
            why=choice.why,
            made=made,
        )

    def _write_at(
        self,
        path: Path,
        job: Job,
        picture: Picture,
        original: bytes | None,
        overwrite: bool,
    ) -> None:
        """Write a result, and whatever belongs beside it."""
        if not self._pool.options.undoable:
            write_picture(path, picture, overwrite=overwrite, encoded=original)
            return
        check_sidecar_target(path, overwrite=overwrite)
        write_picture(path, picture, overwrite=overwrite, encoded=original)
        try:
            with self._files.fetched(job.source):
                write_sidecar(job.source, path)
        except BaseException:
            # Without it the result is not what was asked for.
            path.unlink(missing_ok=True)
            raise

    def _stage(
        self,
        folder: OutputFolder,
        job: Job,
        picture: Picture,
        original: bytes | None,
        of: _MadeOf,
    ) -> StagedResult:
        staged = folder.stage(job.relative)
        try:
            self._write_at(staged, job, picture, original, False)
            stamp, checksum = folder.staged_stamp(staged), file_sha256(staged)
            return StagedResult(
                folder.deliver(staged), of.stamp, stamp, of.sha256, checksum, of.mask_sha256
            )
        except BaseException as error:
            shutil.rmtree(staged.parent, ignore_errors=True)
            if isinstance(error, IraeError):
                # The user knows nothing of where results are staged.
                raise type(error)(str(error).replace(str(staged), str(job.target))) from error
            raise
