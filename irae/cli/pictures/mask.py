"""``irae mask``: find damage, and write the masks by which ``irae restore`` fills it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irae.cli.options import Detector, Device, Inputs, Overwrite, Recursive

if TYPE_CHECKING:
    from irae.batch.jobs import Job
    from irae.batch.outcome import Outcome
    from irae.restoring.find_damage import DamageFinder


def mask(
    inputs: Inputs,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="A picture name, or a folder. Default: NAME.mask.png beside each input.",
        ),
    ] = None,
    grow: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=100,
            help="Number of pixels by which what is found grows in every direction, since damage"
            " has soft rims. Default: 1.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Probability from which a pixel is certainly damaged: lower finds more, and more"
            " that is no damage. Default: the detector's own.",
        ),
    ] = None,
    detector: Detector = None,
    device: Device = "auto",
    recursive: Recursive = False,
    overwrite: Overwrite = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each picture.")
    ] = False,
) -> None:
    """Find scratches, dust, hairs and stamps in pictures, and write masks that are white there.

    A mask can be corrected in any editor, and irae restore FILE --mask MASK fills what it marks.
    A picture without damage gets a black mask. One bad picture never stops the rest; the exit code
    is 3 when some failed.

    Example: irae mask old.jpg -o mask.png
    """
    import json

    from irae.batch.collect import collect_pictures
    from irae.batch.jobs import is_picture_name, plan_outputs
    from irae.batch.progress import run_jobs
    from irae.imaging.io.files import MASK_MARK, RESTORED_MARK
    from irae.restoring.find_damage import DETECTOR, GROWN, DamageFinder

    finder = DamageFinder(
        detector or DETECTOR,
        device=device,
        threshold=threshold,
        grow=GROWN if grow is None else grow,
    )
    single = out is not None and is_picture_name(out)
    target = None if out is None else Path(out)
    found, failures = collect_pictures(
        inputs,
        recursive=recursive,
        skip_marks=[MASK_MARK, RESTORED_MARK],
        skip_folder=None if single else target,
    )
    plan = plan_outputs(
        found, target, single=single, mark=MASK_MARK, overwrite=overwrite, suffix=".png"
    )
    plan.failures[:0] = failures

    def finished(outcome: Outcome) -> None:
        if as_json:
            typer.echo(json.dumps(outcome.as_json()))
        else:
            typer.echo(outcome.output)

    outcomes = run_jobs(
        plan,
        lambda _, job: _write_mask(job, finder, overwrite=overwrite),
        finished=finished,
        title="irae mask",
    )
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(3)


def _write_mask(job: Job, finder: DamageFinder, *, overwrite: bool) -> Outcome:
    """Find the damage of one picture, and write its mask upright, as masks are read."""
    import time

    from irae.batch.outcome import Outcome
    from irae.imaging.io.files import read_picture, write_picture
    from irae.imaging.io.picture import Layout, Picture, to_upright
    from irae.restoring.find_damage import TOO_LITTLE_LEFT
    from irae.writing import folder_for

    begin = time.perf_counter()
    picture = read_picture(job.source)
    found = finder.find(picture.pixels)
    upright = to_upright(found.mask.float(), picture.orientation)
    with folder_for(job.target):
        write_picture(job.target, Picture(upright, None, Layout(mode="L")), overwrite=overwrite)
    doubt = f"; {TOO_LITTLE_LEFT}, so correct the mask" if found.too_much else ""
    return Outcome(
        input=str(job.source),
        output=str(job.target),
        model=finder.model.name,
        seconds=round(time.perf_counter() - begin, 3),
        width=picture.width,
        height=picture.height,
        damage=found.as_json(),
        why=f"{job.source}: {found.describe()}{doubt}",
    )
