"""``irae noise``: transfer the noise of one picture to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.cli.options import Json, Overwrite


def noise(
    clean: Annotated[Path, typer.Argument(help="The picture to add noise to.")],
    like: Annotated[Path, typer.Option(help="A picture with the desired noise.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")],
    seed: Annotated[int, typer.Option(help="Seed of the noise.")] = 0,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Add noise like that of another picture to a clean picture.

    Strength and correlation of the noise, across space and colours, are measured in the flat
    parts of the other picture, and new noise with these properties is drawn.

    Example: irae noise clean.png --like noisy.jpg -o degraded.png
    """
    import json

    from irae.imaging.io.files import read_picture, write_picture
    from irae.inverse.noise_transfer import noise_like
    from irae.runtime import generator

    picture, sample = read_picture(clean), read_picture(like)
    made = noise_like(picture.pixels, sample.pixels, generator(seed))
    write_picture(out, picture.with_pixels(made.clamp(0, 1)), overwrite=overwrite)
    added = [255 * float(band.std()) for band in made - picture.pixels]
    if json_:
        typer.echo(json.dumps({"output": str(out), "seed": seed, "sigma": added}, indent=2))
    else:
        typer.echo(out)
