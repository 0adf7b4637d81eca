"""Working through a list of picture files: one bad file never stops the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from functools import partial

from tqdm import tqdm

from irae.batch.jobs import Job, Plan
from irae.batch.outcome import Outcome
from irae.errors import IraeError, for_command_line
from irae.imaging.tiling import is_out_of_memory


class Console:
    """Says things on stderr, one line each, without tearing a progress bar apart."""

    @staticmethod
    def error(message: str) -> None:
        """An input that failed."""
        tqdm.write(f"irae: error: {_one_line(for_command_line(message))}", file=sys.stderr)

    @staticmethod
    def note(message: str) -> None:
        """Something the user should know."""
        tqdm.write(f"irae: note: {_one_line(for_command_line(message))}", file=sys.stderr)


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

    def tell(outcome: Outcome) -> None:
        if outcome.error is None:
            finished(outcome)

    return follow(plan, attempt(plan.jobs, work), tell=tell, title=title)


def follow(
    plan: Plan,
    outcomes: Iterator[Outcome],
    *,
    tell: Callable[[Outcome], None],
    title: str,
    display_name: Callable[[str], str] = str,
) -> list[Outcome]:
    """Show a batch on its way: notes, failures and a progress bar on stderr.

    Args:
        plan: what is worked on; its failures and what was done earlier are reported too.
        outcomes: of the plan's jobs, as they come.
        tell: called with every outcome.
        title: what the progress bar is called.
        display_name: what turns names and messages into what the user calls things.

    Returns:
        One outcome per failure of the plan, per job that was done earlier, and per job.
    """
    for note in plan.notes:
        Console.note(note)
    told = []

    def report(outcome: Outcome) -> None:
        outcome = outcome.with_names(display_name)
        if outcome.error is not None:
            Console.error(outcome.error)
        elif outcome.why is not None:
            Console.note(outcome.why)
        tell(outcome)
        told.append(outcome)

    for outcome in (*plan.failures, *plan.done):
        report(outcome)
    # None: no bar where stderr is not a terminal.
    hidden = None if len(plan.jobs) > 1 else True
    total = len(plan.jobs)
    with tqdm(total=total, desc=title, unit="picture", file=sys.stderr, disable=hidden) as bar:
        for outcome in outcomes:
            report(outcome)
            bar.update()
    return told


def attempt(jobs: Iterable[Job], work: Callable[[int, Job], Outcome]) -> Iterator[Outcome]:
    """Do jobs one after the other; what ``work`` raises concerns that job alone."""
    for index, job in enumerate(jobs):
        yield settle(job, partial(work, index, job))


def settled(
    jobs: Iterable[Job], outcomes: Generator[Future[Outcome]]
) -> Generator[tuple[Job, Outcome]]:
    """Jobs with what became of them, which is a failure where a future raises what is theirs.

    Closing it closes ``outcomes``.
    """
    try:
        for job in jobs:
            yield job, settle(job, next(outcomes).result)
    finally:
        outcomes.close()


def settle(job: Job, work: Callable[[], Outcome]) -> Outcome:
    """The outcome of some work on a job, which is a failure if it raises what a user can cause."""
    try:
        return work()
    except (IraeError, OSError, MemoryError, RuntimeError) as error:
        # A RuntimeError is torch's way to say that memory ran out, or a fault of ours.
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        return Outcome(str(job.source), error=describe(error, job))


def describe(error: Exception, job: Job) -> str:
    """One line that names the file: the error's own when it does, else the source before it."""
    read = [job.source, *([job.mask] if job.mask else [])]
    if isinstance(error, OSError) and error.strerror:
        if error.filename in [str(path) for path in read]:
            return f"{error.filename}: cannot be read ({error.strerror}); check its rights"
        return f"{job.target}: cannot be written ({error.strerror}); use another -o"
    out_of_memory = f"{job.source}: out of memory; free some, or cut the picture into parts"
    text = out_of_memory if is_out_of_memory(error) else for_command_line(str(error))
    named = any(str(path) in text for path in (*read, job.target))
    return text if named or "://" in text else f"{job.source}: {text}"
