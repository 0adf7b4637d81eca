"""Restoring files of several pages, page by page, so that only one page is in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

from irae.batch.jobs import Job
from irae.batch.model_pool import ModelPool, TaskDecision
from irae.imaging.io.encode import check_writable, encode
from irae.imaging.io.files import Document
from irae.imaging.io.picture import Picture, same_levels
from irae.imaging.io.tiff_pages import join_pages


@dataclass(frozen=True)
class RestoredDocument:
    """All pages of a file, restored.

    Attributes:
        encoded: content of the result; None if no page was changed.
        decision: the task of the first page that has one, and what was done to which page.
        first: the first page, restored.
    """

    encoded: bytes | None
    decision: TaskDecision
    first: Picture


def restore_document(
    job: Job, document: Document, pool: ModelPool, *, resize_mask: bool = False
) -> RestoredDocument:
    """Restore each page of a file, with the task that suits it; a mask serves all pages.

    Args:
        job: the file's job; the source must exist.
        document: the file's pages.
        pool: finds the task and the restorer for each page.
        resize_mask: scale a mask of another size instead of refusing it.

    Raises:
        PictureError: a page cannot be read, or the target cannot hold it.
        ModelError: the model returned non-finite numbers.
    """
    encoded, decisions, first, changed = [], [], None, False
    for page in document.read():
        check_writable(page, job.target.suffix, str(job.target), pages=len(document.pages))
        mask, decision = pool.prepare(job, page, resize_mask=resize_mask)
        restored = page
        if decision.task is not None:
            (restored,) = pool.restore(decision.task, [page], [mask])
            if same_levels(page, restored):
                restored, decision = page, decision.with_no_change(job.source)
            else:
                changed = True
        first = first or restored
        decisions.append(decision)
        encoded.append(encode(restored, job.target.suffix, str(job.target)))
    assert first is not None
    decision = _joined(job, decisions)
    return RestoredDocument(join_pages(encoded) if changed else None, decision, first)


def _joined(job: Job, decisions: list[TaskDecision]) -> TaskDecision:
    """Return one decision for all pages, with a line that says what is done to which."""
    whole = next((one for one in decisions if one.task is not None), decisions[0])
    notes = dict.fromkeys(note for one in decisions for note in one.notes)
    reasons = [(one.why or "").removeprefix(f"{job.source}: ") for one in decisions]
    why = "; ".join(f"{pages}: {reason}" for pages, reason in _runs(reasons) if reason)
    line = f"{job.source}: {why}" if why else None
    return replace(whole, why=line, notes=tuple(notes))


def _runs(reasons: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each reason with the pages in a row that share it, ``page 1`` or ``pages 2 to 5``."""
    number = 1
    for reason, run in itertools.groupby(reasons):
        last = number + len(list(run)) - 1
        yield (f"page {number}" if last == number else f"pages {number} to {last}"), reason
        number = last + 1
