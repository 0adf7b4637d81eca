"""``irae doctor``: check whether this installation works."""

from __future__ import annotations

from typing import Annotated

import typer

from irae.cli.options import Json


def doctor(
    device: Annotated[
        str, typer.Option(help="Device for the speed test: auto, cpu, cuda, cuda:N or mps.")
    ] = "auto",
    json_: Json = False,
) -> None:
    """Check the installation: versions, devices, packaged weights, self-tests, speed.

    Each packaged model restores a small picture and is run backward. The exit code is 1 if any
    check fails; one line names the fault and the remedy.

    Example: irae doctor
    """
    import json
    from dataclasses import asdict

    from irae.doctor import examine

    checks = []
    for check in examine(device):
        checks.append(check)
        if not json_:
            typer.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.says}")
    failed = [check for check in checks if not check.ok]
    if json_:
        report = {"ok": not failed, "checks": [asdict(check) for check in checks]}
        typer.echo(json.dumps(report, indent=2))
    for check in failed:
        typer.echo(f"irae: error: {check.name}: {check.says}", err=True)
    if failed:
        raise typer.Exit(1)
