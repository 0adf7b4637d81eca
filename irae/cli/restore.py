"""``irae restore``: pictures in, better pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from irae.errors import UsageError


def restore(
    inputs: Annotated[
        list[str], typer.Argument(help="Pictures, globs or folders.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A picture name, or a folder. Default: NAME.restored.SUFFIX beside each input.",
        ),
    ] = None,
    task: Annotated[
        Literal["denoise", "jpeg", "inpaint"] | None,
        typer.Option(help="What to undo. Default: inpaint with --mask, else denoise."),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="White where holes are to be filled: a picture, or a folder with a mask of each"
            " input's name."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A packaged model's name, a model file or a run folder.")
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(min=0, max=255, help="Noise level, for models that must be told it."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(
            help="Of the networks' arithmetic. auto: bf16 where that is faster and costs nothing."
        ),
    ] = "auto",
    tile: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Largest side restored at once; 0: always the whole picture. Default: tiles for"
            " large pictures only.",
        ),
    ] = None,
    resize_mask: Annotated[
        bool, typer.Option("--resize-mask", help="Scale a mask to its picture's size.")
    ] = False,
    recursive: Annotated[bool, typer.Option("--recursive", help="Go into subfolders.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list of what became of each input.")
    ] = False,
) -> None:
    """Remove noise, undo JPEG damage or fill holes in pictures.

    Example: irae restore noisy.png
    """
    import json

    from irae.restoring.batch import Talk, run_jobs
    from irae.restoring.pipeline import Pipeline
    from irae.restoring.planning import (
        MASK_MARK,
        RESTORED_MARK,
        collect_pictures,
        is_picture_name,
        plan_outputs,
    )
    from irae.restoring.restorer import Restorer

    if mask is not None and not mask.exists():
        raise UsageError(f"{mask}: no such mask file or folder")
    name = model or task or ("denoise" if mask is None else "inpaint")
    restorer = Restorer(
        name, device=device, precision=precision, tile=tile, sigma=sigma, notify=Talk.note
    )
    _check_options(name, restorer.task, task, mask)
    out_folder = out if out is not None and not is_picture_name(out) else None
    found, failures = collect_pictures(
        inputs,
        recursive=recursive,
        skip_marks=[RESTORED_MARK] if mask is None else [RESTORED_MARK, MASK_MARK],
        skip_folder=out_folder,
    )
    plan = plan_outputs(found, out, overwrite=overwrite, exact=mask is not None, masks=mask)
    plan.failures[:0] = failures
    pipeline = Pipeline(restorer, plan.jobs, overwrite=overwrite, resize_mask=resize_mask)
    with pipeline:
        outcomes = run_jobs(
            plan,
            pipeline.outcome,
            finished=lambda outcome: None if as_json else typer.echo(outcome.output),
            title=f"irae {restorer.task}",
        )
    if as_json:
        typer.echo(json.dumps([outcome.as_json() for outcome in outcomes], indent=2))
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(1)


def _check_options(model: str, task: str, asked: str | None, mask: Path | None) -> None:
    """A model does one task; holes need a mask, and nothing else takes one."""
    if asked is not None and asked != task:
        raise UsageError(f"--task {asked}, but model {model!r} is for {task}; drop one of the two")
    if task == "inpaint" and mask is None:
        raise UsageError("inpainting needs --mask, a picture that is white in the holes")
    if task != "inpaint" and mask is not None:
        raise UsageError(f"--mask is for inpainting, not for {task}; drop --mask or --task/--model")
