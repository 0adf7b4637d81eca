"""Compare variants of the network and of its training, by equal time and by equal steps.

    scripts/ablate --minutes 2 --steps 100 --data DIR [--only GLOB] [--init denoise] [--seed 0]

Every variant is ``configs/denoise.yaml`` with the overrides below, trained at a constant rate on
the same patches in the same order, and scored on pictures of ``photos_val`` (never on a test set)
with its averaged weights, at two marks of one training: after so many steps, and after so many
minutes (of processor time on a CPU, so that other work does not count). A row is kept in
``docs/ablation.jsonl`` as soon as it is there; variants that have theirs are not trained again; the
tables and the plot of ``docs/ablation.md`` are made of them. With ``--init`` the variants that can
do so go on from those weights instead of starting as the identity (`irae.models.growing`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import ablate_networks
import torch
from package_weights import processor
from torch import Tensor

from irae.config import RunConfig, load_config
from irae.errors import IraeError, ModelError
from irae.evaluation.bench import macs_per_pixel
from irae.models.files import LoadedModel
from irae.runtime import select_device, use_device
from irae.training.run import Run, begin
from irae.training.validation import Validation

DOCS = Path(__file__).resolve().parent.parent / "docs"
ROWS, PAGE, PLOT = DOCS / "ablation.jsonl", DOCS / "ablation.md", DOCS / "ablation.png"
BEGIN, END = "<!-- table -->", "<!-- end -->"

OPTIONS = "model.options."
VARIANTS: dict[str, list[str]] = {
    "default": [],
    # Levels, and where the depth goes; width.
    "depth 4": [f"{OPTIONS}depth=4"],
    "depth 16, width 64": [f"{OPTIONS}depth=16", f"{OPTIONS}width=64"],
    "width 64": [f"{OPTIONS}width=64"],
    "width 128": [f"{OPTIONS}width=128"],
    "2 levels": [f"{OPTIONS}levels=2"],
    "3 levels": [f"{OPTIONS}levels=3", f"{OPTIONS}width=64"],
    "2 levels, additive below": [f"{OPTIONS}levels=2", f"{OPTIONS}coupling=[bounded, additive]"],
    # Coupling networks.
    "kernels 1": [f"{OPTIONS}kernels=[1]"],
    "kernels 3": [f"{OPTIONS}kernels=[3]"],
    "kernels 1 and 5": [f"{OPTIONS}kernels=[1, 1, 1, 5]"],
    "five 3x3, width 64, depth 4": [
        f"{OPTIONS}network=deep",
        f"{OPTIONS}width=64",
        f"{OPTIONS}depth=4",
    ],
    "depthwise and gated, width 48": [f"{OPTIONS}network=gated", f"{OPTIONS}width=48"],
    "dense block": [f"{OPTIONS}network=dense"],
    "network with actnorm": [f"{OPTIONS}network=actnorm", f"{OPTIONS}kernels=[1]"],
    "couplings told sigma": ["model.network=irae-told"],
    # Couplings.
    "additive": [f"{OPTIONS}coupling=additive"],
    "affine": [f"{OPTIONS}coupling=affine"],
    "coupling bound 0.1": [f"{OPTIONS}coupling_bound=0.1"],
    "coupling bound 0.6": [f"{OPTIONS}coupling_bound=0.6"],
    # Mixings, and what reversibility costs.
    "mixing bound 0.05": [f"{OPTIONS}mixing_bound=0.05"],
    "mixing bound 0.1": [f"{OPTIONS}mixing_bound=0.1"],
    "mixing bound 0.4": [f"{OPTIONS}mixing_bound=0.4"],
    "mixing bound 1.1": [f"{OPTIONS}mixing_bound=1.1"],
    "mixing dense": [f"{OPTIONS}mixing=dense"],
    "mixing lu": [f"{OPTIONS}mixing=lu"],
    # What becomes of the latents; encoder and decoder.
    "latents untouched": [f"{OPTIONS}shrinking=null"],
    "latents shrunk, bound 2": [f"{OPTIONS}shrinking=2.0"],
    "latents shrunk and gated": ["model.network=irae-gated"],
    "tied": ["model.network=irae-tied"],
    # Other parts of the published network, and that; the peers.
    "pixel squeeze": [f"{OPTIONS}squeeze=pixel"],
    "random start": [f"{OPTIONS}start=random"],
    "paper": ["model.preset=paper"],
    "ffdnet": ["model.network=ffdnet"],
    "dncnn": ["model.network=dncnn"],
    # Training.
    "loss l1": ["training.loss=l1"],
    "loss charbonnier": ["training.loss=charbonnier"],
    "loss psnr": ["training.loss=psnr"],
    "muon": ["training.optimizer=muon"],
    "muon, loss psnr": ["training.optimizer=muon", "training.loss=psnr"],
    "muon, loss psnr, depthwise and gated, width 48": [
        "training.optimizer=muon",
        "training.loss=psnr",
        f"{OPTIONS}network=gated",
        f"{OPTIONS}width=48",
    ],
    "patch 32, batch 18": ["data.patch=32", "training.batch=18"],
    "patch 96, batch 2": ["data.patch=96", "training.batch=2"],
    "batch 2": ["training.batch=2"],
    "batch 32": ["training.batch=32"],
    "rate 3e-4": ["training.learning_rate=0.0003", "training.final_learning_rate=0.0003"],
    "rate 3e-3": ["training.learning_rate=0.003", "training.final_learning_rate=0.003"],
}


class Unfolded(LoadedModel):
    """A model that is run as it was trained; some of the variants have no restoring form."""

    def _run(self, x: Tensor, condition: Tensor | None) -> Tensor:
        restored: Tensor = self.network(x.contiguous(memory_format=torch.channels_last), condition)
        return restored


def config_of(name: str, seed: int, arguments: argparse.Namespace) -> RunConfig:
    """The config of a variant."""
    overrides = [
        f"data.root={arguments.data}",
        f"seed={seed}",
        "data.patch=48",
        "training.batch=8",
        "training.loss=l2",
        "training.warmup=20",
        "training.ema=0.98",
        "training.learning_rate=0.001",
        "training.final_learning_rate=0.001",
        "training.steps=1000000",
        "training.threads=1",
        "data.validation.crop=192",
        *([f"model.init={arguments.init}"] if arguments.init else []),
        *arguments.set,
    ]
    return load_config("denoise.yaml", [*overrides, *VARIANTS[name]])


def trained_to_marks(run: Run, arguments: argparse.Namespace) -> Iterator[tuple[str, float]]:
    """Train; at each mark, its name and the seconds of training so far."""
    cpu = run.device.type == "cpu"
    clock: Callable[[], float] = time.process_time if cpu else time.perf_counter
    if run.config.training.threads is not None:
        torch.set_num_threads(run.config.training.threads)
    batches = run.batches.prefetched(run.step)
    seconds, by_steps, by_time = 0.0, False, False
    while not (by_steps and by_time):
        start = clock()
        run.optimisation.step(next(batches), run.step + 1)
        run.advance()
        run.check()  # Waits for the device.
        seconds += clock() - start
        if not by_steps and run.step >= arguments.steps:
            by_steps = True
            yield f"{arguments.steps} steps", seconds
        if not by_time and seconds >= 60 * arguments.minutes:
            by_time = True
            yield f"{arguments.minutes:g} minutes", seconds


def measure(
    name: str, seed: int, arguments: argparse.Namespace, validation: Validation
) -> Iterator[dict[str, Any]]:
    """Train one variant and score it at both marks."""
    config = config_of(name, seed, arguments)
    device = select_device(arguments.device)
    use_device(device)
    with tempfile.TemporaryDirectory() as folder:
        run = begin(config, Path(folder) / "run", device)
        for mark, seconds in trained_to_marks(run, arguments):
            model = Unfolded(run.ema.network, run.spec, name).to(device, "fp32")
            found = validation.score(model)
            yield {
                "name": name,
                "seed": seed,
                "budget": mark,
                "start": arguments.init or "",
                "changes": arguments.set,
                "parameters": model.parameters,
                "macs": round(macs_per_pixel(model)),
                "steps": run.step,
                "seconds": round(seconds, 1),
                "levels": {level: round(after, 3) for level, (_, after) in found.levels.items()},
                "round_trip": found.round_trip,
                "machine": f"{processor()}, {device.type}, {run.config.training.precision}, "
                f"{run.config.training.threads or 'all'} threads",
            }


def rows() -> list[dict[str, Any]]:
    """Those that were measured so far."""
    lines = ROWS.read_text(encoding="utf-8").splitlines() if ROWS.exists() else []
    return [json.loads(line) for line in lines]


def table(measured: list[dict[str, Any]]) -> str:
    """Rows of one budget, start and machine together, the best first."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in measured:
        key = (row["budget"], row["start"], " ".join(row["changes"]), row["machine"])
        groups.setdefault(key, []).append(row)
    parts = []
    for (budget_, start, changes, machine), group in groups.items():
        title = f"{budget_} each, from {start or 'the start of each'}"
        parts.append(f"### {title}\n\n{machine}{'; ' + changes if changes else ''}\n")
        names = list(group[0]["levels"])
        parts.append(
            f"| variant | seed | parameters | MACs/pixel | steps | seconds "
            f"| {' | '.join(names)} | mean | round trip |\n"
            f"|---|---:|---:|---:|---:|---:|{'---:|' * len(names)}---:|---:|"
        )
        for row in sorted(group, key=lambda r: -sum(r["levels"].values())):
            values = [row["levels"][level] for level in names]
            trip = "" if row["round_trip"] is None else f"{row['round_trip']:.4f}/255"
            parts.append(
                f"| {row['name']} | {row['seed']} | {row['parameters']:,} | {row['macs']:,} | "
                f"{row['steps']:,} | {row['seconds']:.0f} | "
                f"{' | '.join(f'{v:.2f}' for v in values)} | "
                f"{sum(values) / len(values):.3f} | {trip} |"
            )
        parts.append("")
    return "\n".join(parts)


