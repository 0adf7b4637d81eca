"""Broken and odd pictures: never a crash, a hang or unbounded memory; each error one clear line.

A slice runs with the other tests; ``IRAE_FUZZ=all`` runs the whole corpus, ``IRAE_FUZZ_SEED``
makes another one, and ``IRAE_FUZZ_REPORT=FILE`` keeps what became of each file.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from dataclasses import asdict
from itertools import pairwise

import pytest
from corpus import COUNT, SEED, Sample, samples
from runner import Report, run

LIMIT = 5_000_000
"""Pixels allowed in the worker; the largest pictures of the corpus have 4.84 million."""

MEMORY_CAP = 80 * LIMIT
"""Bytes above rest that the worker may hold: 80 for each pixel allowed."""

SECONDS = 10.0
SLICE = 200

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="the account of memory is Linux's"
    ),
]


def chosen() -> list[Sample]:
    """The files to test now: all, or every so many of each kind."""
    everything = list(samples(seed=int(os.environ.get("IRAE_FUZZ_SEED", SEED))))
    assert len(everything) == COUNT >= 2000
    if os.environ.get("IRAE_FUZZ") == "all":
        return everything
    return everything[:: COUNT // SLICE]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Report]:
    folder = tmp_path_factory.mktemp("fuzz")
    found = []
    with open(os.environ.get("IRAE_FUZZ_REPORT") or os.devnull, "w", encoding="utf-8") as kept:
        for report in run(((s.name, s.data) for s in chosen()), folder, LIMIT):
            found.append(report)
            kept.write(json.dumps(asdict(report)) + "\n")
            kept.flush()
    slowest, largest = max(r.seconds for r in found), max(r.peak for r in found)
    counts = ", ".join(f"{n} {kind}" for kind, n in Counter(r.outcome for r in found).most_common())
    summary = f"{len(found)} files: {counts}; slowest {slowest:.2f} s, peak {largest >> 20} MiB"
    sys.stderr.write(f"\n{summary}\n")
    left = [path.name for path in folder.iterdir() if not path.name.startswith("written")]
    assert left == ["stderr.txt"], "a temporary file was left behind"
    return found


def test_nothing_crashes_or_hangs(reports: list[Report]) -> None:
    bad = [r for r in reports if r.outcome in ("crash", "killed", "hang")]
    assert not bad, "\n".join(map(str, bad))


def test_no_file_takes_long(reports: list[Report]) -> None:
    slow = [r for r in reports if r.seconds > SECONDS]
    assert not slow, "\n".join(map(str, slow))


def test_memory_stays_under_the_cap(reports: list[Report]) -> None:
    large = [r for r in reports if r.peak > MEMORY_CAP or "not enough memory" in r.message]
    assert not large, "\n".join(map(str, large))


def test_every_error_is_one_line_that_names_the_file(reports: list[Report]) -> None:
    for report in reports:
        if report.outcome == "refused":
            assert report.name in report.message
        if report.message:
            assert report.message.isprintable(), report
            assert len(report.message) < 500, report


def test_nothing_is_said_beside_the_error(reports: list[Report]) -> None:
    """Neither a warning nor a line of a library's log; what libtiff prints, Python cannot see."""
    talkative = [r for r in reports if r.said]
    assert not talkative, "\n".join(map(str, talkative))


def test_pictures_are_read_too(reports: list[Report]) -> None:
    """A reader that refuses everything would pass the rest."""
    whole = [r for r in reports if "-whole-" in r.name]
    written = [r for r in whole if r.outcome == "written"]
    assert len(written) >= len(whole) / 4
    kinds = {r.outcome for r in reports if "-mutated-" in r.name}
    assert {"written", "refused"} <= kinds


def test_names_are_in_order_of_the_corpus(reports: list[Report]) -> None:
    assert all(one.name < other.name for one, other in pairwise(reports))
