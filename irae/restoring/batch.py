"""Working through a list of picture files: one bad file never stops the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tqdm import tqdm

from irae.errors import IraeError
from irae.imaging.tiling import is_out_of_memory
from irae.restoring.planning import Failure, Job, Plan


@dataclass(frozen=True)
class Outcome:
    """What became of one input; ``output`` is none and ``error`` set when it failed."""

    input: str
    output: str | None = None
    task: str | None = None
    model: str | None = None
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """A plain dict; ``error`` only when there is one."""
        fields = asdict(self)
        if self.error is None:
            del fields["error"]
        return fields


class Talk:
    """Says things on stderr, one line each, without tearing a progress bar apart."""

    @staticmethod
    def error(message: str) -> None:
        """An input that failed."""
        tqdm.write(f"irae: error: {_one_line(message)}", file=sys.stderr)

    @staticmethod
    def note(message: str) -> None:
        """Something the user should know."""
        tqdm.write(f"irae: note: {_one_line(message)}", file=sys.stderr)


def _one_line(message: str) -> str:
    return " ".join(message.split())


def run_jobs(
    plan: Plan,
    work: Callable[[int, Job], Outcome],
    *,
    finished: Callable[[Outcome], None],
    title: str,
) -> list[Outcome]:
    """Do all jobs of a plan, whatever fails; what failed is said on stderr.

    Args:
        plan: the jobs; its failures and notes are reported too.
        work: does one job, given its place in the list; what it raises concerns that job alone.
        finished: called after each job that went well.
        title: what the progress bar is called.

    Returns:
        One outcome per failure of the plan, then one per job.
    """
    for note in plan.notes:
        Talk.note(note)
    outcomes = [_failed(failure) for failure in plan.failures]
    # None: no bar where stderr is not a terminal.
    hidden = None if len(plan.jobs) > 1 else True
    bar = tqdm(plan.jobs, desc=title, unit="picture", file=sys.stderr, disable=hidden)
    for index, job in enumerate(bar):
        try:
            outcome = work(index, job)
        except (IraeError, OSError, MemoryError, RuntimeError) as error:
            # A RuntimeError is torch's way to say that memory ran out, or a fault of ours.
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            outcome = _failed(Failure(str(job.source), describe(error, job)))
        else:
            finished(outcome)
        outcomes.append(outcome)
    return outcomes


def _failed(failure: Failure) -> Outcome:
    Talk.error(failure.error)
    return Outcome(failure.source, error=failure.error)


def describe(error: Exception, job: Job) -> str:
    """One line that names the file: the error's own when it does, else the source before it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{job.target}: cannot be written ({error.strerror}); use another -o"
    out_of_memory = f"{job.source}: out of memory; free some, or cut the picture into parts"
    text = out_of_memory if is_out_of_memory(error) else str(error)
    named = (job.source, job.target, *([job.mask] if job.mask else []))
    return text if any(str(path) in text for path in named) else f"{job.source}: {text}"
