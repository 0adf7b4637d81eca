"""Compare variants of the network and of its training, by equal time and by equal steps.

    scripts/ablate --minutes 2 --steps 100 --data DIR [--only GLOB] [--init denoise] [--seed 0]

Every variant is ``ablate.yaml`` beside this file with the overrides below, trained at a constant
rate on the same patches in the same order, and scored on pictures of ``photos_val`` (never on a
test set) with its averaged weights, at two marks of one training: after so many steps, and after so
many minutes (of processor time on a CPU, so that other work does not count). A row is kept in
``docs/ablation.jsonl`` as soon as it is there; variants that have theirs are not trained again;
``fill_tables.py`` makes the tables of ``docs/ablation.md`` of them. With ``--init`` the variants
whose networks fit go on from those weights instead of starting as the identity.
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
from fill_tables import ABLATION, DOCS, ablation_rows, fill
from package_weights import processor
from torch import Tensor, nn

from irae.config import RunConfig, load_config
from irae.errors import IraeError, ModelError
from irae.evaluation.speed.bench import macs_per_pixel
from irae.flow.subnets import set_network_dtype
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.lifted import LiftedIRAE
from irae.runtime import network_dtype, select_device, use_device
from irae.training.dead_units import restart
from irae.training.run import Run, begin
from irae.training.validation import Validation

PAGE = DOCS / "ablation.md"

OPTIONS = "model.options."
VARIANTS: dict[str, list[str]] = {
    "default": [],
    # Against hidden units that never fire.
    "biases at the full rate": ["training.bias_pace=1"],
    "warm-up of 1,000 steps": ["training.bias_pace=1", "training.warmup=1000"],
    "no biases in first convolutions": ["model.network=irae-unbiased", "training.bias_pace=1"],
    "leaky ReLU": ["model.network=irae-leaky", "training.bias_pace=1"],
    "dead units started anew": ["training.bias_pace=1", "training.restart_dead=true"],
    "slow biases, dead units started anew": ["training.restart_dead=true"],
    # The speed dial.
    "a tenth of the loss on the middle": ["training.middle_weight=0.1"],
    "a third of the loss on the middle": ["training.middle_weight=0.33"],
    # The network at the same multiply-adds, and with more of them.
    "2 streams of 32, hidden 96": [f"{OPTIONS}width=32", f"{OPTIONS}hidden=96"],
    "four couplings at a quarter of the size": ["model.network=irae-quarter"],
    "16 couplings": [f"{OPTIONS}couplings=16"],
    # Training.
    "patches of 96, batch 4": ["data.patch=96", "training.batch=4"],
    "paper": ["model.preset=paper"],
    "ffdnet": ["model.network=ffdnet"],
    "dncnn": ["model.network=dncnn"],
}


RESTART_EVERY = 500
"""Steps between two restarts of dead units, where a variant has them."""


class Middle(nn.Module):
    """A lifted network that stops after half of its couplings."""

    def __init__(self, network: LiftedIRAE) -> None:
        super().__init__()
        self.network, self.size_multiple = network, network.size_multiple

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.network.middle_and_end(x, condition)[0]


def middle_score(run: Run, validation: Validation) -> float | None:
    """Mean PSNR of the picture after half of the couplings; None where the loss has no share."""
    network = run.ema.network
    if not run.config.training.middle_weight or not isinstance(network, LiftedIRAE):
        return None
    spec = ModelSpec("dncnn", {}, "denoise")  # Any that is not taken for invertible.
    return round(validation.score(LoadedModel(Middle(network), spec, "middle")).mean, 3)


def config_of(name: str, seed: int, arguments: argparse.Namespace) -> RunConfig:
    """The config of a variant."""
    overrides = [f"data.root={arguments.data}", f"seed={seed}", *arguments.set]
    if arguments.init:
        overrides.append(f"model.init={arguments.init}")
    return load_config(Path(__file__).with_suffix(".yaml"), [*overrides, *VARIANTS[name]])


def trained_to_marks(
    run: Run, arguments: argparse.Namespace, validation: Validation
) -> Iterator[tuple[str, float]]:
    """Train; at each mark, its name and the seconds of training so far."""
    cpu = run.device.type == "cpu"
    clock: Callable[[], float] = time.process_time if cpu else time.perf_counter
    if run.config.training.threads is not None:
        torch.set_num_threads(run.config.training.threads)
    batches = run.batches.prefetched(run.step)
    seconds, by_steps, by_time = 0.0, False, False
    while not (by_steps and by_time):
        start = clock()
        run.train_step.step(next(batches), run.step + 1)
        run.advance()
        run.check()  # Waits for the device.
        seconds += clock() - start
        if run.config.training.restart_dead and run.step % RESTART_EVERY == 0:
            model = LoadedModel(run.ema.network, run.spec, "average").to(run.device, "fp32")
            networks = [run.network, run.ema.network]
            restart(networks, validation.firing(model), run.config.seed, run.step)
            set_network_dtype(run.ema.network, network_dtype(run.config.training.precision))
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
        for mark, seconds in trained_to_marks(run, arguments, validation):
            model = LoadedModel(run.ema.network, run.spec, name).to(device, "fp32")
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
                "middle": middle_score(run, validation),
                "dead": round(found.dead, 4),
                "round_trip": found.round_trip,
                "machine": f"{processor()}, {device.type}, {run.config.training.precision}, "
                f"{run.config.training.threads or 'all'} threads",
            }


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
            there = [tuple(row[key] for key in keys) for row in ablation_rows()]
            if not fnmatch(name, arguments.only) or all(row in there for row in wanted):
                continue
            print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
            try:
                measured = list(measure(name, seed, arguments, validation))
            except ModelError as error:
                print(f"{name}: left out: {error}", file=sys.stderr)
                continue
            with ABLATION.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in measured)
            print(f"{measured[-1]['levels']}", flush=True)
            fill(PAGE)
    fill(PAGE)


if __name__ == "__main__":
    try:
        main()
    except IraeError as error:
        sys.exit(f"ablate: {error}")
