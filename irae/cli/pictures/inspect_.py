"""``irae inspect``: find the damage of pictures, and what ``irae restore`` would do."""

from __future__ import annotations

from typing import Annotated

import typer

from irae.cli.options import Inputs, Recursive


def inspect_(
    inputs: Inputs,
    recursive: Recursive = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each picture.")
    ] = False,
) -> None:
    """Estimate the noise and the JPEG quality of pictures, and find their masks.

    Each page of a TIFF is a picture of its own.

    The line "restore" shows what irae restore does without --task, --model and --mask.
    The exit code is 3 when some pictures could not be read.

    Example: irae inspect photo.jpg
    """
    import json

    from irae.batch.progress import Console
    from irae.errors import IraeError, for_command_line
    from irae.imaging.io.find import find_pictures
    from irae.restoring.inspection import inspect_pages

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
                for found in inspect_pages(path):
                    lines = [json.dumps(found.as_json())] if as_json else found.as_lines()
                    typer.echo("\n".join(lines))
            except IraeError as error:
                fail(path, error)
    if failed:
        raise typer.Exit(3)
