"""``irae degrade``: spoil good pictures in a known way, to try restoring on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def degrade(
    inputs: Annotated[
        list[str], typer.Argument(help="Pictures, globs or folders.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="A picture name, or a folder.", show_default=False)
    ],
    sigma: Annotated[
        float | None, typer.Option(help="Add Gaussian noise of this deviation, 0 to 255.")
    ] = None,
    quality: Annotated[int | None, typer.Option(help="Compress as JPEG, 1 to 100.")] = None,
    hole: Annotated[
        str | None,
        typer.Option(
            help="Cut a black square of N pixels: center:N, or box:N anywhere. Its mask is"
            " written beside the picture as NAME.mask.png."
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="Cut out what is white in this picture.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of noise and boxes.")] = 0,
    subsampling: Annotated[
        Literal["4:2:0", "4:4:4"], typer.Option(help="Of the JPEG's chroma.")
    ] = "4:2:0",
    resize_mask: Annotated[
        bool, typer.Option("--resize-mask", help="Scale a mask to its picture's size.")
    ] = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Go into subfolders.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")] = False,
) -> None:
    """Add noise, JPEG damage or holes to pictures; exactly one of them.

    One bad picture never stops the rest; the exit code is 3 when some failed.

    Example: irae degrade photo.png -o noisy.png --sigma 25
    """
    from irae.restoring.batch import run_jobs
    from irae.restoring.degrading import choose_degradation, degrade_file
    from irae.restoring.planning import collect_pictures, is_picture_name, plan_outputs

    degradation = choose_degradation(
        sigma=sigma, quality=quality, hole=hole, mask=mask, subsampling=subsampling
    )
    found, failures = collect_pictures(
        inputs, recursive=recursive, skip_folder=None if is_picture_name(out) else out
    )
    plan = plan_outputs(found, out, overwrite=overwrite, exact=quality is None, masks=mask)
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
