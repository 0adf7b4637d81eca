"""A batch: every input has its outcome, every failure its one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from irae.batch.jobs import Job, Plan
from irae.batch.outcome import Outcome, StagedResult
from irae.batch.progress import describe, follow, run_jobs
from irae.batch.summary import Summary
from irae.errors import ModelError, PictureError

JOB = Job(Path("in/a.png"), Path("out/a.png"), Path("masks/a.png"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (PictureError("in/a.png: is empty"), "in/a.png: is empty"),
        (PictureError("masks/a.png: is empty"), "masks/a.png: is empty"),
        (ModelError("gave no numbers"), "in/a.png: gave no numbers"),
        (OSError(28, "No space left on device"), "out/a.png: cannot be written (No space left"),
        (OSError(13, "Permission denied", "in/a.png"), "in/a.png: cannot be read (Permission"),
        (OSError(5, "Input/output error", "masks/a.png"), "masks/a.png: cannot be read (Input"),
        (MemoryError(), "in/a.png: out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "in/a.png: out of memory"),
    ],
)
def test_every_error_names_a_file(error: Exception, words: str) -> None:
    assert describe(error, JOB).startswith(words)


def test_what_fails_is_told_and_the_rest_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [Job(Path(f"{name}.png"), Path(f"out/{name}.png")) for name in "abcd"]
    plan = Plan(jobs, [Outcome("z.png", error="z.png: no such file")], ["take\ncare"])
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


def test_what_was_done_earlier_is_reported_and_not_done(capsys: pytest.CaptureFixture[str]) -> None:
    plan = Plan([JOB], done=[Outcome("in/b.png", "out/b.png", skipped=True)])
    told: list[str] = []
    outcomes = follow(
        plan,
        iter([Outcome("in/a.png", "out/a.png", why="in/a.png: noisy")]),
        tell=lambda outcome: told.append(outcome.status),
        title="t",
        display_name=lambda text: text.replace("in/", "s3://"),
    )
    assert told == ["skipped", "done"]
    assert [outcome.input for outcome in outcomes] == ["s3://b.png", "s3://a.png"]
    assert capsys.readouterr().err == "irae: note: s3://a.png: noisy\n"


def test_json_has_an_error_only_when_there_is_one() -> None:
    row = Outcome("a.png", "b.png").as_json()
    assert "error" not in row and row["status"] == "done" and "sha256" not in row
    row = Outcome("a.png", error="bad").as_json()
    assert (row["error"], row["status"]) == ("bad", "failed")
    made = StagedResult(
        "1 2", "a" * 64, staged="staged", output_stamp="3 4", output_sha256="b" * 64
    )
    row = Outcome("a.png", "b.png", made=made).as_json()
    assert (row["sha256"], row["output_sha256"]) == ("a" * 64, "b" * 64)
    assert "made" not in row and "skipped" not in row


def test_the_summary_counts_pixels_of_what_was_done_now() -> None:
    outcomes = [
        Outcome("a.png", "b.png", width=1000, height=500),
        Outcome("b.png", "c.png", width=1000, height=500, skipped=True),
        Outcome("c.png", error="c.png: bad"),
    ]
    summary = Summary.of(outcomes, 125.0)
    assert (summary.done, summary.skipped, summary.failed) == (1, 1, 1)
    assert summary.pixels_per_second == 4000
    assert summary.as_json()["failures"] == ["c.png"]
    assert summary.as_table() == [
        "  done          1",
        "  done earlier  1",
        "  failed        1",
        "  time          2 min 5 s, 0.004 megapixels per second",
        "  failed: c.png",
    ]
    assert Summary.of([], 0.0).pixels_per_second == 0
    assert "1 h 1 min" in Summary.of(outcomes, 3661).as_table()[3]


def test_a_picture_that_is_being_reported_at_ctrl_c_counts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = [Outcome(f"{name}.png", f"out/{name}.png") for name in "abc"]

    def tell(outcome: Outcome) -> None:
        if outcome.input == "b.png":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        follow(Plan([JOB] * 3), iter(outcomes), tell=tell, title="t")
    assert capsys.readouterr().err == "irae: note: interrupted; 2 of 3 inputs are done\n"
