"""Requests that are refused: a status and one sentence."""

from __future__ import annotations


class RefusedError(Exception):
    """A request that cannot be answered as asked.

    Attributes:
        status: the status of the response, 4xx.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class StoppedError(Exception):
    """A job was ended by the user, or nobody waits for it any more."""
