"""``irae ui``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.cli.options import Device, Precision


def ui(
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(help="Pictures or folders to open the page with.", show_default=False),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 chooses a free one.")
    ] = 7860,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    max_upload_mb: Annotated[
        float, typer.Option(min=0.001, help="Largest file accepted, in million bytes.")
    ] = 256,
    max_pixels: Annotated[
        float, typer.Option(min=1, help="Most pixels of a picture; 100e6 is a hundred million.")
    ] = 100e6,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Restore pictures on a page in the browser: drop, compare, paint holes, save.

    The page is for this machine and needs no network. Its address has a secret token, without
    which nobody is answered. It runs until Ctrl-C; pictures are deleted when their page is closed,
    or an hour after they were last used.

    Example: irae ui scan.tif
    """
    from irae.imaging.io.find import find_pictures
    from irae.ui.server import Options, serve

    options = Options(
        port=port,
        open_browser=browser,
        most_bytes=int(max_upload_mb * 1_000_000),
        most_pixels=int(max_pixels),
        device=device,
        precision=precision,
        opened=tuple(path.resolve() for path in find_pictures(pictures or [], recursive=True)),
    )

    def ready(address: str) -> None:
        typer.echo(address)
        typer.echo("irae: note: the page is for this machine alone; end it with Ctrl-C", err=True)

    serve(options, ready)
