"""A batch: every input has its outcome, every failure its one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from irae.errors import ModelError, PictureError
from irae.restoring.batch import Outcome, describe, run_jobs
from irae.restoring.planning import Failure, Job, Plan

JOB = Job(Path("in/a.png"), Path("out/a.png"), Path("masks/a.png"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PictureError("in/a.png: is empty"), "in/a.png: is empty"),
        (PictureError("masks/a.png: is empty"), "masks/a.png: is empty"),
        (ModelError("gave no numbers"), "in/a.png: gave no numbers"),
        (OSError(28, "No space left on device"), "out/a.png: cannot be written (No space left"),
        (MemoryError(), "in/a.png: out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "in/a.png: out of memory"),
    ],
)
def test_every_error_names_a_file(error: Exception, words: str) -> None:
    assert describe(error, JOB).startswith(words)


def test_what_fails_is_told_and_the_rest_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Job(Path(f"{name}.png"), Path(f"out/{name}.png")) for name in "abcd"]
    plan = Plan(jobs, [Failure("z.png", "z.png: no such file")], ["take\ncare"])
    errors = {1: ModelError("two\nlines"), 2: FileExistsError(17, "File exists", "out")}
    done: list[str] = []

    def work(index: int, job: Job) -> Outcome:
        if index in errors:
            raise errors[index]
        return Outcome(str(job.source), str(job.target))

    outcomes = run_jobs(plan, work, finished=lambda outcome: done.append(outcome.input), title="t")
    assert done == ["a.png", "d.png"]
    assert [outcome.input for outcome in outcomes] == ["z.png", *(f"{n}.png" for n in "abcd")]
    assert [outcome.error is None for outcome in outcomes] == [False, True, False, False, True]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "irae: note: take care",
        "irae: error: z.png: no such file",
        "irae: error: b.png: two lines",
        "irae: error: out/c.png: cannot be written (File exists); use another -o",
    ]


def test_a_picture_too_large_for_memory_spares_the_rest() -> None:
    def work(index: int, job: Job) -> Outcome:
        if index == 0:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return Outcome(str(job.source), str(job.target))

    outcomes = run_jobs(Plan([JOB, JOB]), work, finished=lambda outcome: None, title="t")
    assert [outcome.error is None for outcome in outcomes] == [False, True]


@pytest.mark.parametrize("fault", [KeyError("fault"), RuntimeError("shapes differ")])
def test_a_fault_of_the_program_is_not_hidden(fault: Exception) -> None:
    def work(index: int, job: Job) -> Outcome:
        raise fault

    with pytest.raises(type(fault)):
        run_jobs(Plan([JOB]), work, finished=lambda outcome: None, title="t")


def test_json_has_an_error_only_when_there_is_one() -> None:
    assert "error" not in Outcome("a.png", "b.png").as_json()
    assert Outcome("a.png", error="bad").as_json()["error"] == "bad"
