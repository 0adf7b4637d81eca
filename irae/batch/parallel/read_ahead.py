"""Reading the next pictures of a batch while others are restored, within a limit of memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from irae.batch.jobs import Job
from irae.batch.remote import Files
from irae.imaging.io.files import picture_size

AHEAD_PIXELS = 16_000_000
"""Largest number of pixels in memory at once for each device; a larger picture is held alone."""

AHEAD_PICTURES = 64
"""Largest number of pictures read and not yet restored."""

AHEAD_FETCHES = 16
"""Largest number of pictures fetched from URLs and not yet read; four are fetched at a time."""

GROUP_PIXELS = 512 * 512
"""Largest number of pixels restored together. Batches speed up small pictures; a large one keeps
the processor busy by itself."""

ReadT = TypeVar("ReadT")


@dataclass(frozen=True)
class Reading(Generic[ReadT]):
    """A picture that is being read.

    Attributes:
        job: the picture's job.
        size: width and height in pixels, (0, 0) if its file does not state them.
        result: future of the picture as read.
    """

    job: Job
    size: tuple[int, int]
    result: Future[ReadT]

    @property
    def pixels(self) -> int:
        """Number of pixels, by which the use of memory is counted."""
        return self.size[0] * self.size[1]


class ReadAhead(Generic[ReadT]):
    """Reads pictures in separate threads, and fetches those at URLs in four more.

    Args:
        jobs: the pictures, in the order in which they are needed.
        read: reads one picture.
        files: access to the pictures.
        readers: number of threads that read.
        at_once: number of pictures that are restored at a time, each on a device.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        read: Callable[[Job], ReadT],
        files: Files,
        readers: int = 1,
        at_once: int = 1,
    ) -> None:
        self._read, self._files, self._at_once = read, files, at_once
        self._unread = deque(jobs)
        self._ahead: deque[Reading[ReadT]] = deque()
        self._fetches: dict[int, Future[None]] = {}
        self._reader = ThreadPoolExecutor(readers, thread_name_prefix="read")
        self._fetcher = ThreadPoolExecutor(4, thread_name_prefix="fetch")
        self._size: tuple[int, int] | None = None  # Size of the first unread picture.
        self.held = 0
        self._pictures = 0  # Of the pixels that are held.

    def close(self) -> None:
        """Stop reading."""
        self._fetcher.shutdown(cancel_futures=True)
        self._reader.shutdown(cancel_futures=True)

    def groups(self) -> Iterator[list[Reading[ReadT]]]:
        """Yield groups of consecutive pictures of one size, to be restored together.

        A list is empty if memory is full: more can be read once a picture is released.
        """
        while self._unread or self._ahead:
            self._fill()
            group = [self._ahead.popleft()] if self._ahead else []
            while self._ahead and self._fits(group):
                group.append(self._ahead.popleft())
            yield group

    def release(self, pixels: int) -> None:
        """Give back the memory of a picture whose result is written."""
        self.held -= pixels
        self._pictures -= 1

    def _fits(self, group: list[Reading[ReadT]]) -> bool:
        first = group[0]
        alike = self._ahead[0].size == first.size
        return alike and (len(group) + 1) * first.pixels <= GROUP_PIXELS

    def _fill(self) -> None:
        self._fetch()
        while self._unread and len(self._ahead) < AHEAD_PICTURES:
            job = self._unread[0]
            if self._size is None:
                self._size = self._size_of(job)
            pixels = self._size[0] * self._size[1]
            full = self.held + pixels > AHEAD_PIXELS * self._at_once
            if full and self.held and self._pictures >= self._at_once:
                return
            self.held += pixels
            self._pictures += 1
            self._unread.popleft()
            self._ahead.append(Reading(job, self._size, self._reader.submit(self._read, job)))
            self._size = None

    def _fetch(self) -> None:
        for job, _ in zip(self._unread, range(AHEAD_FETCHES), strict=False):
            if id(job) not in self._fetches and self._files.url_of(job.source) is not None:
                self._fetches[id(job)] = self._fetcher.submit(self._files.fetch, job.source)

    def _size_of(self, job: Job) -> tuple[int, int]:
        if id(job) in self._fetches:
            wait([self._fetches.pop(id(job))])  # An error is raised again when it is read.
        return picture_size(job.source)
