"""``irae score``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irae.cli.options import Device, Fit, Inputs, Json, Overwrite, Recursive

if TYPE_CHECKING:
    from irae.evaluation.density.scores import PictureScores


def score(
    inputs: Inputs,
    model: Annotated[
        str, typer.Option("--model", help="A packaged density, model file or run.")
    ] = "fashion",
    background: Annotated[
        str | None,
        typer.Option("--background", help="Background density for the likelihood ratio."),
    ] = None,
    draws: Annotated[
        int, typer.Option("--draws", min=1, max=1000, help="Draws of dequantisation noise.")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the noise.")] = 0,
    fit: Fit = False,
    device: Device = "auto",
    recursive: Recursive = False,
    json_: Json = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Also write the scores here.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score pictures: bits per dimension, and anomaly scores with their percentiles.

    A percentile is the place of a score among held-out training pictures: above 99, hardly any of
    them scores as high. The likelihood alone (bits_per_dim) is no anomaly score.

    A picture that cannot be scored does not stop the others; the exit code is then 1.

    Example: irae score pictures/ --model fashion --json
    """
    import json
    import sys

    import torch
    from tqdm import tqdm

    from irae.errors import IraeError, PictureError, for_command_line
    from irae.evaluation.density.pictures import check_target, read_for
    from irae.evaluation.density.scores import check_background, score_pictures
    from irae.imaging.io.find import find_pictures
    from irae.models.checkpoints.model_file import load_density
    from irae.runtime import select_device

    loaded = load_density(model).to(select_device(device))
    other = None if background is None else load_density(background).to(loaded.device)
    if other is not None:
        check_background(loaded, other)
    if csv is not None:
        check_target(csv, overwrite, (".csv",))
    files, pictures, failed = [], [], 0
    paths = find_pictures(list(inputs), recursive=recursive)
    for path in tqdm(paths, desc="reading", unit="picture", disable=None):
        try:
            pictures.append(read_for(loaded, path, fit=fit))
            files.append(path)
        except IraeError as error:
            failed += 1
            tqdm.write(f"irae: error: {for_command_line(str(error))}", file=sys.stderr)
    if not files:
        if failed == 1:  # Its own line says it all.
            raise typer.Exit(PictureError.exit_code)
        raise PictureError(f"none of the {failed} pictures could be scored; see the lines above")
    total = len(files) * (1 if other is None else 2)
    with tqdm(total=total, desc="scoring", unit="picture", disable=None) as bar:
        found = score_pictures(
            loaded, files, torch.stack(pictures), other, draws=draws, seed=seed, advance=bar.update
        )
    if csv is not None:
        _write_csv(found, csv)
    if json_:
        typer.echo(json.dumps([each.to_dict() for each in found], indent=2, allow_nan=False))
    else:
        _print(found)
    if failed:
        raise typer.Exit(PictureError.exit_code)


def _print(found: list[PictureScores]) -> None:
    for each in found:
        parts = [
            f"{name} {value:.3f}"
            + (f" ({each.percentiles[name]:.0f} %)" if name in each.percentiles else "")
            for name, value in each.scores.items()
        ]
        typer.echo(f"{each.file}: " + ", ".join(parts))


def _write_csv(found: list[PictureScores], path: Path) -> None:
    import csv
    import io

    from irae.writing import write_atomically

    text = io.StringIO()
    names, places = list(found[0].scores), list(found[0].percentiles)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", *names, *(f"{name}_percentile" for name in places)])
    for each in found:
        values = [each.scores[name] for name in names]
        writer.writerow([each.file, *values, *(each.percentiles[name] for name in places)])
    write_atomically(path, lambda temporary: temporary.write_text(text.getvalue(), "utf-8"))
