"""``irae undo``: a restored picture's original."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.cli.options import Json, Overwrite


def undo(
    restored: Annotated[Path, typer.Argument(help="What irae restore --undoable wrote.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="Where the original goes, in the format it had. Default: NAME.original.SUFFIX"
            " beside the restored picture.",
        ),
    ] = None,
    sidecar: Annotated[
        Path | None, typer.Option(help="Default: the file .irae beside the restored picture.")
    ] = None,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Give back the original of a picture that was restored with --undoable.

    Its pixels are the original's bit for bit, which a checksum proves before anything is
    written; so is its metadata. Where the sidecar holds the file itself, it is that.

    Example: irae undo photo.restored.png -o photo.png
    """
    import json

    from irae.errors import UsageError
    from irae.imaging.io.files import RESTORED_MARK
    from irae.inverse.undo import undo as undo_restoration
    from irae.inverse.undo import write_undone

    undone = undo_restoration(restored, sidecar=sidecar)
    suffix = Path(undone.name).suffix
    if out is None:
        out = restored.with_name(f"{restored.stem.removesuffix(RESTORED_MARK)}.original{suffix}")
    elif out.is_dir():
        out = out / undone.name
    elif out.suffix.lower() != suffix.lower():
        raise UsageError(f"{out}: the original is a {suffix} file; name it so with -o")
    write_undone(undone, out, overwrite=overwrite)
    if json_:
        row = {"output": str(out), "same_file": undone.same_file, "method": undone.method}
        typer.echo(json.dumps(row, indent=2))
    else:
        typer.echo(out)
