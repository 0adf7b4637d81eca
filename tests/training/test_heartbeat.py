"""A process that is silent is noticed soon; one that works alone for long is not taken for lost."""

from __future__ import annotations

import os
import time

import pytest

from irae.errors import UsageError
from irae.training.heartbeat import Heartbeat, lost_after


class Store:
    """A store in memory, which may block as one does whose machine is gone."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.blocked = False

    def set(self, key: str, value: str | bytes) -> None:
        while self.blocked:
            time.sleep(0.01)
        self.content[key] = value if isinstance(value, bytes) else value.encode()

    def check(self, keys: list[str]) -> bool:
        return all(key in self.content for key in keys)

    def get(self, key: str) -> bytes:
        return self.content[key]


def wait_for(found: list[list[int]]) -> list[int]:
    deadline = time.monotonic() + 60
    while not found:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found[0]


def test_those_that_never_came_or_fell_silent_are_lost_and_those_that_left_are_not() -> None:
    store, found = Store(), []
    store.content |= {"1": b"left", "2": b"7"}
    Heartbeat(store, 0, 4, 0.8, found.append)
    assert wait_for(found) == [2, 3]
    assert store.content["0"].isdigit()


def test_a_store_that_does_not_answer_is_the_loss_of_all() -> None:
    store, found = Store(), []
    store.blocked = True
    Heartbeat(store, 0, 3, 0.4, found.append)
    assert wait_for(found) == [1, 2]
    store.blocked = False


@pytest.mark.parametrize("value", ["soon", "0", "-3", "nan"])
def test_a_time_that_is_none_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IRAE_LOST_SECONDS", value)
    with pytest.raises(UsageError, match="IRAE_LOST_SECONDS is no number of seconds"):
        lost_after()
    monkeypatch.delenv("IRAE_LOST_SECONDS")
    assert lost_after() == 120 and os.environ.get("IRAE_LOST_SECONDS") is None
