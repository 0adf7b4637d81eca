"""``irae noise``: the noise of one picture on another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.cli.options import Json, Overwrite


def noise(
    clean: Annotated[Path, typer.Argument(help="The picture that is to be noisy.")],
    like: Annotated[Path, typer.Option(help="A picture with the noise wanted.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write.")],
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 0,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Give a clean picture the noise of another.

    Strength and correlation of the noise, across space and colours, are measured in the flat
    parts of the other picture, and noise like them is drawn anew.

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
