"""Gives files to a worker process one by one, and tells what became of each."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROCESSOR_SECONDS, WALL_SECONDS = 20.0, 600.0
"""After either a file is said to hang: at work, or asleep while the machine has other work."""


@dataclass(frozen=True)
class Report:
    """What became of one file.

    Attributes:
        name: of the file.
        outcome: ``written``, ``other format`` (its own cannot hold it), ``refused``, ``crash``
            (an error that is none of ours), ``killed`` (by a signal) or ``hang``.
        message: of the error.
        seconds: of processor time, for reading, writing and reading again.
        peak: most resident memory above the worker's at rest, bytes.
        said: what libraries logged or warned of.
    """

    name: str
    outcome: str
    message: str = ""
    seconds: float = 0.0
    peak: int = 0
    said: str = ""


class Worker:
    """A worker process, started anew after each death."""

    def __init__(self, folder: Path, max_pixels: int) -> None:
        self._folder = folder
        self._environment = {**os.environ, "IRAE_MAX_PIXELS": str(max_pixels)}
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self.said = folder / "stderr.txt"

    def _start(self) -> subprocess.Popen[str]:
        if self._process is None:
            script = Path(__file__).with_name("worker.py")
            with self.said.open("a", encoding="utf-8") as stderr:
                self._process = subprocess.Popen(
                    [sys.executable, str(script), str(self._folder)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    env=self._environment,
                )
            self._answers = queue.Queue()
            arguments = (self._process.stdout, self._answers)
            threading.Thread(target=_collect, args=arguments, daemon=True).start()
        return self._process

    def handle(self, path: Path) -> Report:
        """Have one file read and written back."""
        process = self._start()
        assert process.stdin is not None
        process.stdin.write(f"{path}\n")
        process.stdin.flush()
        before, began = processor_seconds(process.pid), time.monotonic()
        answer = None
        while answer is None:
            try:
                answer = self._answers.get(timeout=1.0)
            except queue.Empty:
                spent = processor_seconds(process.pid) - before
                if spent > PROCESSOR_SECONDS or time.monotonic() - began > WALL_SECONDS:
                    self.close()
                    return Report(path.name, "hang", seconds=spent)
        if not answer:
            self.close()
            return Report(path.name, "killed", f"by signal {-process.wait()}")
        values = json.loads(answer)
        return Report(path.name, **values)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.kill()
            self._process.wait()
            self._process = None


def processor_seconds(pid: int) -> float:
    """Processor time of a running process, by Linux's account."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _collect(stream: IO[str], answers: queue.Queue[str]) -> None:
    with stream:
        for line in stream:
            answers.put(line)
    answers.put("")


def run(files: Iterable[tuple[str, bytes]], folder: Path, max_pixels: int) -> Iterator[Report]:
    """Write each file into the folder, have it handled, and delete it.

    Args:
        files: names and contents.
        folder: an empty one.
        max_pixels: the limit on pixels the worker reads under.
    """
    worker = Worker(folder, max_pixels)
    try:
        for name, data in files:
            path = folder / name
            path.write_bytes(data)
            yield worker.handle(path)
            path.unlink()
    finally:
        worker.close()
