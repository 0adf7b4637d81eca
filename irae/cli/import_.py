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
    from irae.errors import ModelError
    from irae.models.files import ModelSpec, save_model
    from irae.models.peers import read_foreign
    from irae.models.registry import NETWORKS, TASKS, build_network

    if task not in (None, *TASKS):
        raise UsageError(f"--task {task!r} is unknown; there are: {', '.join(TASKS)}")
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: a model file ends in .safetensors")
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: exists already; use --overwrite")
    found = read_foreign(checkpoint)
    task = task or found.task
    if task not in NETWORKS[found.network].tasks:
        raise UsageError(
            f"--task {task}: {checkpoint} holds {found.network}, which does "
            f"{', '.join(NETWORKS[found.network].tasks)}"
        )
    network = build_network(found.network, found.options)
    missing = sorted(set(network.state_dict()) ^ set(found.state))
    if missing:
        raise ModelError(f"{checkpoint}: is incomplete or irregular; see tensor {missing[0]!r}")
    try:
        network.load_state_dict(found.state)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise ModelError(f"{checkpoint}: its tensors do not fit one network: {first}") from None
    card = {"imported_from": checkpoint.name}
    save_model(output, network, ModelSpec(found.network, found.options, task, card))
    keys = ("channels", "width", "depth", "levels", "layers")
    shape = ", ".join(f"{key} {found.options[key]}" for key in keys if key in found.options)
    typer.echo(f"{output}: {found.network} for {task}, {shape}", err=True)
