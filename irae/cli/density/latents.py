"""``irae latents``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irae.cli.options import Device, Fit, Overwrite
from irae.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 512
"""Side of the square in the middle of a large picture that is shown."""


def latents(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The picture.")],
    model: Annotated[
        str,
        typer.Option("--model", help="A density or a lifted restoring model: name, file or run."),
    ] = "fashion",
    other: Annotated[
        Path | None,
        typer.Option("--other", help="A picture from which parts of the latent are taken."),
    ] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="HTML", help="The page.")
    ] = Path("latents.html"),
    seed: Annotated[int, typer.Option("--seed", help="Seed of what is redrawn.")] = 0,
    fit: Fit = False,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Write a page about where a model puts the parts of a picture; it opens offline.

    Of a density: what each level holds, and the picture with a level zeroed, redrawn at five
    temperatures, or taken from another picture. Of a lifted restoring model: the picture after
    every coupling, the remainder, the state in the middle, and the picture joined again with
    other remainders. Large pictures are cut to 512×512 in their middle.

    Example: irae latents shoe.png --model fashion -o page.html
    """
    from irae.evaluation.density.pictures import check_target, read_for
    from irae.evaluation.latents.of_density import density_sections
    from irae.evaluation.latents.of_restorer import lifted_network, restorer_sections
    from irae.evaluation.latents.page import render
    from irae.models.checkpoints.model_file import is_density, load_density, load_model
    from irae.runtime import select_device
    from irae.writing import write_atomically

    check_target(output, overwrite, (".html",))
    chosen = select_device(device)
    if is_density(model):
        density = load_density(model)
        picture = read_for(density, file, fit=fit)
        second = None if other is None else read_for(density, other, fit=fit)
        density.to(chosen)
        sections = density_sections(density, picture, second, seed)
    else:
        if fit:
            raise UsageError(f"`fit` is for densities, and {model} restores pictures of any size")
        restoring = load_model(model)
        lifted_network(restoring)
        restoring.to(chosen)
        given = _read_middle(file)
        taken = None if other is None else _read_middle(other)
        if taken is not None and taken.shape != given.shape:
            raise UsageError(
                f"{other}: is of another size than {file}; give pictures of the same size"
            )
        sections = restorer_sections(restoring, given, taken, seed)
    page = render(f"{file.name} in the latent of {model}", _introduction(model), sections)
    write_atomically(output, lambda temporary: temporary.write_text(page, "utf-8"))
    typer.echo(f"{output}: {len(sections)} sections", err=True)


def _introduction(model: str) -> str:
    return (
        f"{model} is invertible: nothing of the picture is lost on the way into its latent, so "
        "every part of the latent can be changed by itself and looked at as a picture."
    )


def _read_middle(path: Path) -> Tensor:
    """Read a picture's middle, at most 512×512: float32 ``3 H W`` in [0, 1]."""
    from irae.data.folder import PictureSet

    pixels = PictureSet(path.name, [path]).load(0)
    top, left = (max(0, side - SIDE) // 2 // 8 * 8 for side in pixels.shape[1:])
    return pixels[:, top : top + SIDE, left : left + SIDE].float() / 255
