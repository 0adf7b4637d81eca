"""``irae roundtrip``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from irae.errors import IraeError, UsageError


def roundtrip(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT…", help="Files, globs, folders.")],
    model: Annotated[str, typer.Option(help="A packaged name or a model file.")] = "denoise",
    mask: Annotated[
        Path | None, typer.Option(help="The holes (white), for an inpainting model.")
    ] = None,
    bound: Annotated[
        float, typer.Option(min=0, help="Largest error allowed, in 8-bit units.")
    ] = 0.5,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    recursive: Annotated[bool, typer.Option(help="Look into subfolders.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Restore pictures, run the network backward, and measure what comes back.

    The coupling networks run in float32. An inpainting model is measured from the smoothly filled
    picture, before known pixels are put back; without --mask its holes are brush strokes drawn from
    a fixed seed. The exit code is 1 if any error passes the bound.

    Example: irae roundtrip noisy.png
    """
    import json
    import math

    from irae.imaging.degrade import irregular_mask
    from irae.imaging.files import find_pictures, read_mask, read_picture
    from irae.imaging.tiling import is_out_of_memory
    from irae.models.files import load_model
    from irae.runtime import generator, select_device

    loaded = load_model(model).to(select_device(device), "fp32")
    if mask is not None and not loaded.takes_mask:
        raise UsageError(f"model {model!r} ({loaded.task}) takes no --mask")
    rows: list[dict[str, Any]] = []
    failed = False

    def refuse(entry: str, reason: str) -> None:
        nonlocal failed
        failed = True
        typer.echo(f"irae: error: {reason}", err=True)
        rows.append({"input": entry, "error": reason})

    found: list[Path] = []
    for entry in inputs:
        try:
            found += find_pictures([entry], recursive=recursive)
        except IraeError as error:
            refuse(entry, str(error))
    for index, path in enumerate(dict.fromkeys(found)):
        try:
            source = read_picture(path)
            picture = source.pixels[:3].expand(3, -1, -1)[None]
            height, width = picture.shape[2:]
            hole = None
            if mask is not None:
                hole = read_mask(mask, height=height, width=width, orientation=source.orientation)[
                    None
                ]
            elif loaded.takes_mask:
                hole = irregular_mask(height, width, generator(index))[None]
            given, _, recovered = loaded.round_trip(picture, hole)
        except IraeError as error:
            refuse(str(path), str(error))
            continue
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            refuse(str(path), f"{path}: out of memory; round trips are never tiled, cut it first")
            continue
        difference = (given - recovered).double() * 255
        largest = float(difference.abs().max())
        rms = float(difference.square().mean().sqrt())
        if not math.isfinite(largest):
            refuse(str(path), f"{path}: the way back gave numbers that are not finite")
            continue
        within = largest <= bound
        failed |= not within
        rows.append(
            {
                "input": str(path),
                "largest_error": largest,
                "psnr": 20 * math.log10(255 / rms) if rms else None,
                "within_bound": within,
            }
        )
        if not json_:
            quality = f"{rows[-1]['psnr']:.1f} dB" if rms else "exact"
            verdict = "" if within else f"  above the bound of {bound}/255"
            typer.echo(f"{path}: largest error {largest:.5f}/255, PSNR {quality}{verdict}")
    if json_:
        report = {"model": model, "precision": "fp32", "bound": bound, "pictures": rows}
        typer.echo(json.dumps(report, indent=2))
    if failed:
        raise typer.Exit(1)
