"""``irae speed``: measure speed and memory on this machine."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from irae.cli.options import Device, Json
from irae.errors import UsageError

app = typer.Typer(
    help="Measure speed and memory of models on this machine.\n\nExample: irae speed restore"
)

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="A packaged name, a model file, or NETWORK:PRESET untrained; may be repeated."
        " Default: the packaged denoiser, the paper's, FFDNet and DnCNN.",
    ),
]
Precisions = Annotated[
    Literal["auto", "fp32", "bf16", "both"],
    typer.Option(help="auto: fp32, and bf16 if it is faster on this device."),
]
Rounds = Annotated[int, typer.Option(min=1, help="Measured runs of each; the median counts.")]
Compiled = Annotated[
    bool, typer.Option("--compile", help="Measure each model compiled by torch.compile, too.")
]


@app.command()
def restore(
    model: Models = None,
    size: Annotated[str, typer.Option(metavar="HxW", help="Picture size.")] = "512x768",
    rounds: Rounds = 5,
    precision: Precisions = "auto",
    compiled: Compiled = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time restoring one picture by each model.

    Example: irae speed restore --size 512x768
    """
    from irae.evaluation.speed import bench
    from irae.runtime import select_device

    parts = size.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UsageError(f"--size {size!r}: give HEIGHTxWIDTH, such as 512x768")
    chosen = select_device(device)
    rows = bench.bench_restore(
        model or bench.RESTORE_MODELS,
        height=int(parts[0]),
        width=int(parts[1]),
        rounds=rounds,
        precisions=_precisions(precision, chosen),
        device=chosen,
        compiled=compiled,
    )
    _print(rows, "megapixels/s", chosen, as_json)


@app.command()
def train(
    model: Models = None,
    size: Annotated[int, typer.Option(min=16, help="Side of a patch in pixels.")] = 64,
    batch: Annotated[int, typer.Option(min=1, help="Patches per step.")] = 8,
    rounds: Rounds = 5,
    precision: Precisions = "auto",
    compiled: Compiled = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Time training steps; flows with plain autograd and with recomputed activations.

    Example: irae speed train --batch 8 --size 64
    """
    from irae.evaluation.speed import bench
    from irae.runtime import select_device

    chosen = select_device(device)
    rows = bench.bench_train(
        model or bench.TRAIN_MODELS,
        batch=batch,
        patch=size,
        rounds=rounds,
        precisions=_precisions(precision, chosen),
        device=chosen,
        compiled=compiled,
    )
    _print(rows, "patches/s", chosen, as_json)


def _precisions(asked: str, device: Any) -> list[str]:
    from irae.runtime import bfloat16_is_faster

    if asked == "auto":
        return ["fp32", "bf16"] if bfloat16_is_faster(device) else ["fp32"]
    return ["fp32", "bf16"] if asked == "both" else [asked]


def _print(rows: Any, unit: str, device: Any, as_json: bool) -> None:
    import json

    from irae.evaluation.speed import bench

    if as_json:
        typer.echo(json.dumps(bench.as_json(rows, device), indent=2))
        return
    described = ", ".join(f"{key} {value}" for key, value in bench.machine(device).items())
    typer.echo(f"{described}\n", err=True)
    typer.echo(bench.table(rows, unit))
