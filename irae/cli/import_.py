"""``irae import``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.errors import UsageError


def import_(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint of the authors' code (.pt).")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The model file to write.")],
    task: Annotated[str, typer.Option(help="denoise, jpeg or inpaint.")] = "denoise",
    overwrite: Annotated[bool, typer.Option(help="Replace the output if it exists.")] = False,
) -> None:
    """Turn a checkpoint of the published IRAE code into a model file.

    Example: irae import authors.pt -o model.safetensors
    """
    from irae.models.authors import read_authors_checkpoint
    from irae.models.files import ModelSpec, save_model
    from irae.models.registry import TASKS, build_network

    if task not in TASKS:
        raise UsageError(f"--task {task!r} is unknown; there are: {', '.join(TASKS)}")
    if output.suffix != ".safetensors":
        raise UsageError(f"{output}: a model file ends in .safetensors")
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: exists already; use --overwrite")
    options, state = read_authors_checkpoint(checkpoint)
    network = build_network("irae", options)
    missing = sorted(set(network.state_dict()) ^ set(state))
    if missing:
        from irae.errors import ModelError

        raise ModelError(f"{checkpoint}: is incomplete or irregular; see tensor {missing[0]!r}")
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        from irae.errors import ModelError

        first = str(error).splitlines()[-1].strip()
        raise ModelError(f"{checkpoint}: its tensors do not fit one network: {first}") from None
    save_model(
        output, network, ModelSpec("irae", options, task, {"imported_from": checkpoint.name})
    )
    shape = f"width {options['width']}, depth {options['depth']}, levels {options['levels']}"
    typer.echo(f"{output}: {shape}", err=True)
