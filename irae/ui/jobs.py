"""Jobs: one at a time on a thread of their own, and each can be stopped."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from irae.errors import IraeError, first_line
from irae.imaging.tiling import Progress
from irae.ui.errors import RefusedError, StoppedError

UNWATCHED_SECONDS = 30.0
"""How long a job goes on while nobody holds its events open or asks for it."""

ENDED = frozenset({"done", "failed", "stopped"})

Work = Callable[[Progress], dict[str, Any]]
"""What a job does with its picture, such as restoring it; returns what the page says of it."""

_log = logging.getLogger(__name__)


class Job:
    """Something to do with one picture.

    Attributes:
        id: its name in the API, which nobody can guess.
        picture: id of its picture.
        work: what is done.
    """

    def __init__(self, picture: str, work: Work) -> None:
        self.id = secrets.token_urlsafe(16)
        self.picture, self.work = picture, work
        self.state = "waiting"
        self.error: str | None = None
        self.result: dict[str, Any] | None = None
        self._share = 0.0
        self._begin = 0.0
        self._stop = threading.Event()
        self._watchers = 0
        self._seen = time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether it is done, failed or stopped."""
        return self.state in ENDED

    def touch(self) -> None:
        """Note that somebody has asked for the job or its result."""
        self._seen = time.monotonic()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Keep the job alive during the block."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
            self.touch()

    def as_json(self, ahead: int) -> dict[str, Any]:
        """Return the state as plain JSON; ``ahead`` is the number of jobs before it."""
        told: dict[str, Any] = {"state": self.state}
        if self.state == "waiting":
            told["ahead"] = ahead
        elif self.state == "running":
            told["share"] = round(self._share, 4)
            told["seconds_left"] = self._seconds_left()
        elif self.state == "failed":
            told["error"] = self.error
        elif self.state == "done":
            told["result"] = self.result
        return told

    def _seconds_left(self) -> int | None:
        if not self._share:
            return None
        return round((time.monotonic() - self._begin) / self._share * (1 - self._share))


class Jobs:
    """All jobs of a server.

    Args:
        unwatched_seconds: see `UNWATCHED_SECONDS`.
    """

    def __init__(self, unwatched_seconds: float = UNWATCHED_SECONDS) -> None:
        self._patience = unwatched_seconds
        self._jobs: dict[str, Job] = {}
        self._waiting: deque[Job] = deque()
        self._running: Job | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True, name="jobs").start()

    def add(self, picture: str, work: Work) -> Job:
        """Let something be done with a picture after the jobs that wait already.

        Raises:
            RefusedError: a job for this picture has not ended yet.
        """
        with self._changed:
            if any(job.picture == picture and not job.ended for job in self._jobs.values()):
                raise RefusedError(409, "irae is at work on this picture already; stop that first")
            # Only the last job of a picture is of interest.
            self._forget(picture)
            job = Job(picture, work)
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    def get(self, key: str) -> Job:
        """Return the job of an id.

        Raises:
            RefusedError: there is none.
        """
        job = self._jobs.get(key)
        if job is None:
            raise RefusedError(404, "there is no such job; start it again")
        return job

    def describe(self, job: Job) -> dict[str, Any]:
        """Return the state of a job as plain JSON."""
        with self._changed:
            ahead = 0 if self._running is None else 1
            if job in self._waiting:
                ahead += self._waiting.index(job)
            return job.as_json(ahead)

    def touch(self, picture: str) -> None:
        """Note that somebody has asked for the result of a picture."""
        with self._changed:
            for job in self._jobs.values():
                if job.picture == picture:
                    job.touch()

    def stop(self, job: Job) -> None:
        """End a job: at once if it waits, after its present tile if it runs."""
        with self._changed:
            job._stop.set()
            if job in self._waiting:
                self._waiting.remove(job)
                job.state = "stopped"

    def drop(self, picture: str) -> None:
        """End the jobs of a picture that is deleted."""
        with self._changed:
            for job in [job for job in self._jobs.values() if job.picture == picture]:
                self.stop(job)
            self._forget(picture)

    def stop_unwatched(self) -> None:
        """End the waiting jobs for which nobody waits any more."""
        with self._changed:
            for job in list(self._waiting):
                if self._is_unwatched(job):
                    self.stop(job)

    def _forget(self, picture: str) -> None:
        for key in [key for key, job in self._jobs.items() if job.picture == picture]:
            del self._jobs[key]

    def _is_unwatched(self, job: Job) -> bool:
        return job._watchers == 0 and time.monotonic() - job._seen > self._patience

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                job = self._running = self._waiting.popleft()
                job.state, job._begin = "running", time.monotonic()
            self._do(job)
            with self._changed:
                self._running = None

    def _do(self, job: Job) -> None:
        def progress(share: float) -> None:
            job._share = share
            if job._stop.is_set() or self._is_unwatched(job):
                raise StoppedError

        state = "failed"
        try:
            progress(0.0)
            job.result = job.work(progress)
            state = "done"
        except StoppedError:
            state = "stopped"
        except (IraeError, RefusedError) as error:
            job.error = str(error)
        except Exception as error:
            # The thread must live on for the other jobs, and the fault is told on both sides.
            _log.exception("a job failed")
            job.error = f"it failed ({first_line(error)}); irae's terminal says more"
        finally:
            job.state = state
            job.touch()
