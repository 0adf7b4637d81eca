"""Reading, restoring and writing at once, with pictures of one size restored together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

from torch import Tensor

from irae.errors import IraeError
from irae.imaging.files import Picture, picture_size, read_mask, read_picture, write_picture
from irae.imaging.tiling import is_out_of_memory
from irae.restoring.batch import Outcome
from irae.restoring.planning import Job
from irae.restoring.restorer import Restorer

AHEAD_PIXELS = 16_000_000
"""Pixels of all pictures in memory at once; a larger picture is there alone."""

AHEAD_PICTURES = 64
"""Most pictures read and not yet restored."""

BATCH_PIXELS = 512 * 512
"""Pixels of the pictures restored together. Small ones gain by it; a large one fills the
processor by itself."""


@dataclass(frozen=True)
class _Read:
    picture: Picture
    mask: Tensor | None
    seconds: float


class Pipeline:
    """Works a few pictures ahead of whoever asks for their outcomes.

    One thread reads the next pictures and one writes the last ones while the caller's thread
    restores. Use it as a context, and ask for the outcomes in the order of the jobs.

    Args:
        restorer: what restores the pictures.
        jobs: the pictures, their targets, their masks if there are holes.
        overwrite: whether an existing target may be replaced.
        resize_mask: scale a mask of another size instead of refusing it.
    """

    def __init__(
        self,
        restorer: Restorer,
        jobs: Sequence[Job],
        *,
        overwrite: bool = False,
        resize_mask: bool = False,
    ) -> None:
        self._restorer, self._jobs = restorer, jobs
        self._overwrite, self._resize_mask = overwrite, resize_mask
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._sizes: list[tuple[int, int]] = []
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

    def _read_ahead(self) -> None:
        while len(self._reads) < AHEAD_PICTURES:
            index = self._restored + len(self._reads)
            if index == len(self._jobs):
                return
            if index == len(self._sizes):
                self._sizes.append(picture_size(self._jobs[index].source))
            if self._held and self._held + self._pixels(index) > AHEAD_PIXELS:
                return
            self._held += self._pixels(index)
            self._reads[index] = self._reader.submit(self._read, self._jobs[index])

    def _read(self, job: Job) -> _Read:
        begin = time.perf_counter()
        picture = read_picture(job.source)
        mask = None if job.mask is None else read_mask(
            job.mask,
            height=picture.height,
            width=picture.width,
            orientation=picture.orientation,
            resize=self._resize_mask,
        )  # fmt: skip
        return _Read(picture, mask, time.perf_counter() - begin)

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
        try:
            self._restore_together(read)
        except (IraeError, MemoryError, RuntimeError) as error:
            if len(read) > 1 and (isinstance(error, IraeError) or is_out_of_memory(error)):
                for index, one in read.items():
                    self._restore_alone(index, one)
            else:
                for index in read:
                    self._fail(index, error)

    def _restore_together(self, read: dict[int, _Read]) -> None:
        begin = time.perf_counter()
        pictures = self._restorer.restore_pictures(
            [one.picture for one in read.values()], [one.mask for one in read.values()]
        )
        seconds = (time.perf_counter() - begin) / max(1, len(read))
        for (index, one), picture in zip(list(read.items()), pictures, strict=True):
            # Let go of what was read before the result is written: a photograph is large.
            del read[index]
            self._outcomes[index] = self._writer.submit(
                self._write, self._jobs[index], picture, one.seconds + seconds
            )

    def _restore_alone(self, index: int, one: _Read) -> None:
        try:
            self._restore_together({index: one})
        except (IraeError, MemoryError, RuntimeError) as error:
            self._fail(index, error)

    def _fail(self, index: int, error: Exception) -> None:
        self._outcomes[index] = Future()
        self._outcomes[index].set_exception(error)

    def _write(self, job: Job, picture: Picture, seconds: float) -> Outcome:
        begin = time.perf_counter()
        job.target.parent.mkdir(parents=True, exist_ok=True)
        write_picture(job.target, picture, overwrite=self._overwrite)
        return Outcome(
            input=str(job.source),
            output=str(job.target),
            task=self._restorer.task,
            model=self._restorer.model.name,
            seconds=round(seconds + time.perf_counter() - begin, 3),
            width=picture.width,
            height=picture.height,
        )
