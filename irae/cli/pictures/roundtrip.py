"""``irae roundtrip``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from irae.cli.options import Device, Json
from irae.errors import IraeError, UsageError, for_command_line


def roundtrip(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT…", help="Files, globs, folders.")],
    model: Annotated[str, typer.Option(help="A packaged name or a model file.")] = "denoise",
    mask: Annotated[
        Path | None, typer.Option(help="A mask (white = hole), for an inpainting model.")
    ] = None,
    bound: Annotated[
        float, typer.Option(min=0, help="Largest error allowed, in 8-bit units.")
    ] = 0.5,
    device: Device = "auto",
    recursive: Annotated[bool, typer.Option("--recursive", help="Also search subfolders.")] = False,
    levels: Annotated[
        bool,
        typer.Option(
            "--levels",
            help="Also measure the round trip of every level of both flows by itself, in float64,"
            " in float32 and with bfloat16 subnets.",
        ),
    ] = False,
    map_: Annotated[
        Path | None,
        typer.Option("--map", help="Draw the error map of one picture as a PNG."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the map.")] = False,
    json_: Json = False,
) -> None:
    """Restore pictures, run the network backward, and measure the error of the round trip.

    A lifted network (denoise) is run backward from the restored picture and the remainder,
    twice: exactly, which recovers every bit of the file's pixels, and in plain float32 arithmetic.
    A strict one is run backward from the restored picture alone, before it is rounded.

    The subnets run in float32. An inpainting model is measured from the filled picture, before
    known pixels are put back; without --mask its holes are random brush strokes from a fixed seed.
    The exit code is 1 if any error exceeds the bound.

    With --levels the whole network is also measured in each precision; the bound is for float32.

    Example: irae roundtrip noisy.png
    """
    import json
    import math
    from dataclasses import asdict

    from irae.flow.lifted import GRID
    from irae.imaging.degrade import irregular_mask
    from irae.imaging.io.files import read_picture, write_picture
    from irae.imaging.io.find import find_pictures
    from irae.imaging.io.masks import read_mask
    from irae.imaging.io.pillow import picture_from_pil
    from irae.inverse.error_map import draw_error_map
    from irae.inverse.round_trip import measure_reversibility
    from irae.models.checkpoints.model_file import load_model
    from irae.runtime import generator, is_out_of_memory, select_device
    from irae.tasks.matching import task_of

    loaded = load_model(model).to(select_device(device), "fp32")
    task = task_of(loaded)
    if mask is not None and not task.needs_mask:
        raise UsageError(f"model {model!r} ({task.name}) takes no --mask")
    rows: list[dict[str, Any]] = []
    failed = False

    def refuse(entry: str, reason: str) -> None:
        nonlocal failed
        failed = True
        reason = for_command_line(reason)
        typer.echo(f"irae: error: {reason}", err=True)
        rows.append({"input": entry, "error": reason})

    found = find_pictures(
        inputs, recursive=recursive, on_error=lambda entry, error: refuse(str(entry), str(error))
    )
    if map_ is not None and len(found) > 1:
        raise UsageError(f"{map_}: one map for {len(found)} pictures; name one picture")
    if map_ is not None and map_.suffix.lower() != ".png":
        raise UsageError(f"{map_}: maps are PNG files; name it .png")
    for index, path in enumerate(found):
        try:
            source = read_picture(path)
            picture = source.pixels[:3].expand(3, -1, -1)[None]
            height, width = picture.shape[2:]
            hole = None
            if mask is not None:
                hole = read_mask(mask, height=height, width=width, orientation=source.orientation)[
                    None
                ]
            elif task.needs_mask:
                hole = irregular_mask(height, width, generator(index))[None]
            exact = None
            if loaded.exact:
                top = 2**source.layout.depth - 1
                given, _, recovered = loaded.round_trip(picture, hole)
                same = (given * top).round() == (recovered * top).round()
                if hole is not None:  # What fills a hole comes back to the grid of the state.
                    same |= hole & ((given - recovered).abs() <= GRID)
                exact = bool(same.all())
            given, _, recovered = loaded.round_trip(picture, hole, exact=False)
            parts = measure_reversibility(loaded, picture, hole) if levels else []
        except IraeError as error:
            refuse(str(path), str(error))
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            refuse(str(path), f"{path}: out of memory; round trips are never tiled, cut it first")
            continue
        difference = (given - recovered).cpu().double() * 255
        largest = float(difference.abs().max())
        rms = float(difference.square().mean().sqrt())
        if not math.isfinite(largest):
            refuse(str(path), f"{path}: the inverse returned numbers that are not finite")
            continue
        within = largest <= bound and exact is not False
        failed |= not within
        rows.append(
            {
                "input": str(path),
                "largest_error": largest,
                "rms_error": rms,
                "psnr": 20 * math.log10(255 / rms) if rms else None,
                "within_bound": within,
            }
        )
        if exact is not None:
            rows[-1]["exact"] = exact
        if levels:
            # JSON has no infinity.
            rows[-1]["levels"] = [
                {k: None if v == math.inf else v for k, v in asdict(part).items()} for part in parts
            ]
        if map_ is not None:
            page = picture_from_pil(draw_error_map(difference[0] / 255))
            write_picture(map_, page, overwrite=overwrite)
        if not json_:
            quality = f"{rows[-1]['psnr']:.1f} dB" if rms else "exact"
            verdict = "" if largest <= bound else f"  above the bound of {bound}/255"
            trips = {None: "", True: "bit for bit; in plain float32 ", False: "NOT exact; "}
            typer.echo(
                f"{path}: {trips[exact]}largest error {largest:.5f}/255, PSNR {quality}{verdict}"
            )
            for part in parts:
                where = f"{part.part} level {part.level}" if part.level else "there and back"
                where += ", exactly" if part.part == "exact" else ""
                typer.echo(
                    f"  {part.precision}  {where:<23}  largest {part.largest:.2e}/255"
                    f"  RMS {part.rms:.2e}/255"
                )
    if json_:
        report = {"model": model, "precision": "fp32", "bound": bound, "pictures": rows}
        typer.echo(json.dumps(report, indent=2))
    if failed:
        raise typer.Exit(1)
