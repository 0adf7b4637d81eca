"""Compare variants of the network and of its training, by equal minutes or by equal steps.

    scripts/ablate --minutes 6 --data DIR [--only GLOB] [--init denoise] [--seed 0 --seed 1]
    scripts/ablate --steps 1000 --data DIR

Every variant is ``configs/denoise.yaml`` with the overrides below, trained by the ordinary loop and
scored on all of ``photos_val`` (never on a test set) with the averaged weights of its last step. A
row is kept in ``docs/ablation.jsonl`` as soon as it is there; rows that are there are not computed
again; the table of ``docs/ablation.md`` is made of them. With ``--init`` the variants that can do
so go on from those weights instead of starting as the identity (`irae.models.growing`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from package_weights import processor

from irae.config import RunConfig, load_config
from irae.errors import IraeError, ModelError
from irae.evaluation.bench import macs_per_pixel
from irae.models.files import LoadedModel
from irae.runtime import select_device, use_device
from irae.training.budget import Stopped, begin_or_resume, train_minutes, train_steps
from irae.training.distributed import ALONE
from irae.training.validation import Validation

DOCS = Path(__file__).resolve().parent.parent / "docs"
ROWS, PAGE = DOCS / "ablation.jsonl", DOCS / "ablation.md"
BEGIN, END = "<!-- table -->", "<!-- end -->"

OPTIONS = "model.options."
VARIANTS: dict[str, list[str]] = {
    "default": [],
    # Couplings.
    "additive": [f"{OPTIONS}coupling=additive"],
    "affine": [f"{OPTIONS}coupling=affine"],
    "bounded everywhere": [f"{OPTIONS}coupling=bounded"],
    "bounded, bound 0.6": [f"{OPTIONS}coupling_bound=0.6"],
    # Mixings, and what reversibility costs.
    "mixing bound 0.1": [f"{OPTIONS}mixing_bound=0.1"],
    "mixing bound 0.4": [f"{OPTIONS}mixing_bound=0.4"],
    "mixing bound 1.1": [f"{OPTIONS}mixing_bound=1.1"],
    "mixing dense": [f"{OPTIONS}mixing=dense"],
    # Where the depth goes, and width.
    "1 level": [f"{OPTIONS}levels=1"],
    "1 level, depth 16": [f"{OPTIONS}levels=1", f"{OPTIONS}depth=16"],
    "3 levels, depth 4": [f"{OPTIONS}levels=3", f"{OPTIONS}depth=4"],
    "width 64": [f"{OPTIONS}width=64"],
    "width 128, depth 5": [f"{OPTIONS}width=128", f"{OPTIONS}depth=5"],
    # Parts of the published network.
    "pixel squeeze": [f"{OPTIONS}squeeze=pixel"],
    "actnorm": [f"{OPTIONS}actnorm=true"],
    "network with actnorm": [f"{OPTIONS}network=actnorm"],
    "random start": [f"{OPTIONS}start=random"],
    "paper": ["model.preset=paper"],
    # Training.
    "loss l2": ["training.loss=l2"],
    "loss charbonnier": ["training.loss=charbonnier"],
    "patch 32, batch 32": ["data.patch=32", "training.batch=32"],
    "patch 96, batch 4": ["data.patch=96", "training.batch=4"],
    "rate 3e-4": ["training.learning_rate=0.0003"],
    "rate 3e-3": ["training.learning_rate=0.003"],
}


def config_of(name: str, seed: int, arguments: argparse.Namespace) -> RunConfig:
    """The config of a variant."""
    overrides = [
        f"data.root={arguments.data}",
        f"seed={seed}",
        "training.warmup=50",
        "training.ema=0.995",
        "training.validate_every=1000000",
        f"training.steps={arguments.steps or 1000000}",
        *([f"model.init={arguments.init}"] if arguments.init else []),
        *arguments.set,
    ]
    return load_config("denoise.yaml", [*overrides, *VARIANTS[name]])


def measure(
    name: str, seed: int, arguments: argparse.Namespace, validation: Validation
) -> dict[str, Any]:
    """Train one variant and score it."""
    config = config_of(name, seed, arguments)
    device = select_device(arguments.device)
    use_device(device)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.steps:
            run = begin_or_resume(config, Path(folder) / "run", device, ALONE)
            train_steps(run)
        else:
            run = train_minutes(config, Path(folder) / "run", device, arguments.minutes)
    model = LoadedModel(run.ema.network, run.spec, name).to(device, "fp32")
    found = validation.score(model)
    return {
        "name": name,
        "seed": seed,
        "budget": budget(arguments),
        "start": arguments.init or "",
        "changes": arguments.set,
        "parameters": model.parameters,
        "macs": round(macs_per_pixel(model)),
        "steps": run.step,
        "levels": {level: round(after, 3) for level, (_, after) in found.levels.items()},
        "round_trip": found.round_trip,
        "machine": f"{processor()}, {device.type}, {run.config.training.precision}, "
        f"{run.config.training.threads or 'all'} threads",
    }


def budget(arguments: argparse.Namespace) -> str:
    """As the rows name it."""
    return f"{arguments.steps} steps" if arguments.steps else f"{arguments.minutes:g} minutes"


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
            f"| variant | seed | parameters | MACs/pixel | steps | {' | '.join(names)} | mean "
            f"| round trip |\n|---|---:|---:|---:|---:|{'---:|' * len(names)}---:|---:|"
        )
        for row in sorted(group, key=lambda r: -sum(r["levels"].values())):
            values = [row["levels"][level] for level in names]
            trip = "" if row["round_trip"] is None else f"{row['round_trip']:.4f}/255"
            parts.append(
                f"| {row['name']} | {row['seed']} | {row['parameters']:,} | {row['macs']:,} | "
                f"{row['steps']:,} | {' | '.join(f'{v:.2f}' for v in values)} | "
                f"{sum(values) / len(values):.3f} | {trip} |"
            )
        parts.append("")
    return "\n".join(parts)


def write_page(measured: list[dict[str, Any]]) -> None:
    """Put the table into the page, between its marks."""
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(measured)}{END}{after}", encoding="utf-8")


def main() -> None:
    """Run what is missing and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=6.0, help="of training, each")
    parser.add_argument("--steps", type=int, help="in place of minutes")
    parser.add_argument("--seed", type=int, action="append", help="default: 0")
    parser.add_argument("--only", default="*", help="variants whose name matches")
    parser.add_argument("--init", help="a model to go on from")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("IRAE_DATA", "data")))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=32, help="of photos_val")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    arguments.data = arguments.data.resolve()
    chosen = config_of("default", 0, arguments)
    chosen.data.validation.images = arguments.images
    validation = Validation(chosen)
    for seed in arguments.seed or [0]:
        for name in VARIANTS:
            wanted = (name, seed, budget(arguments), arguments.init or "", arguments.set)
            keys = ("name", "seed", "budget", "start", "changes")
            there = [tuple(row[key] for key in keys) for row in rows()]
            if not fnmatch(name, arguments.only) or wanted in there:
                continue
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            try:
                row = measure(name, seed, arguments, validation)
            except ModelError as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
                continue
            with ROWS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    write_page(rows())


if __name__ == "__main__":
    try:
        main()
    except Stopped:
        sys.exit("stopped; the same command goes on with the variant it was at")
    except IraeError as error:
        sys.exit(f"ablate: {error}")
