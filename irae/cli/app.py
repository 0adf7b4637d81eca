"""The ``irae`` program: its commands and the output of its errors."""

from __future__ import annotations

import errno
import os
import sys
from typing import Annotated

import typer

from irae._version import __version__
from irae.cli.density.anomalies import anomalies
from irae.cli.density.interpolate import interpolate
from irae.cli.density.latents import latents
from irae.cli.density.sample import sample
from irae.cli.density.score import score
from irae.cli.manage.doctor import doctor
from irae.cli.manage.export import export
from irae.cli.manage.import_ import import_
from irae.cli.manage.models import models
from irae.cli.pictures.degrade import degrade
from irae.cli.pictures.inspect_ import inspect_
from irae.cli.pictures.mask import mask
from irae.cli.pictures.noise import noise
from irae.cli.pictures.restore import restore
from irae.cli.pictures.roundtrip import roundtrip
from irae.cli.pictures.ui import ui
from irae.cli.pictures.undo import undo
from irae.cli.research import data, speed
from irae.cli.research.benchmark import benchmark
from irae.cli.research.eval import eval_
from irae.cli.research.information import information
from irae.cli.research.train import train
from irae.errors import IraeError, first_line, for_command_line

app = typer.Typer(
    name="irae",
    help="Denoise pictures, undo JPEG damage and fill holes with invertible networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("restore")(restore)
app.command("inspect")(inspect_)
app.command("mask")(mask)
app.command("undo")(undo)
app.command("degrade")(degrade)
app.command("noise")(noise)
app.command("train")(train)
app.command("eval")(eval_)
app.command("benchmark")(benchmark)
app.command("roundtrip")(roundtrip)
app.command("information")(information)
app.command("sample")(sample)
app.command("interpolate")(interpolate)
app.command("score")(score)
app.command("anomalies")(anomalies)
app.command("latents")(latents)
app.command("models")(models)
app.command("doctor")(doctor)
app.command("ui")(ui)
app.command("import")(import_)
app.command("export")(export)
app.add_typer(speed.app, name="speed")
app.add_typer(speed.app, name="bench", hidden=True)  # The name until 0.1.
app.add_typer(data.app, name="data")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"irae {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def one_line(error: BaseException) -> str | None:
    """Return the one line for the user about an error; None if the error is a bug."""
    if isinstance(error, IraeError):
        return for_command_line(str(error))
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.filename or 'output'}: the disk is full; free some space and run it again"
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename or 'output'}: no permission; choose another place with -o"
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {(error.strerror or 'cannot be used').lower()}"
    if isinstance(error, RuntimeError) and "torchvision::nms does not exist" in str(error):
        return (
            "torch and torchvision are builds that do not match; reinstall the pair: "
            "pip install --force-reinstall torch torchvision"
        )
    # Of PyTorch's own errors too, but without importing it for this.
    runtime = sys.modules.get("irae.runtime")
    if runtime is not None and runtime.is_out_of_memory(error):
        return f"out of memory ({first_line(error)}); free some, or use another --device"
    return None


def main() -> None:
    """Run the program; an error that the user can fix is one line on stderr."""
    # OpenMP reads this when torch is imported. Otherwise its threads spin while they wait for each
    # other, which made restoring ten times slower on a core that another program was using.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        typer.echo(f"irae: error: {line}", err=True)
        sys.exit(error.exit_code if isinstance(error, IraeError) else 1)
