"""``irae sample``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.cli.options import Device, Overwrite
from irae.errors import UsageError

MOST = 100_000


def sample(
    model: Annotated[str, typer.Argument(help="A packaged density, model file or run.")],
    count: Annotated[int, typer.Option("-n", "--count", help="Number of pictures.")] = 64,
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", help="Factor on the latents; below 1: likelier, less varied."
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the latents.")] = 0,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", metavar="PNG|DIR", help="One grid, or a folder of single files."
        ),
    ] = Path("samples.png"),
    columns: Annotated[
        int | None, typer.Option("--columns", help="Columns of the grid. Default: a square.")
    ] = None,
    enlarge: Annotated[
        int, typer.Option("--enlarge", min=1, max=32, help="Repeat every pixel, to see them.")
    ] = 1,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Draw new pictures from a density.

    Temperature 1 is the model itself. A lower one gives likelier, smoother and less varied
    pictures, so it must be stated with them.

    Example: irae sample fashion -n 64 --temperature 0.7 --seed 0 -o grid.png
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"`count` is {count}; use 1 to {MOST:,}")
    if columns is not None and columns < 1:
        raise UsageError(f"`columns` is {columns}; use at least 1")
    import math

    from irae.evaluation.density.pictures import check_target, enlarged, grid, write_png
    from irae.models.checkpoints.model_file import load_density
    from irae.runtime import select_device

    loaded = load_density(model)
    single = not output.suffix
    paths = [output / f"{i:0{len(str(count - 1))}d}.png" for i in range(count)]
    for path in paths if single else [output]:
        check_target(path, overwrite)
    loaded.to(select_device(device))
    pictures = loaded.sample(count, temperature=temperature, seed=seed)
    if single:
        for path, picture in zip(paths, pictures, strict=True):
            write_png(enlarged(picture, enlarge), path, overwrite=overwrite)
    else:
        sheet = grid(enlarged(pictures, enlarge), columns or math.ceil(math.sqrt(count)))
        write_png(sheet, output, overwrite=overwrite)
    noun = "picture" if count == 1 else "pictures"
    typer.echo(f"{output}: {count} {noun} at temperature {temperature:g}, seed {seed}", err=True)
