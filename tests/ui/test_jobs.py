"""Jobs: one at a time, stopped between tiles, ended when nobody waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from irae.errors import PictureError
from irae.ui.errors import RefusedError
from irae.ui.jobs import Job, Jobs


class Workshop:
    """Work of four tiles, each of which waits until it is let on."""

    def __init__(self, patience: float = 30) -> None:
        self.log: list[tuple[str, float]] = []
        self.at_tile = threading.Semaphore(0)
        self.go_on = threading.Semaphore(0)
        self.jobs = Jobs(patience)

    def add(self, picture: str) -> Job:
        return self.jobs.add(picture, partial(self._work, picture))

    def _work(self, picture: str, progress: Callable[[float], None]) -> Any:
        if picture == "bad":
            raise PictureError("bad: damaged")
        if picture == "fault":
            raise ZeroDivisionError("a fault")
        for tile in range(1, 5):
            self.at_tile.release()
            assert self.go_on.acquire(timeout=20)
            self.log.append((picture, tile / 4))
            progress(tile / 4)
        return {"of": picture}

    def tiles(self, count: int) -> None:
        for _ in range(count):
            assert self.at_tile.acquire(timeout=20)
            self.go_on.release()


def _wait(jobs: Jobs, job: Any) -> dict[str, Any]:
    end = time.monotonic() + 20
    while not job.ended:
        assert time.monotonic() < end
        time.sleep(0.005)
    return jobs.describe(job)


def test_one_job_runs_at_a_time_in_the_order_in_which_they_came() -> None:
    shop = Workshop()
    first, second, third = (shop.add(name) for name in "abc")
    assert shop.at_tile.acquire(timeout=20)
    assert shop.jobs.describe(first)["state"] == "running"
    assert shop.jobs.describe(second) == {"state": "waiting", "ahead": 1}
    assert shop.jobs.describe(third) == {"state": "waiting", "ahead": 2}
    shop.go_on.release()
    shop.tiles(11)
    assert _wait(shop.jobs, third) == {"state": "done", "result": {"of": "c"}}
    assert [name for name, _ in shop.log] == [*"aaaabbbbcccc"]


def test_a_job_stops_after_its_present_tile() -> None:
    shop = Workshop()
    job = shop.add("a")
    shop.tiles(1)
    assert shop.at_tile.acquire(timeout=20)
    told = shop.jobs.describe(job)
    assert told["share"] == 0.25
    assert told["seconds_left"] is not None
    shop.jobs.stop(job)
    shop.go_on.release()
    assert _wait(shop.jobs, job) == {"state": "stopped"}
    assert len(shop.log) == 2
    after = shop.add("a")
    shop.tiles(4)
    assert _wait(shop.jobs, after)["state"] == "done"


def test_a_job_that_waits_stops_at_once() -> None:
    shop = Workshop()
    first, second = shop.add("a"), shop.add("b")
    shop.jobs.stop(second)
    assert second.state == "stopped"
    shop.tiles(4)
    assert _wait(shop.jobs, first)["state"] == "done"
    assert {name for name, _ in shop.log} == {"a"}


class Clock:
    """The time of the jobs, which goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("irae.ui.jobs.time", made)
    return made


def test_a_job_that_nobody_waits_for_ends(clock: Clock) -> None:
    shop = Workshop()
    job = shop.add("a")
    with job.watched():
        assert shop.at_tile.acquire(timeout=20)
        clock.now += 31
        shop.go_on.release()
        assert shop.at_tile.acquire(timeout=20)
        # Another one waits, and nobody holds its events open.
        waiting = shop.add("b")
        clock.now += 29
        shop.jobs.stop_unwatched()
        assert waiting.state == "waiting"
        clock.now += 2
        shop.jobs.stop_unwatched()
        assert waiting.state == "stopped"
        assert job.state == "running"
    clock.now += 29
    shop.go_on.release()
    assert shop.at_tile.acquire(timeout=20)
    clock.now += 2
    shop.go_on.release()
    assert _wait(shop.jobs, job) == {"state": "stopped"}
    assert len(shop.log) == 3


def test_a_sign_of_life_counts(clock: Clock) -> None:
    shop = Workshop()
    job = shop.add("a")
    for touch in (job.touch, lambda: shop.jobs.touch("a"), job.touch):
        assert shop.at_tile.acquire(timeout=20)
        clock.now += 20
        touch()
        shop.go_on.release()
    assert shop.at_tile.acquire(timeout=20)
    clock.now += 31
    shop.go_on.release()
    assert _wait(shop.jobs, job) == {"state": "stopped"}


def test_a_failure_is_told_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    shop = Workshop()
    bad, fault, good = (shop.add(name) for name in ("bad", "fault", "good"))
    shop.tiles(4)
    assert _wait(shop.jobs, good)["state"] == "done"
    assert shop.jobs.describe(bad) == {"state": "failed", "error": "bad: damaged"}
    assert "a fault" in shop.jobs.describe(fault)["error"]
    assert "ZeroDivisionError" in caplog.text


def test_a_picture_has_one_job_and_takes_it_along() -> None:
    shop = Workshop()
    job = shop.add("a")
    assert shop.at_tile.acquire(timeout=20)
    with pytest.raises(RefusedError, match="at work on this picture already") as refused:
        shop.add("a")
    assert refused.value.status == 409
    shop.jobs.drop("a")
    with pytest.raises(RefusedError, match="no such job"):
        shop.jobs.get(job.id)
    shop.go_on.release()
    _wait(shop.jobs, job)
    assert job.state == "stopped"
    assert len(shop.log) == 1
