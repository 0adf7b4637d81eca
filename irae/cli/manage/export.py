"""``irae export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from irae.errors import UsageError


def export(
    model: Annotated[
        str,
        typer.Argument(
            help="The name of a packaged model or detector of damage, a model file or a run folder."
        ),
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
    from irae.models.checkpoints.model_file import is_detector, load_detector, load_model
    from irae.models.checkpoints.onnx_export import export_onnx
    from irae.models.loaded_detector import LoadedDetector

    loaded = load_detector(model) if is_detector(model) else load_model(model)
    target = output or Path(f"{Path(model).stem}.{format_}")
    if target.exists() and not overwrite:
        raise UsageError(f"{target}: exists already; use --overwrite")
    difference = export_onnx(loaded, target)
    does = "find_damage" if isinstance(loaded, LoadedDetector) else loaded.task
    typer.echo(f"{target}: {does}, within {difference:.1g} of PyTorch on a test picture", err=True)
