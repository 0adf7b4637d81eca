"""``irae restore``: pictures in, better pictures out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from irae.cli.options import Detector, Ensemble, Precision, known_task
from irae.errors import UsageError
from irae.tasks import get_task, task_names

if TYPE_CHECKING:
    from irae.batch.model_pool import ModelPool
    from irae.batch.outcome import Outcome


def restore(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Pictures, globs or folders, here or at URLs; - reads one picture from standard"
            " input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            help="A picture name, or a folder (or its URL), which gets a manifest,"
            " irae-manifest.jsonl: another run only does what is missing or has changed."
            " - writes one picture to standard output. Default: NAME.restored.SUFFIX beside each"
            " input; standard output if the input is -.",
        ),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="SUFFIX",
            help="Format of the results, such as png or tif. Default: that of each input.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            callback=known_task,
            help=f"What to undo: {', '.join(task_names())}. Default: inpaint with --mask, else the"
            " damage that irae inspect finds; a clean picture is left as it is.",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            help="A mask for all inputs, white or painted where holes are to be filled, or a folder"
            " with a mask of each input's name."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A packaged model's name, a model file or a run folder.")
    ] = None,
    sigma: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=255,
            help="Noise level, for models that need it. `photo` measures it, and is told this one"
            " instead.",
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Weight of the restored picture: 0 leaves the picture as it was, 1 is the full"
            " restoration. Not for inpainting.",
        ),
    ] = 1.0,
    ensemble: Ensemble = False,
    device: Annotated[
        str,
        typer.Option(
            help="auto, cpu, cuda, cuda:N or mps; several, as cuda:0,cuda:1, share the pictures."
        ),
    ] = "auto",
    precision: Precision = "auto",
    tile: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Largest side in pixels restored at once; 0 never tiles. Default: tiles for large"
            " pictures only.",
        ),
    ] = None,
    resize_mask: Annotated[
        bool, typer.Option("--resize-mask", help="Scale a mask to its picture's size.")
    ] = False,
    grow_mask: Annotated[
        int,
        typer.Option(
            min=0,
            max=100,
            help="Number of pixels by which holes grow in every direction. For masks with soft"
            " edges, of which only pixels above half of white count.",
        ),
    ] = 0,
    invert_mask: Annotated[
        bool, typer.Option("--invert-mask", help="Fill what the mask does not mark.")
    ] = False,
    find_damage: Annotated[
        bool,
        typer.Option(
            "--find-damage",
            help="Find scratches, dust, hairs and stamps, and fill them; with --task, before that"
            " is done. Without it all other pixels stay bit-equal.",
        ),
    ] = False,
    detector: Detector = None,
    recursive: Annotated[bool, typer.Option("--recursive", help="Also search subfolders.")] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace existing files, except those that are up to date by the manifest.",
        ),
    ] = False,
    undoable: Annotated[
        bool,
        typer.Option(
            "--undoable",
            help="Write a file .irae beside each result, from which irae undo recovers the"
            " original. It takes up to two minutes for a megapixel of strong noise on one core.",
        ),
    ] = False,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help="Also draw where the result of one picture is unsure: the spread over its eight"
            " orientations, black 0, white 16/255 and more. It takes eight times as long.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Do the i-th of n parts of the work, which have no picture in common. Each part"
            " writes a manifest of its own and reads all of them.",
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="ray: a Ray cluster whose machines share the output folder."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Address of a running Ray cluster. Default: start one here."),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print a line of JSON for each input as soon as its outcome is known, and a"
            " summary as the last line.",
        ),
    ] = False,
) -> None:
    """Remove noise, undo JPEG damage or fill holes and scratches in pictures.

    One bad picture never stops the rest. The exit code is 0 when all are done, now or earlier,
    and 3 when some failed; those are listed at the end.

    Example: irae restore noisy.png
    """
    import json

    from irae.batch.jobs import STREAM
    from irae.batch.model_pool import ModelPool
    from irae.batch.progress import Console
    from irae.batch.restore_files import Request, parse_part, restore_files
    from irae.cli.pictures.streams import check_streams, parse_format, restore_stream
    from irae.restoring.options import RestoreOptions

    if uncertainty is not None:
        if STREAM in (*inputs, out):
            raise UsageError("--uncertainty draws the map of a file; give its name and -o FILE")
        if find_damage:
            raise UsageError("--uncertainty draws no map of what --find-damage fills; drop one")
        _check_map(uncertainty, inputs, overwrite, engine)
    if mask is not None and not mask.exists():
        raise UsageError(f"{mask}: no such mask file or folder; check the name")
    if address is not None and engine != "ray":
        raise UsageError("--address is for a Ray cluster; add --engine ray")
    if engine == "ray" and "," in device:
        raise UsageError(
            f"--device {device}: several devices are for this machine; drop one option"
        )
    if find_damage and mask is not None:
        raise UsageError("--mask and --find-damage both say where the holes are; give one")
    if (grow_mask or invert_mask) and mask is None:
        option = "--grow-mask" if grow_mask else "--invert-mask"
        remedy = "write what is found with irae mask, and give it as" if find_damage else "add"
        raise UsageError(f"{option} is for holes of a mask; {remedy} --mask")
    options = RestoreOptions(
        task=task,
        model=model,
        device=device,
        precision=precision,
        tile=tile,
        sigma=sigma,
        strength=strength,
        undoable=undoable,
        ensemble=ensemble,
        grow_mask=grow_mask,
        invert_mask=invert_mask,
        find_damage=find_damage,
        detector=detector,
    )
    pool = ModelPool(options, Console.note)
    # Checked first: an option that does not suit the model is an error of the whole command.
    masked = mask is not None or find_damage
    first = pool.restorer_for(task or pool.default_task(masked=masked))
    if find_damage:
        pool.finder()
    else:
        _check_mask(first.task, mask)

    outcomes: list[Outcome] = []

    def tell(outcome: Outcome) -> None:
        outcomes.append(outcome)
        if as_json:
            typer.echo(json.dumps(outcome.as_json()))
        elif outcome.status == "done":
            typer.echo(outcome.output)

    request = Request(
        tuple(inputs),
        out,
        mask,
        recursive=recursive,
        overwrite=overwrite,
        resize_mask=resize_mask,
        part=None if shard is None else parse_part(shard),
        suffix=parse_format(format_, out),
        engine=engine,
        address=address,
    )
    if STREAM in (*inputs, out):
        check_streams(request, undoable=undoable, as_json=as_json)
        summary = restore_stream(request, pool)
    else:
        summary = restore_files(request, pool, tell)
    if uncertainty is not None and not summary.failed:
        _draw_map(uncertainty, outcomes[0], pool, mask, resize_mask)
    if as_json:
        typer.echo(json.dumps({"summary": summary.as_json()}))
    if summary.done + summary.skipped + summary.failed > 1:
        for line in summary.as_table():
            typer.echo(line, err=True)
    if summary.failed:
        raise typer.Exit(3)


def _check_map(path: Path, inputs: list[str], overwrite: bool, engine: str) -> None:
    """Check the options before anything is restored."""
    if len(inputs) != 1 or not Path(inputs[0]).is_file() or engine != "local":
        raise UsageError("--uncertainty draws the map of one picture; give one file")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--uncertainty {path}: the map must end in .png")
    if path.exists() and not overwrite:
        raise UsageError(f"--uncertainty {path} exists; give another name or --overwrite")


def _draw_map(
    path: Path, outcome: Outcome, pool: ModelPool, mask: Path | None, resize: bool
) -> None:
    """Write the spread of the results of one picture."""
    from PIL import Image

    from irae.imaging.io.files import read_picture
    from irae.imaging.io.masks import read_mask
    from irae.imaging.io.picture import to_upright
    from irae.restoring.uncertainty import orientation_spread, to_map
    from irae.writing import write_atomically

    if outcome.task is None:
        raise UsageError(f"{outcome.input}: was left as it is, so there is no uncertainty to draw")
    picture = read_picture(outcome.input)
    orientation = picture.orientation
    hole = None
    if mask is not None:
        grow, size = pool.options.grow_mask, (picture.height, picture.width)
        hole = read_mask(
            mask, height=size[0], width=size[1], resize=resize, orientation=orientation, grow=grow
        )
    spread = orientation_spread(pool.restorer_for(outcome.task), picture.pixels, hole)
    drawn = Image.fromarray(to_upright(to_map(spread), orientation)[0].numpy())
    write_atomically(path, lambda temporary: drawn.save(temporary, format="PNG"))
    typer.echo(f"{path}: spread up to {float(spread.max()):.1f}/255", err=True)


def _check_mask(task: str, mask: Path | None) -> None:
    """Check that there is a mask for inpainting, and only then."""
    if get_task(task).needs_mask and mask is None:
        raise UsageError(
            "inpainting needs --mask, a picture that is white in the holes, or --find-damage"
        )
    if not get_task(task).needs_mask and mask is not None:
        raise UsageError(f"--mask is for inpainting, not for {task}; drop --mask or --task/--model")
