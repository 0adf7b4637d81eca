"""Options shared by several commands, and the output of measurements."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from irae.tasks import get_task

STOPPED = 4
"""Exit code of a command that a signal stopped, and that the same or another command continues."""


def known_task(name: str | None) -> str | None:
    """Check the name of a task and return it; a callback of options.

    Raises:
        UsageError: there is no such task.
    """
    return None if name is None else get_task(name).name


def print_measured(found: Any, as_json: bool) -> None:
    """Print a measurement: its ``to_dict`` as JSON, or its ``describe`` as text."""
    import json

    text = json.dumps(found.to_dict(), indent=2, allow_nan=False) if as_json else found.describe()
    # Names of files need not be UTF-8; what is not is printed as \udcNN.
    typer.echo(text.encode("utf-8", "backslashreplace").decode())


Inputs = Annotated[
    list[str], typer.Argument(help="Pictures, globs or folders.", show_default=False)
]
Recursive = Annotated[bool, typer.Option("--recursive", help="Also search subfolders.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Fit = Annotated[
    bool, typer.Option("--fit", help="Scale, crop and convert pictures as in the training.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated."),
]
Root = Annotated[
    Path | None,
    typer.Option("--root", help="Root folder of the data sets. Default: $IRAE_DATA, else ./data."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(
        help="Precision of the networks. auto: bf16 if it is faster and costs no quality."
    ),
]
Detector = Annotated[
    str | None,
    typer.Option(
        help="What finds damage: a packaged detector's name, a model file or a run folder."
        " Default: the packaged one."
    ),
]
Ensemble = Annotated[
    bool,
    typer.Option(
        "--ensemble",
        help="Average over the eight rotations and reflections of each picture: slightly better,"
        " in 8 times the time.",
    ),
]
