"""``irae interpolate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.cli.options import Device, Fit, Overwrite


def interpolate(
    first: Annotated[Path, typer.Argument(metavar="A", help="The first picture.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The last picture.")],
    model: Annotated[
        str, typer.Option("--model", help="A packaged density, model file or run.")
    ] = "fashion",
    steps: Annotated[int, typer.Option("--steps", help="Pictures, with both ends.")] = 9,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="PNG", help="The strip of pictures.")
    ] = Path("strip.png"),
    enlarge: Annotated[
        int, typer.Option("--enlarge", min=1, max=32, help="Repeat every pixel, to see them.")
    ] = 1,
    fit: Fit = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Draw the pictures between two pictures, through the latents of a density.

    Both ends are the given pictures exactly, at the model's number of bits (with --fit, at its
    size too).

    Example: irae interpolate shoe.png boot.png --model fashion -o strip.png
    """
    from irae.evaluation.density.interpolation import interpolate as between
    from irae.evaluation.density.pictures import check_target, enlarged, grid, read_for, write_png
    from irae.models.checkpoints.model_file import load_density
    from irae.runtime import select_device

    loaded = load_density(model)
    check_target(output, overwrite)
    one, other = (read_for(loaded, path, fit=fit) for path in (first, second))
    loaded.to(select_device(device))
    strip = between(loaded, one, other, steps)
    write_png(grid(enlarged(strip, enlarge), steps), output, overwrite=overwrite)
    typer.echo(f"{output}: {steps} pictures", err=True)
