"""Options that several commands have alike."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from irae.tasks import get_task


def known_task(name: str | None) -> str | None:
    """A name of a task as it was given; a callback of options.

    Raises:
        UsageError: there is no such task.
    """
    return None if name is None else get_task(name).name


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
