"""``irae export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from irae.errors import UsageError


def export(
    model: Annotated[
        str, typer.Argument(help="A packaged model's name, a model file or a run folder.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="The file to write. Default: MODEL.onnx here."),
    ] = None,
    format_: Annotated[
        Literal["onnx"], typer.Option("--format", help="Needs the extra irae[onnx].")
    ] = "onnx",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it exists.")
    ] = False,
) -> None:
    """Write a model for other runtimes, for pictures of any height and width.

    Example: irae export denoise -o denoise.onnx
    """
    from irae.models.checkpoints.model_file import load_model
    from irae.models.checkpoints.onnx_export import export_onnx

    loaded = load_model(model)
    target = output or Path(f"{Path(model).stem}.{format_}")
    if target.exists() and not overwrite:
        raise UsageError(f"{target}: exists already; use --overwrite")
    difference = export_onnx(loaded, target)
    typer.echo(
        f"{target}: {loaded.task}, within {difference:.1g} of PyTorch on a test picture", err=True
    )
