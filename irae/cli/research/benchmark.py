"""``irae benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from irae.cli.options import Device, Overrides
from irae.errors import UsageError

if TYPE_CHECKING:
    from irae.evaluation.benchmark.cells import Cell
    from irae.evaluation.benchmark.runner import Outcome


def benchmark(
    config: Annotated[
        str | None,
        typer.Option(help="A YAML file, or a shipped benchmark such as first.yaml."),
    ] = None,
    set_: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FOLDER", help="For results. Default: benchmarks/CONFIG."
        ),
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Only cells DATA/DAMAGE/MODEL that match; * is any."),
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Print the plan: the cells and their states.")
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="Write the reports from existing results.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after this time; run again to continue.")
    ] = None,
    device: Device = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Compute cells again whose config has changed.")
    ] = False,
) -> None:
    """Compare models in one report: trained with one budget, measured under one protocol.

    Existing results are not computed again: a stopped or killed benchmark resumes where it was.

    Example: irae benchmark --config first.yaml -o benchmarks/first

    On several GPUs: torchrun --nproc-per-node 4 -m irae benchmark ...
    """
    if config is None and not (report_only and output is not None):
        raise UsageError("give --config FILE|NAME (with --report-only, -o FOLDER is enough)")
    folder = output or Path("benchmarks") / Path(str(config)).stem
    if report_only:
        _report(folder)
        return
    from irae.evaluation.benchmark.cells import plan
    from irae.evaluation.benchmark.config import load_benchmark
    from irae.evaluation.benchmark.runner import run_benchmark

    planned = plan(load_benchmark(str(config), set_), cells)
    if list_:
        _list(planned, folder)
        return
    from irae.runtime import select_device, use_device
    from irae.training.distributed import local_device, processes

    with processes() as ranks:
        chosen = ranks.together(lambda: select_device(local_device(device)))
        use_device(chosen)
        outcome = run_benchmark(
            planned, folder, chosen, ranks=ranks, minutes=minutes, overwrite=overwrite
        )
        # The other processes wait, since torchrun ends all when one exits with an error.
        ranks.on_main(lambda: _conclude(outcome, len(planned), folder))
    if outcome.failures:
        raise typer.Exit(1)


def _list(planned: list[Cell], folder: Path) -> None:
    from irae.evaluation.benchmark.runner import cell_state, done_cells

    done = done_cells(folder)
    for cell in planned:
        typer.echo(f"{cell_state(cell, folder, done):7}  {cell.name}")


def _report(folder: Path) -> None:
    from irae.evaluation.benchmark.results_file import RESULTS_NAME
    from irae.evaluation.report.write import write_reports

    if not (folder / RESULTS_NAME).is_file():
        raise UsageError(f"{folder}: holds no {RESULTS_NAME}; it is not a benchmark's folder")
    written = write_reports(folder)
    pages = [path for path in written if path.suffix == ".html"]
    typer.echo(str(next(iter(pages or written), folder / RESULTS_NAME)))


def _conclude(outcome: Outcome, count: int, folder: Path) -> None:
    if outcome.finished or outcome.kept:
        _report(folder)
    done = len(outcome.finished) + len(outcome.kept)
    state = ", stopped; the same command goes on" if outcome.stopped else ""
    typer.echo(f"{done} of {count} cells done, {len(outcome.finished)} now{state}", err=True)
    for name, reason in outcome.failures.items():
        typer.echo(f"irae: failed: {name}: {reason}", err=True)
