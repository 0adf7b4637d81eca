"""``irae ui``."""

from __future__ import annotations

from typing import Annotated

import typer

from irae.cli.options import Device, Precision


def ui(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the page; 0 chooses a free one.")
    ] = 7860,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    max_upload_mb: Annotated[
        float, typer.Option(min=0.001, help="Largest file accepted, in million bytes.")
    ] = 64,
    max_pixels: Annotated[
        float, typer.Option(min=1, help="Most pixels of a picture; 100e6 is a hundred million.")
    ] = 100e6,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Restore pictures on a page in the browser: drop, compare, paint holes, download.

    The page is for this machine alone and needs no network. It runs until Ctrl-C; pictures are
    deleted when it is closed, or an hour after it was last used.

    Example: irae ui
    """
    from irae.ui.server import Options, serve

    options = Options(
        port=port,
        open_browser=browser,
        most_bytes=int(max_upload_mb * 1_000_000),
        most_pixels=int(max_pixels),
        device=device,
        precision=precision,
    )

    def ready(address: str) -> None:
        typer.echo(address)
        typer.echo("irae: note: the page is for this machine alone; end it with Ctrl-C", err=True)

    serve(options, ready)
