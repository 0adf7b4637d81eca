"""``irae import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.cli.options import known_task
from irae.errors import UsageError
from irae.tasks import get_task, task_names


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
        typer.Option(
            callback=known_task,
            help=f"{', '.join(task_names())}. Default: jpeg for .npz, else denoise.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output if it exists.")
    ] = False,
) -> None:
    """Convert published weights to a model file. The network is recognised by its tensors.

    Example: irae import ffdnet_color.pth -o ffdnet.safetensors
    """
    from irae.models.checkpoints.model_file import save_model
    from irae.models.checkpoints.third_party import load_foreign
    from irae.models.loaded import ModelSpec
    from irae.tasks.matching import missing_input, tasks_for

    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: a model file ends in .safetensors")
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: exists already; use --overwrite")
    network, found = load_foreign(checkpoint)
    task = task or found.task
    missing = missing_input(get_task(task), network)
    if missing is not None:
        does = ", ".join(each.name for each in tasks_for(network))
        raise UsageError(
            f"--task {task}: {checkpoint} holds {found.network}, which takes {missing}; "
            f"it does {does}"
        )
    card = {"imported_from": checkpoint.name}
    save_model(output, network, ModelSpec(found.network, found.options, task, card))
    keys = ("channels", "width", "depth", "levels", "layers")
    shape = ", ".join(f"{key} {found.options[key]}" for key in keys if key in found.options)
    typer.echo(f"{output}: {found.network} for {task}, {shape}", err=True)
