"""``irae train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.errors import UsageError


def train(
    config: Annotated[
        str | None,
        typer.Option(help="A YAML file, or a shipped config such as denoise.yaml."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUN", help="Folder of the run.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Go on with this run.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=0, help="Stop when the run has taken this many steps in all.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0, help="Stop after this time.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="fp32 or bf16, for the coupling networks.")
    ] = None,
) -> None:
    """Train a model as a config says, in a run folder that can be resumed at any moment.

    Example: irae train --config denoise.yaml --set data.root=data -o runs/denoise
    """
    if (config is None) == (resume is None):
        raise UsageError("give either --config FILE|NAME or --resume RUN")
    if resume is not None and output is not None:
        raise UsageError("--resume goes on in its own folder; leave out -o")
    from datetime import datetime

    from irae.config import load_config
    from irae.runtime import select_device
    from irae.training.checkpoint import CONFIG_FILE

    overrides = [*(set_ or []), *([f"training.precision={precision}"] if precision else [])]
    chosen = select_device(device)
    if resume is not None:
        changed = None
        if overrides:
            path = resume / CONFIG_FILE
            if not path.is_file():
                raise UsageError(f"{resume}: holds no {CONFIG_FILE}; it is not a run")
            changed = load_config(path, overrides)
        from irae.training import loop

        run = loop.resume(resume, chosen, changed)
    else:
        resolved = load_config(str(config), overrides)
        from irae.training import loop

        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        run = loop.begin(
            resolved, output or Path("runs") / f"{Path(str(config)).stem}-{stamp}", chosen
        )
    loop.train(run, max_steps=max_steps, max_minutes=max_minutes)
    best = "no validation yet" if run.best < 0 else f"best validation {run.best:.3f} dB"
    typer.echo(f"{run.folder}: {run.step} steps, {best}", err=True)
