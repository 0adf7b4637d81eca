"""``irae import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.errors import UsageError


def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="Published weights: IRAE (.pt), DnCNN or FFDNet (.pth), DnCNN-3 (.npz)."
        ),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write.")],
    task: Annotated[
        str | None,
        typer.Option(help="denoise, jpeg or inpaint. Default: jpeg for .npz, else denoise."),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the output if it exists.")] = False,
) -> None:
    """Turn published weights into a model file. Which network they are of, their tensors tell.

    Example: irae import ffdnet_color.pth -o ffdnet.safetensors
    """
    from irae.models.files import save_model
    from irae.models.loaded import ModelSpec
    from irae.models.peers import load_foreign
    from irae.models.registry import NETWORKS, TASKS

    if task not in (None, *TASKS):
        raise UsageError(f"--task {task!r} is unknown; there are: {', '.join(TASKS)}")
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: a model file ends in .safetensors")
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: exists already; use --overwrite")
    network, found = load_foreign(checkpoint)
    task = task or found.task
    if task not in NETWORKS[found.network].tasks:
        raise UsageError(
            f"--task {task}: {checkpoint} holds {found.network}, which does "
            f"{', '.join(NETWORKS[found.network].tasks)}"
        )
    card = {"imported_from": checkpoint.name}
    save_model(output, network, ModelSpec(found.network, found.options, task, card))
    keys = ("channels", "width", "depth", "levels", "layers")
    shape = ", ".join(f"{key} {found.options[key]}" for key in keys if key in found.options)
    typer.echo(f"{output}: {found.network} for {task}, {shape}", err=True)