def plot(measured: list[dict[str, Any]], minutes: str) -> None:
    """PSNR against the round trip, of the rows of one budget that start as the identity."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5))
    for row in measured:
        if row["budget"] != minutes or row["start"] or not row["round_trip"]:
            continue
        mean = sum(row["levels"].values()) / len(row["levels"])
        axes.plot(row["round_trip"], mean, "o", color="tab:blue", markersize=4)
        axes.annotate(
            row["name"], (row["round_trip"], mean), (4, 2), textcoords="offset points", fontsize=6
        )
    axes.axvline(0.5, color="tab:red", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("largest error of the float32 round trip, in 1/255 (red: the limit)")
    axes.set_ylabel(f"PSNR after {minutes}, dB, mean over noise levels")
    figure.tight_layout()
    figure.savefig(PLOT, dpi=110, metadata={"Software": None})


def write_page(measured: list[dict[str, Any]]) -> None:
    """Put the table into the page, between its marks."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(measured)}{END}{after}", encoding="utf-8")
    budgets = [row["budget"] for row in measured if row["budget"].endswith(" minutes")]
    if budgets:
        plot(measured, budgets[0])


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=6.0, help="the one mark")
    parser.add_argument("--steps", type=int, default=500, help="the other")
    parser.add_argument("--seed", type=int, action="append", help="default: 0")
    parser.add_argument("--only", default="*", help="variants whose name matches")
    parser.add_argument("--init", help="a model to go on from")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("IRAE_DATA", "data")))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=32, help="of photos_val")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    ablate_networks.register()
    chosen = config_of("default", 0, arguments)
    chosen.data.validation.images = arguments.images
    validation = Validation(chosen)
    marks = [f"{arguments.steps} steps", f"{arguments.minutes:g} minutes"]
    for seed in arguments.seed or [0]:
        for name in VARIANTS:
            wanted = [(name, seed, mark, arguments.init or "", arguments.set) for mark in marks]
            keys = ("name", "seed", "budget", "start", "changes")
            there = [tuple(row[key] for key in keys) for row in rows()]
            if not fnmatch(name, arguments.only) or all(row in there for row in wanted):
                continue
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            try:
                measured = list(measure(name, seed, arguments, validation))
            except ModelError as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
                continue
            with ROWS.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in measured)
            print(f"{measured[-1]['levels']}", flush=True)
            write_page(rows())
    write_page(rows())


if __name__ == "__main__":
    try:
        main()
    except IraeError as error:
        sys.exit(f"ablate: {error}")
