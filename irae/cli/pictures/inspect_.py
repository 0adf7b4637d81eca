"""``irae inspect``: find the damage of pictures, and what ``irae restore`` would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irae.cli.options import Device, Inputs, Overwrite, Recursive
from irae.errors import UsageError

if TYPE_CHECKING:
    from irae.models.loaded_patches import LoadedPatchDensity


def inspect_(
    inputs: Inputs,
    recursive: Recursive = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each picture.")
    ] = False,
    improbable: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help="Also draw what is improbable in one picture, such as dust and scratches: black as"
            " expected, white far from it. No damage is told from single small things.",
        ),
    ] = None,
    improbable_model: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="For --improbable: a density of patches, a name, file or run."
        ),
    ] = "patches",
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Estimate the noise and the JPEG quality of pictures, and find their masks.

    The line "restore" shows what irae restore does without --task, --model and --mask.
    The exit code is 3 when some pictures could not be read.

    Example: irae inspect photo.jpg
    """
    import json

    from irae.batch.progress import Console
    from irae.errors import IraeError, for_command_line
    from irae.imaging.io.find import find_pictures
    from irae.restoring.inspection import inspect_picture

    density = None
    if improbable is not None:
        density = _load_for_map(improbable, inputs, improbable_model, device, overwrite)
    failed = False

    def fail(name: object, error: Exception) -> None:
        nonlocal failed
        failed = True
        Console.error(str(error))
        if as_json:
            typer.echo(json.dumps({"input": str(name), "error": for_command_line(str(error))}))

    for name in inputs:
        try:
            paths = find_pictures([name], recursive=recursive)
        except IraeError as error:
            fail(name, error)
            continue
        for path in paths:
            try:
                found = inspect_picture(path)
            except IraeError as error:
                fail(path, error)
                continue
            lines = [json.dumps(found.as_json())] if as_json else found.as_lines()
            typer.echo("\n".join(lines))
            if improbable is not None and density is not None:
                _draw(improbable, path, density)
    if failed:
        raise typer.Exit(3)


def _load_for_map(
    path: Path, inputs: list[str], model: str, device: str, overwrite: bool
) -> LoadedPatchDensity:
    """Check the options before anything is inspected, and load the density."""
    if len(inputs) != 1 or not Path(inputs[0]).is_file():
        raise UsageError("--improbable draws the map of one picture; give one file")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--improbable {path}: the map must end in .png")
    if path.exists() and not overwrite:
        raise UsageError(f"--improbable {path} exists; give another name or --overwrite")
    from irae.models.checkpoints.model_file import load_patch_density
    from irae.runtime import select_device

    return load_patch_density(model).to(select_device(device))


def _draw(target: Path, path: Path, density: LoadedPatchDensity) -> None:
    """Write the map of what is improbable in a picture."""
    from PIL import Image

    from irae.imaging.io.files import read_picture
    from irae.imaging.io.picture import to_upright
    from irae.restoring.improbable import STRANGE, improbability, to_map
    from irae.writing import write_atomically

    picture = read_picture(path)
    seen = None if picture.alpha is None else picture.alpha > 0
    found = improbability(density, picture.pixels[:3], seen=seen)
    drawn = Image.fromarray(to_upright(to_map(found), picture.orientation)[0].numpy())
    write_atomically(target, lambda temporary: drawn.save(temporary, format="PNG"))
    share = float((found > STRANGE).float().mean())
    typer.echo(f"{target}: {share:.1%} of the pixels are improbable", err=True)
