"""``irae information``: measure the information that a network's stages keep of its input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.cli.options import Device, Json, Root, print_measured
from irae.errors import UsageError


def information(
    models: Annotated[
        str,
        typer.Option(
            "--models",
            metavar="NAME,...",
            help="Packaged names, model files, runs, or NETWORK[:PRESET] untrained, separated by"
            " commas. Required.",
        ),
    ] = "",
    data: Annotated[
        str,
        typer.Option("--data", help="A folder, or celeba, flowers, birds (their test part)."),
    ] = "photos_val",
    sigma: Annotated[
        float, typer.Option("--sigma", help="Noise in the networks' input, 0 to 255.")
    ] = 25.0,
    noise: Annotated[
        float,
        typer.Option(
            "--noise",
            help="Standard deviation of the noise added to the whitened components of a stage"
            " before its mutual information is estimated; above 0.",
        ),
    ] = 0.3,
    dimension: Annotated[
        int, typer.Option("--dimension", help="Principal components on either side, 1 to 8.")
    ] = 3,
    budget: Annotated[
        int, typer.Option("--budget", help="Training steps of each probing decoder.")
    ] = 150,
    pictures: Annotated[
        int, typer.Option("--pictures", help="Only the first N; every fourth is held out.")
    ] = 32,
    seed: Annotated[int, typer.Option("--seed", help="Seed of all randomness.")] = 0,
    device: Device = "auto",
    root: Root = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="Folder for information.json and, with matplotlib, a figure."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace those files.")] = False,
    as_json: Json = False,
) -> None:
    """Measure where networks lose information about their input, stage by stage.

    Each stage has the PSNR at which the input can be recovered (by the exact inverse of a flow,
    or else by a trained decoder), and its mutual information with the input, estimated by nearest
    neighbours (KSG) and by a trained network (MINE) after noise was added. A network is
    deterministic, so without this noise the mutual information would be infinite; only results at
    the same level of noise can be compared.

    Example: irae information --models denoise,unet -o report/
    """
    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise UsageError("--models names no model; write it as in --models denoise,unet")
    if len(set(names)) < len(names):
        raise UsageError(f"--models {models!r} names a model twice")
    if pictures < 2:
        raise UsageError(f"--pictures is {pictures}; use at least 2, one is held out")
    _check_folder(out, overwrite)

    from irae.data.registry import open_data
    from irae.evaluation.information.figures import can_draw, draw_information
    from irae.evaluation.information.measure import measure
    from irae.evaluation.information.results import Settings, write_information
    from irae.models.create import named_model
    from irae.runtime import select_device

    settings = Settings(sigma=sigma, noise=noise, dimension=dimension, budget=budget, seed=seed)
    settings.check()
    where = select_device(device)
    loaded = [named_model(name).to(where) for name in names]
    found = measure(
        loaded,
        open_data(data, root=root, split="test"),
        settings,
        max_pictures=pictures,
        progress=True,
    )
    print_measured(found, as_json)
    # Written last, so that a full disk does not lose the measurement.
    if out is not None:
        write_information(found, out)
        if can_draw():
            draw_information(found, out)
        else:
            typer.echo("no figure: install it with pip install 'irae[report]'", err=True)


def _check_folder(out: Path | None, overwrite: bool) -> None:
    """Check the output folder before minutes of measuring."""
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise UsageError(f"-o {out} is a file; give a folder")
    from irae.evaluation.information.figures import PNG_NAME
    from irae.evaluation.information.results import JSON_NAME

    for name in (JSON_NAME, PNG_NAME):
        if (out / name).exists() and not overwrite:
            raise UsageError(f"{out / name} exists; give another folder or --overwrite")
