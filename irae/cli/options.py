"""Options that several commands have alike, and how they print what they measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from irae.tasks import get_task


def known_task(name: str | None) -> str | None:
    """A name of a task as it was given; a callback of options.

    Raises:
        UsageError: there is no such task.
    """
    return None if name is None else get_task(name).name


def print_measured(found: Any, as_json: bool) -> None:
    """Print what was measured as its ``to_dict`` in JSON, or as it describes itself."""
    import json

    text = json.dumps(found.to_dict(), indent=2, allow_nan=False) if as_json else found.describe()
    typer.echo(text)


Inputs = Annotated[
    list[str], typer.Argument(help="Pictures, globs or folders.", show_default=False)
]
Recursive = Annotated[bool, typer.Option("--recursive", help="Go into subfolders.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated."),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="Folder the data sets lie in. Default: $IRAE_DATA, else ./data."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(
        help="Of the networks' arithmetic. auto: bf16 where that is faster and costs nothing."
    ),
]
Ensemble = Annotated[
    bool,
    typer.Option(
        "--ensemble",
        help="Restore all eight turns and reflections of a picture and take their mean: better by"
        " a little, in 8 times the time.",
    ),
]
