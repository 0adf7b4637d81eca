"""``irae train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irae.cli.options import STOPPED, Device, Overrides
from irae.errors import UsageError

if TYPE_CHECKING:
    import torch

    from irae.config import RunConfig


def train(
    config: Annotated[
        str | None,
        typer.Option(help="A YAML file, or a shipped config such as denoise.yaml."),
    ] = None,
    set_: Overrides = None,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR",
            help="Folder of pictures, or celeba, flowers, birds; may be repeated. Default: data.",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Validation pictures. Default: some are kept apart."),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="MODEL", help="Start from a packaged model, a model file or a run."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUN", help="Folder of the run.")
    ] = None,
    resume: Annotated[Path | None, typer.Option(metavar="RUN", help="Resume this run.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=0, help="Stop when the run has taken this many steps in all.")
    ] = None,
    max_minutes: Annotated[float | None, typer.Option(min=0, help="Stop after this time.")] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0, help="Fit the whole schedule into this time; validations take time besides."
        ),
    ] = None,
    device: Device = "auto",
    precision: Annotated[
        str | None, typer.Option(help="Precision of the subnets: auto, fp32 or bf16.")
    ] = None,
) -> None:
    """Train a model by a config, in a run folder from which it can be resumed at any time.

    Example: irae train --config denoise.yaml --data photos -o runs/denoise

    Ctrl-C saves and stops, and so do SIGTERM, SIGHUP and SIGUSR1; the exit code is then 4.

    On several GPUs: torchrun --nproc-per-node 4 -m irae train ...
    """
    if (config is None) == (resume is None):
        raise UsageError("give either --config FILE|NAME or --resume RUN")
    if resume is not None and output is not None:
        raise UsageError("--resume goes on in its own folder; leave out -o")
    if resume is not None and (data or validation or from_):
        raise UsageError("--resume goes on as begun; leave out --data, --validation and --from")
    if minutes is not None and (max_steps is not None or max_minutes is not None or resume):
        raise UsageError("--minutes is for a new run, without --max-steps and --max-minutes")
    if precision not in (None, "auto", "fp32", "bf16"):
        raise UsageError(f"--precision {precision} is unknown; use auto, fp32 or bf16")
    from irae.training import loop, run, time_budget
    from irae.training.checkpoint import check_new
    from irae.training.distributed import local_device, processes
    from irae.training.prepare import prepare

    overrides = [*(set_ or []), *([f"training.precision={precision}"] if precision else [])]
    with processes() as ranks:
        chosen = ranks.together(lambda: _select(local_device(device)))
        # One process reads the files, and names the folder after the time, for all.
        changed, folder = ranks.on_main(lambda: _plan(config, resume, overrides, output))
        if changed is not None and resume is None:
            new, own = changed, any(each.startswith("model.") for each in set_ or [])
            changed = ranks.on_main(
                lambda: prepare(new, data or (), validation, from_, own_network=own)
            )
            if data and new.data.train and ranks.main:
                named = ", ".join(source.source for source in new.data.train)
                typer.echo(
                    f"irae: note: --data replaces the pictures that the config names ({named}); "
                    "without it they are looked for below data.root or IRAE_DATA",
                    err=True,
                )

        by_signal = False
        if changed is not None and minutes is not None:
            ranks.on_main(lambda: check_new(folder))
            try:
                going = time_budget.train_minutes(changed, folder, chosen, minutes, ranks=ranks)
            except time_budget.Stopped as stop:
                going, by_signal = stop.run, stop.by_signal
        elif changed is not None and resume is None:
            going = run.begin(changed, folder, chosen, ranks)
            by_signal = loop.train(going, max_steps=max_steps, max_minutes=max_minutes)
        else:
            going = run.resume(folder, chosen, changed, ranks)
            by_signal = loop.train(going, max_steps=max_steps, max_minutes=max_minutes)
        if ranks.main:
            typer.echo(f"{folder}: {going.describe()}", err=True)
    if by_signal:
        raise typer.Exit(STOPPED)


def _select(device: str) -> torch.device:
    from irae.runtime import select_device, use_device

    chosen = select_device(device)
    use_device(chosen)
    return chosen


def _plan(
    config: str | None, resume: Path | None, overrides: list[str], output: Path | None
) -> tuple[RunConfig | None, Path]:
    """Return the config of a new run, or a new one for a resumed run if any; and its folder."""
    from irae.config import load_config
    from irae.training.prepare import config_of, new_folder

    if resume is None:
        return load_config(str(config), overrides), output or new_folder(str(config))
    return config_of(resume, overrides) if overrides else None, resume
