"""``irae benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from irae.cli.options import STOPPED, Device, Overrides
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
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only the I-th of N parts, beside other machines with theirs."
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="ray: a Ray cluster whose machines share this folder and the data."),
    ] = "local",
    address: Annotated[
        str | None, typer.Option(help="Address of the Ray cluster. Default: one on this machine.")
    ] = None,
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

    On several machines that share FOLDER: --shard 1/4 on the first, --shard 2/4 on the second, ...
    """
    if config is None and not (report_only and output is not None):
        raise UsageError("give --config FILE|NAME (with --report-only, -o FOLDER is enough)")
    if address is not None and engine != "ray":
        raise UsageError("--address is for a Ray cluster; add --engine ray")
    if shard is not None and engine == "ray":
        raise UsageError("--shard is for machines without Ray, which deals the cells itself")
    chosen_part = None if shard is None else _parse_shard(shard)
    folder = output or Path("benchmarks") / Path(str(config)).stem
    if report_only:
        _report(folder)
        return
    from irae.evaluation.benchmark.config import load_benchmark
    from irae.evaluation.benchmark.plan import plan
    from irae.evaluation.benchmark.runner import part, run_benchmark

    planned = plan(load_benchmark(str(config), set_), cells)
    own = part(planned, chosen_part)
    if not own:
        raise UsageError(f"--shard {shard}: there are only {len(planned)} cells; use fewer parts")
    if list_:
        _list(own, folder)
        return
    if engine == "ray":
        outcome = _on_ray(planned, folder, device, address, minutes, overwrite)
        _conclude(outcome, len(own), folder)
        _exit(outcome)
        return
    from irae.runtime import select_device, use_device
    from irae.training.distributed import local_device, processes

    with processes() as ranks:
        chosen = ranks.together(lambda: select_device(local_device(device)))
        use_device(chosen)
        outcome = run_benchmark(
            planned,
            folder,
            chosen,
            ranks=ranks,
            shard=chosen_part,
            minutes=minutes,
            overwrite=overwrite,
        )
        # The other processes wait, since torchrun ends all when one exits with an error.
        ranks.on_main(lambda: _conclude(outcome, len(own), folder))
    _exit(outcome)


def _exit(outcome: Outcome) -> None:
    if outcome.by_signal:
        raise typer.Exit(STOPPED)
    if outcome.failures:
        raise typer.Exit(1)


def _on_ray(
    planned: list[Cell],
    folder: Path,
    device: str,
    address: str | None,
    minutes: float | None,
    overwrite: bool,
) -> Outcome:
    from irae.batch.ray_engine import connected
    from irae.evaluation.benchmark.on_ray import run_on_ray

    with connected(address) as ray:
        return run_on_ray(
            ray,
            planned,
            folder,
            device,
            minutes=minutes,
            overwrite=overwrite,
            say=lambda line: typer.echo(line, err=True),
        )


def _parse_shard(text: str) -> tuple[int, int]:
    """Parse ``I/N`` with 1 <= I <= N."""
    number, slash, count = text.partition("/")
    digits = all(each.isascii() and each.isdigit() and len(each) < 10 for each in (number, count))
    if not slash or not digits or not 1 <= int(number) <= int(count):
        raise UsageError(f"--shard {text}: write I/N, such as 1/4 for the first of four parts")
    return int(number), int(count)


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
    from irae.evaluation.benchmark.preflight import summarise
    from irae.evaluation.benchmark.results_file import results_lock

    if outcome.finished or outcome.kept:
        with results_lock(folder):
            _report(folder)
    done = len(outcome.finished) + len(outcome.kept)
    state = ", stopped; the same command goes on" if outcome.stopped else ""
    typer.echo(f"{done} of {count} cells done, {len(outcome.finished)} now{state}", err=True)
    if outcome.busy:
        names = f"{len(outcome.busy)} of them" if len(outcome.busy) > 1 else outcome.busy[0]
        typer.echo(f"other processes compute {names}", err=True)
    for line in summarise(outcome.failures):
        typer.echo(f"irae: failed: {line}", err=True)
