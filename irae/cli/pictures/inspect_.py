"""``irae inspect``: find the damage of pictures, and what ``irae restore`` would do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from irae.cli.options import Detector, Inputs, Overwrite, Recursive
from irae.errors import UsageError


def inspect_(
    inputs: Inputs,
    recursive: Recursive = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each picture.")
    ] = False,
    damage_map: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help="Also write the probability that each pixel of one picture is damaged by"
            " scratches, dust, hairs or a stamp: black 0, white 1.",
        ),
    ] = None,
    detector: Detector = None,
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

    if damage_map is not None:
        _check_map(damage_map, inputs, overwrite)
    elif detector is not None:
        raise UsageError("--detector is for the map of the damage; add --damage-map")
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
            damage = None if damage_map is None else _draw_map(path, damage_map, detector)
            if as_json:
                typer.echo(json.dumps(found.as_json() | ({} if damage is None else damage[1])))
                continue
            lines = found.as_lines() + ([] if damage is None else [f"  damage: {damage[0]}"])
            typer.echo("\n".join(lines))
    if failed:
        raise typer.Exit(3)


def _check_map(path: Path, inputs: list[str], overwrite: bool) -> None:
    """Check the options before anything is inspected."""
    if len(inputs) != 1 or not Path(inputs[0]).is_file():
        raise UsageError("--damage-map draws the map of one picture; give one file")
    if path.suffix.lower() != ".png":
        raise UsageError(f"--damage-map {path}: the map must end in .png")
    if path.exists() and not overwrite:
        raise UsageError(f"--damage-map {path} exists; give another name or --overwrite")


def _draw_map(source: Path, path: Path, detector: str | None) -> tuple[str, dict[str, Any]]:
    """Write the map of a picture; return what was found, in words and as plain JSON."""
    from irae.imaging.io.files import read_picture, write_picture
    from irae.imaging.io.picture import Layout, Picture, to_upright
    from irae.restoring.find_damage import DETECTOR, DamageFinder

    finder = DamageFinder(detector or DETECTOR)
    picture = read_picture(source)
    probabilities = finder.probabilities(picture.pixels)
    found = finder.found_in(probabilities, picture.pixels)
    upright = to_upright(probabilities, picture.orientation)
    write_picture(path, Picture(upright, None, Layout(mode="L")), overwrite=True)
    return found.describe(), found.as_json()
