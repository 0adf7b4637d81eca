"""``irae undo``: recover the original of a restored picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from irae.cli.options import Json, Overwrite


def undo(
    restored: Annotated[Path, typer.Argument(help="A picture written by irae restore --undoable.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="File or folder for the original, in its own format. Default:"
            " NAME.original.SUFFIX beside the restored picture.",
        ),
    ] = None,
    sidecar: Annotated[
        Path | None, typer.Option(help="Default: the file .irae beside the restored picture.")
    ] = None,
    overwrite: Overwrite = False,
    json_: Json = False,
) -> None:
    """Recover the original of a picture that was restored with --undoable.

    Its pixels are bit-equal to the original's, which a checksum verifies before anything is
    written, and its metadata is complete. If the sidecar holds the file itself, the result is
    that file.

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
