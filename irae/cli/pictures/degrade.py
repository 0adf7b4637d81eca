"""``irae degrade``: damage good pictures in a known way, to try restoring on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from irae.cli.options import Inputs, Overwrite, Recursive, known_task
from irae.errors import UsageError
from irae.tasks import PHOTO, all_tasks, get_task, task_names
from irae.tasks.photo import CAMERA

if TYPE_CHECKING:
    from irae.tasks.base import Degradation


def degrade(
    inputs: Inputs,
    out: Annotated[
        str, typer.Option("--out", "-o", help="A picture name, or a folder.", show_default=False)
    ],
    sigma: Annotated[
        float | None, typer.Option(help="Add Gaussian noise of this standard deviation, 0 to 255.")
    ] = None,
    quality: Annotated[int | None, typer.Option(help="Compress as JPEG, 1 to 100.")] = None,
    hole: Annotated[
        str | None,
        typer.Option(
            help="Cut a black square of N pixels: center:N, or box:N anywhere. Its mask is"
            " written beside the picture as NAME.mask.png."
        ),
    ] = None,
    mask: Annotated[Path | None, typer.Option(help="Cut out the white part of this mask.")] = None,
    photo: Annotated[
        bool,
        typer.Option("--photo", help="Simulate a camera: random sensor noise, and JPEG."),
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(
            callback=known_task,
            help=f"Damage of this task, at --level: {', '.join(task_names())}.",
        ),
    ] = None,
    level: Annotated[
        str | None, typer.Option(help="Level of damage: sigma, quality, or center:N or box:N.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of noise and boxes.")] = 0,
    subsampling: Annotated[
        Literal["4:2:0", "4:4:4"], typer.Option(help="Subsampling of the JPEG's chroma.")
    ] = "4:2:0",
    resize_mask: Annotated[
        bool, typer.Option("--resize-mask", help="Scale a mask to its picture's size.")
    ] = False,
    recursive: Recursive = False,
    overwrite: Overwrite = False,
) -> None:
    """Add noise, JPEG damage or holes to pictures; exactly one kind.

    One bad picture never stops the rest; the exit code is 3 when some failed.

    Example: irae degrade photo.png -o noisy.png --sigma 25
    """
    levels = {"--sigma": sigma, "--quality": quality, "--hole": hole, "--task": task}
    levels["--photo"] = CAMERA if photo else None
    degradation = _chosen(levels, level, mask, subsampling)

    from irae.batch.collect import collect_pictures
    from irae.batch.degrade import degrade_file
    from irae.batch.jobs import is_picture_name, plan_outputs
    from irae.batch.progress import run_jobs

    single = is_picture_name(out)
    found, failures = collect_pictures(
        inputs, recursive=recursive, skip_folder=None if single else Path(out), skip_file=mask
    )
    plan = plan_outputs(
        found,
        Path(out),
        single=single,
        overwrite=overwrite,
        exact=degradation is None or degradation.jpeg_options is None,
        masks=mask,
    )
    plan.failures[:0] = failures
    outcomes = run_jobs(
        plan,
        lambda index, job: degrade_file(
            job, degradation, (seed, index), overwrite=overwrite, resize_mask=resize_mask
        ),
        finished=lambda outcome: typer.echo(outcome.output),
        title="irae degrade",
    )
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(3)


def _chosen(
    given: dict[str, float | int | str | None],
    level: str | None,
    mask: Path | None,
    subsampling: str,
) -> Degradation | None:
    """Return the one degradation that the options name; None for --mask."""
    named = [name for name, value in {**given, "--mask": mask}.items() if value is not None]
    if len(named) != 1:
        said = " and ".join(named) if named else "none"
        raise UsageError(f"give exactly one of {', '.join((*given, '--mask'))}; here: {said}")
    option, value = named[0], given.get(named[0])
    if option == "--mask":
        if mask is not None and not mask.exists():
            raise UsageError(f"{mask}: no such mask file or folder; check the name")
        return None
    if (option == "--task") != (level is not None):
        raise UsageError("--task and --level belong together; give both, or --sigma and the like")
    if option == "--task":
        task, option, value = get_task(str(value)), "--level", level
    elif option == "--photo":
        task = get_task(PHOTO)
    else:
        task = next(each for each in all_tasks() if f"--{each.level_option}" == option)
    assert value is not None
    variant = {"subsampling": subsampling} if "subsampling" in task.variants else {}
    try:
        return task.level(value, **variant)
    except UsageError as error:
        raise UsageError(f"{option} {value}: {error}") from None
