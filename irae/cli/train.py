"""``irae train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irae.cli.options import Device
from irae.errors import UsageError

if TYPE_CHECKING:
    import torch

    from irae.config import RunConfig


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
    device: Device = "auto",
    precision: Annotated[
        str | None, typer.Option(help="auto, fp32 or bf16, for the coupling networks.")
    ] = None,
) -> None:
    """Train a model as a config says, in a run folder that can be resumed at any moment.

    Example: irae train --config denoise.yaml --set data.root=data -o runs/denoise

    On several GPUs: torchrun --nproc-per-node 4 -m irae train ...
    """
    if (config is None) == (resume is None):
        raise UsageError("give either --config FILE|NAME or --resume RUN")
    if resume is not None and output is not None:
        raise UsageError("--resume goes on in its own folder; leave out -o")
    from irae.training.distributed import local_device, processes

    overrides = [*(set_ or []), *([f"training.precision={precision}"] if precision else [])]
    with processes() as ranks:
        chosen = ranks.together(lambda: _select(local_device(device)))
        # Files are read, and the folder named after the time, by one process for all.
        changed, folder = ranks.on_main(lambda: _plan(config, resume, overrides, output))
        from irae.training import loop, run

        if changed is not None and resume is None:
            going = run.begin(changed, folder, chosen, ranks)
        else:
            going = run.resume(folder, chosen, changed, ranks)
        loop.train(going, max_steps=max_steps, max_minutes=max_minutes)
        if ranks.main:
            best = "no validation yet" if going.best < 0 else f"best validation {going.best:.3f} dB"
            typer.echo(f"{folder}: {going.step} steps, {best}", err=True)


def _select(device: str) -> torch.device:
    from irae.runtime import select_device, use_device

    chosen = select_device(device)
    use_device(chosen)
    return chosen


def _plan(
    config: str | None, resume: Path | None, overrides: list[str], output: Path | None
) -> tuple[RunConfig | None, Path]:
    """The config of a new run, or what replaces a resumed one's (None: its own), and its folder."""
    from datetime import datetime

    from irae.config import load_config
    from irae.training.checkpoint import CONFIG_FILE

    if resume is None:
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        name = Path("runs") / f"{Path(str(config)).stem}-{stamp}"
        return load_config(str(config), overrides), output or name
    if not overrides:
        return None, resume
    path = resume / CONFIG_FILE
    if not path.is_file():
        raise UsageError(f"{resume}: holds no {CONFIG_FILE}; it is not a run")
    return load_config(path, overrides), resume
