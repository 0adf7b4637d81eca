"""A whole batch: from the user's request to the summary of its outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from irae.batch.collect import collect_pictures
from irae.batch.jobs import Job, Plan, is_picture_name, plan_outputs
from irae.batch.manifest import Manifest
from irae.batch.model_pool import ModelPool
from irae.batch.outcome import Outcome
from irae.batch.output import OutputFolder, open_folder
from irae.batch.pipeline import Pipeline
from irae.batch.progress import follow, settle, settled
from irae.batch.remote import Files, local_path
from irae.batch.summary import Summary
from irae.errors import UsageError
from irae.imaging.io.encode import PICTURE_SUFFIXES
from irae.imaging.io.files import MASK_MARK, RESTORED_MARK


@dataclass(frozen=True)
class Request:
    """The pictures to restore, and where their results go.

    Attributes:
        inputs: pictures, folders, glob patterns, and URLs of these.
        out: a picture's name, a folder or the URL of a folder; None writes beside each input.
        mask: for inpainting, a mask for all pictures or a folder of masks.
        recursive: also search subfolders.
        overwrite: replace existing files.
        resize_mask: scale masks of another size.
        part: ``(2, 3)`` for the second of three parts; None for everything.
        suffix: suffix of the results, such as ``.png``; None stands for that of each input.
        engine: ``local`` for this process, ``ray`` for the workers of a Ray cluster.
        address: address of a running Ray cluster; None starts one on this machine.
    """

    inputs: tuple[str, ...]
    out: str | None = None
    mask: Path | None = None
    recursive: bool = False
    overwrite: bool = False
    resize_mask: bool = False
    part: tuple[int, int] | None = None
    suffix: str | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None


def parse_part(text: str) -> tuple[int, int]:
    """Parse ``2/3``, the second of three parts, into its two numbers.

    Raises:
        UsageError: the text is not of this form, or there is no such part.
    """
    number, _, count = text.partition("/")
    # At most nine digits: Python refuses to parse numbers of thousands of digits.
    plain = all(one.isascii() and one.isdecimal() and len(one) <= 9 for one in (number, count))
    if not plain or not 1 <= int(number) <= int(count):
        raise UsageError(f"--shard {text!r} is malformed; use i/n with i from 1 to n, as 1/4")
    return int(number), int(count)


def restore_files(
    request: Request,
    pool: ModelPool,
    tell: Callable[[Outcome], None],
    *,
    display_name: Callable[[str], str] = str,
) -> Summary:
    """Restore all pictures of a request; a picture that fails does not stop the others.

    Args:
        request: the pictures and where their results go.
        pool: the models and the options of restoring.
        tell: called with the outcome of each input as soon as it is known.
        display_name: replaces paths in names and messages by what the user calls them.

    Raises:
        UsageError: the options conflict; nothing was done.
        OSError: the output folder cannot be written to.
    """
    begin = time.perf_counter()
    files = Files.create()
    try:
        outcomes = _restore(request, pool, files, tell, display_name)
    finally:
        files.remove()
    return Summary.of(outcomes, time.perf_counter() - begin)


def _restore(
    request: Request,
    pool: ModelPool,
    files: Files,
    tell: Callable[[Outcome], None],
    display_name: Callable[[str], str],
) -> list[Outcome]:
    target, folder = _find_output(request, files)
    plan = _make_plan(request, pool, files, target, folder)
    with ExitStack() as stack:
        manifest = None
        if folder is not None:
            label = "{}-of-{}".format(*request.part) if request.part else ""
            manifest = Manifest(
                folder,
                files,
                options=pool.options.recorded(),
                weights_of=pool.weights_of,
                label=label,
            )
            stack.enter_context(manifest)
            plan = manifest.remaining(plan, overwrite=request.overwrite)
        engine = _start(request, pool, files, folder, plan.jobs)
        results = _commit(stack.enter_context(engine), manifest)
        return follow(
            plan,
            results,
            tell=tell,
            title="irae restore",
            display_name=lambda text: display_name(files.display_name(text)),
            goes_on=manifest is not None,
        )


def _find_output(request: Request, files: Files) -> tuple[Path | None, OutputFolder | None]:
    """Return the path that stands for the output, and the output folder if it is one."""
    if request.out is None:
        if any(local_path(name) is None for name in request.inputs):
            raise UsageError("pictures at a URL need -o, a folder or the URL of one")
        return None, None
    target = local_path(request.out)
    if target is not None:
        # A path has lost the slash by which a folder that is to be made can be named.
        single = is_picture_name(f"{target}{'/' if request.out.endswith('/') else ''}")
        return target, None if single else open_folder(str(target), files)
    if Path(request.out).suffix.lower() in PICTURE_SUFFIXES:
        raise UsageError(f"{request.out}: a picture's name; at a URL, -o names a folder")
    return files.path_for(request.out.rstrip("/")), open_folder(request.out, files)


def _make_plan(
    request: Request,
    pool: ModelPool,
    files: Files,
    target: Path | None,
    folder: OutputFolder | None,
) -> Plan:
    notes: list[str] = []
    filling = request.mask is not None or pool.options.find_damage
    found, failures = collect_pictures(
        request.inputs,
        recursive=request.recursive,
        skip_marks=[RESTORED_MARK, MASK_MARK] if filling else [RESTORED_MARK],
        skip_folder=None if folder is None else target,
        skip_file=request.mask,
        files=files,
        note=notes.append,
    )
    plan = plan_outputs(
        found,
        target,
        single=target is not None and folder is None,
        overwrite=request.overwrite,
        exact=request.mask is not None or pool.only_fills,
        masks=request.mask,
        keeps_manifest=folder is not None,
        suffix=request.suffix,
    )
    plan.failures[:0] = failures
    plan.notes[:0] = notes
    return plan if request.part is None else plan.part(*request.part)


@contextmanager
def _start(
    request: Request,
    pool: ModelPool,
    files: Files,
    folder: OutputFolder | None,
    jobs: Sequence[Job],
) -> Iterator[Iterator[tuple[Job, Outcome]]]:
    """Start the engine; yields the jobs' outcomes as they arrive, still to be committed."""
    if request.engine == "local":
        pipeline = Pipeline(
            pool,
            jobs,
            files=files,
            folder=folder,
            overwrite=request.overwrite,
            resize_mask=request.resize_mask,
        )
        with closing(settled(jobs, pipeline.outcomes())) as results:
            yield results
        return
    from irae.batch.ray_engine import restore_on_ray

    if folder is None:
        raise UsageError("--engine ray needs -o, a folder that all of its machines can write to")
    with restore_on_ray(
        jobs,
        pool.options,
        files,
        folder,
        resize_mask=request.resize_mask,
        address=request.address,
    ) as results:
        yield results


def _commit(results: Iterator[tuple[Job, Outcome]], manifest: Manifest | None) -> Iterator[Outcome]:
    """Move results to their places, and enter each result and each failure in the manifest."""
    for job, outcome in results:
        if manifest is not None:
            if outcome.error is None:
                outcome = settle(job, partial(manifest.commit, job, outcome))
            if outcome.error is not None:
                manifest.enter_failure(job, outcome)
        yield outcome
