"""Running the jobs of a batch and reporting on them: one bad file never stops the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from functools import partial

from tqdm import tqdm

from irae.batch.jobs import Job, Plan
from irae.batch.outcome import Outcome
from irae.errors import IraeError, for_command_line
from irae.runtime import is_out_of_memory


class Console:
    """Prints single lines on stderr without breaking a progress bar."""

    @staticmethod
    def error(message: str) -> None:
        """Report an input that failed."""
        tqdm.write(f"irae: error: {_one_line(for_command_line(message))}", file=sys.stderr)

    @staticmethod
    def note(message: str) -> None:
        """Print something that the user should know."""
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
    """Do all jobs of a plan even if some fail; failures are reported on stderr.

    Args:
        plan: the jobs; its failures and notes are reported too.
        work: does one job, given its index in the list; an error fails that job alone.
        finished: called after each job that succeeded.
        title: title of the progress bar.

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
    goes_on: bool = False,
) -> list[Outcome]:
    """Report the progress of a batch on stderr: notes, failures and a progress bar.

    Args:
        plan: the plan of the batch; its failures and earlier outcomes are reported too.
        outcomes: outcomes of the plan's jobs, as they become available.
        tell: called with every outcome.
        title: title of the progress bar.
        display_name: replaces scratch paths in names and messages by the user's URLs.
        goes_on: whether the same command goes on where it was stopped by Ctrl-C.

    Raises:
        KeyboardInterrupt: the user pressed Ctrl-C; a line has said how far the batch is.

    Returns:
        One outcome per failure of the plan, per job that was done earlier, and per job.
    """
    for note in plan.notes:
        Console.note(note)
    told = []

    def report(outcome: Outcome) -> None:
        outcome = outcome.with_names(display_name)
        told.append(outcome)
        if outcome.error is not None:
            Console.error(outcome.error)
        elif outcome.why is not None:
            Console.note(outcome.why)
        for note in outcome.notes:
            Console.note(note)
        tell(outcome)

    for outcome in (*plan.failures, *plan.done):
        report(outcome)
    # With None, tqdm shows no bar if stderr is not a terminal.
    hidden = None if len(plan.jobs) > 1 else True
    total = len(plan.jobs)
    with tqdm(total=total, desc=title, unit="picture", file=sys.stderr, disable=hidden) as bar:
        try:
            for outcome in outcomes:
                report(outcome)
                bar.update()
        except KeyboardInterrupt:
            Console.note(_interruption(told, total + len(plan.failures) + len(plan.done), goes_on))
            raise
    return told


def _interruption(told: list[Outcome], total: int, goes_on: bool) -> str:
    done = sum(outcome.error is None for outcome in told)
    inputs = "1 input is" if total == 1 else f"{total} inputs are"
    line = f"interrupted; {done} of {inputs} done"
    return f"{line}, and the same command goes on with the rest" if goes_on else line


def attempt(jobs: Iterable[Job], work: Callable[[int, Job], Outcome]) -> Iterator[Outcome]:
    """Do jobs one after the other; an error of ``work`` fails that job alone."""
    for index, job in enumerate(jobs):
        yield settle(job, partial(work, index, job))


def settled(
    jobs: Iterable[Job], outcomes: Generator[Future[Outcome]]
) -> Generator[tuple[Job, Outcome]]:
    """Pair each job with its outcome, which is a failure if the future raises.

    Closing this generator closes ``outcomes``.
    """
    try:
        for job in jobs:
            yield job, settle(job, next(outcomes).result)
    finally:
        outcomes.close()


def settle(job: Job, work: Callable[[], Outcome]) -> Outcome:
    """Do some work on a job; an error that a user can cause becomes a failed outcome."""
    try:
        return work()
    except (IraeError, OSError, MemoryError, RuntimeError) as error:
        # PyTorch raises RuntimeError when memory runs out; any other one is a bug.
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        return Outcome(str(job.source), error=describe(error, job))


def describe(error: Exception, job: Job) -> str:
    """Describe an error in one line that names the file; the source is added if no file is."""
    read = [job.source, *([job.mask] if job.mask else [])]
    if isinstance(error, OSError) and error.strerror:
        if error.filename in [str(path) for path in read]:
            return f"{error.filename}: cannot be read ({error.strerror}); check its rights"
        return f"{job.target}: cannot be written ({error.strerror}); use another -o"
    out_of_memory = f"{job.source}: out of memory; free some, or cut the picture into parts"
    text = out_of_memory if is_out_of_memory(error) else for_command_line(str(error))
    named = any(str(path) in text for path in (*read, job.target))
    return text if named or "://" in text else f"{job.source}: {text}"
