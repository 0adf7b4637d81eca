"""``irae inspect``: find the damage of pictures, and what ``irae restore`` would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from irae.cli.options import Detector, Device, Inputs, Overwrite, Recursive
from irae.errors import UsageError

if TYPE_CHECKING:
    from irae.models.loaded_patches import LoadedPatchDensity
    from irae.restoring.automatic.inspection import Inspection
    from irae.restoring.find_damage import DamageFinder


def inspect_(
    inputs: Inputs,
    recursive: Recursive = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each picture.")
    ] = False,
    damage_map: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help="Also write the probability that each pixel of one picture is damaged by"
            " scratches, dust, hairs or a stamp: black 0, white 1.",
        ),
    ] = None,
    detector: Detector = None,
    improbable: Annotated[
        Path | None,
        typer.Option(
            metavar="PNG",
            help="Also draw what the surroundings of one picture's pixels do not foretell: black"
            " as expected, white far from it. Small things of the photograph are among them.",
        ),
    ] = None,
    improbable_model: Annotated[
        str,
        typer.Option(
            metavar="MODEL", help="For --improbable: a density of patches, a name, file or run."
        ),
    ] = "patches",
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Estimate the noise and the JPEG quality of pictures, and find their masks.

    Each page of a TIFF is a picture of its own.

    The line "restore" shows what irae restore does without --task, --model and --mask.
    The exit code is 3 when some pictures could not be read.

    Example: irae inspect photo.jpg
    """
    import json

    from irae.batch.progress import Console
    from irae.errors import IraeError, for_command_line
    from irae.imaging.io.find import find_pictures
    from irae.restoring.automatic.inspect_picture import inspect_pages

    finder = None
    if damage_map is not None:
        _check_map("--damage-map", damage_map, inputs, overwrite)
        finder = _load_finder(detector, device)
    elif detector is not None:
        raise UsageError("--detector is for the map of the damage; add --damage-map")
    density = None
    if improbable is not None:
        _check_map("--improbable", improbable, inputs, overwrite)
        density = _load_density(improbable_model, device)
    failed = False

    def fail(name: object, error: Exception) -> None:
        nonlocal failed
        failed = True
        Console.error(str(error))
        if as_json:
            typer.echo(json.dumps({"input": str(name), "error": for_command_line(str(error))}))

    for name in inputs:
        try:
            paths = find_pictures([name], recursive=recursive)
        except IraeError as error:
            fail(name, error)
            continue
        for path in paths:
            try:
                damage = None
                if damage_map is not None and finder is not None:
                    damage = _draw_map(path, damage_map, finder)
                if improbable is not None and density is not None:
                    _draw_improbable(path, improbable, density)
                for found in inspect_pages(path):
                    _say(found, damage, as_json=as_json)
            except IraeError as error:
                fail(path, error)
    if failed:
        raise typer.Exit(3)


def _say(found: Inspection, damage: tuple[str, dict[str, Any]] | None, *, as_json: bool) -> None:
    """Print what was found in a picture or a page, and its damage in words and as JSON."""
    import json

    if as_json:
        typer.echo(json.dumps(found.as_json() | ({} if damage is None else damage[1])))
        return
    lines = [] if damage is None else [f"  damage: {damage[0]}"]
    typer.echo("\n".join([*found.as_lines(), *lines]))


def _check_map(option: str, path: Path, inputs: list[str], overwrite: bool) -> None:
    """Check the options of a map before anything is inspected."""
    if len(inputs) != 1 or not Path(inputs[0]).is_file():
        raise UsageError(f"{option} draws the map of one picture; give one file")
    if path.suffix.lower() != ".png":
        raise UsageError(f"{option} {path}: the map must end in .png")
    if path.exists() and not overwrite:
        raise UsageError(f"{option} {path} exists; give another name or --overwrite")


def _load_finder(detector: str | None, device: str) -> DamageFinder:
    from irae.restoring.find_damage import DETECTOR, DamageFinder

    return DamageFinder(detector or DETECTOR, device=device)


def _load_density(name: str, device: str) -> LoadedPatchDensity:
    from irae.models.checkpoints.model_file import load_patch_density
    from irae.runtime import select_device

    return load_patch_density(name).to(select_device(device))


def _draw_improbable(source: Path, path: Path, density: LoadedPatchDensity) -> None:
    """Write the map of what is improbable in a picture."""
    from irae.imaging.io.files import read_picture, write_picture
    from irae.imaging.io.picture import Layout, Picture, to_upright
    from irae.restoring.improbable import STRANGE, improbability, to_map

    picture = read_picture(source)
    seen = None if picture.alpha is None else picture.alpha > 0
    found = improbability(density, picture.pixels[:3], seen=seen)
    upright = to_upright(to_map(found), picture.orientation)
    write_picture(path, Picture(upright, None, Layout(mode="L")), overwrite=True)
    share = float((found > STRANGE).float().mean())
    typer.echo(f"{path}: {share:.1%} of the pixels are improbable", err=True)


def _draw_map(source: Path, path: Path, finder: DamageFinder) -> tuple[str, dict[str, Any]]:
    """Write the map of a picture; return what was found, in words and as plain JSON."""
    from irae.imaging.io.files import read_picture, write_picture
    from irae.imaging.io.picture import Layout, Picture, to_upright

    picture = read_picture(source)
    probabilities = finder.probabilities(picture.pixels)
    found = finder.found_in(probabilities, picture.pixels)
    upright = to_upright(probabilities, picture.orientation)
    write_picture(path, Picture(upright, None, Layout(mode="L")), overwrite=True)
    return found.describe(), found.as_json()
