"""``irae data``: list, download and check the registered data sets."""

from __future__ import annotations

from typing import Annotated

import typer

from irae.cli.options import Root
from irae.errors import DataError

app = typer.Typer(
    help="List, download and check data sets. Example: irae data list", no_args_is_help=True
)


@app.command("list")
def list_sets(
    root: Root = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the registered data sets: size, terms, and whether they are present.

    Example: irae data list
    """
    import json

    from irae.data.check import describe
    from irae.data.registry import REGISTRY

    rows = [describe(name, source, root) for name, source in REGISTRY.items()]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = [("NAME", "PICTURES", "HERE", "TERMS", "PATH", "FROM")]
    for row in rows:
        here = f"{row['pictures_present']:,}" if row["present"] else "no"
        if row["problems"]:
            here = "incomplete"
        table.append(
            (
                str(row["name"]),
                f"{row['pictures']:,}",
                here,
                str(row["terms"]),
                str(row["path"]),
                str(row["address"]),
            )
        )
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


@app.command("download")
def download_set(
    name: Annotated[str, typer.Argument(help="celeba, flowers, birds, fashion or mnist.")],
    root: Root = None,
) -> None:
    """Download a data set from its owner; run it again to resume after an interruption.

    Example: irae data download birds --root data
    """
    from irae.data.download import download, download_idx
    from irae.data.idx import IDX_SETS
    from irae.data.registry import data_root, find_source

    def say(line: str) -> None:
        typer.echo(line, err=True)

    if name in IDX_SETS:
        small = IDX_SETS[name]
        say(f"{small.title}: terms of its owner are {small.terms}, see {small.address}")
        count = download_idx(name, root=root)
        typer.echo(f"{data_root(root) / small.torchvision_class}: {count:,} pictures")
        return
    source = find_source(name)
    say(f"{source.title}: terms of its owner are {source.terms}, see {source.address}")
    contents = download(name, root=root, say=say)
    typer.echo(f"{data_root(root) / source.folder}: {contents.summary()}")


@app.command("check")
def check_set(
    name: Annotated[str, typer.Argument(help="celeba, flowers, birds, or a folder.")],
    root: Root = None,
) -> None:
    """Check that a data set is complete and every picture readable; exit 1 if not.

    Example: irae data check celeba
    """
    from tqdm import tqdm

    from irae.data.check import open_all, unreadable
    from irae.data.registry import REGISTRY

    contents = open_all(name, root)
    bad = len(contents.problems)
    for problem in contents.problems:
        typer.echo(f"irae: error: {problem}", err=True)
    for split, pictures in contents.splits.items():
        # disable=None shows no bar if stderr is a file.
        outcomes = tqdm(unreadable(pictures), total=len(pictures), desc=split, disable=None)
        for outcome in outcomes:
            if outcome is not None:
                bad += 1
                typer.echo(f"irae: error: {outcome}", err=True)
    if bad:
        raise typer.Exit(DataError.exit_code)
    typer.echo(f"{name}: {contents.summary()}; all can be read")
    complete = REGISTRY[name].pictures if name in REGISTRY else contents.pictures
    if contents.pictures != complete:
        typer.echo(f"{name}: the complete set has {complete:,} pictures", err=True)
