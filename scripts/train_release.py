"""Train the packaged weights further, and replace those that got better.

    scripts/train-release --minutes 60 --data DIR [--task denoise] [--set KEY=VALUE]

DIR holds the folders that ``configs/release`` and ``scripts/package_weights.py`` name. Every task
is trained in rounds, each a cosine schedule of its share of the minutes that starts from the best
weights there are: those of the round before, else the packaged ones, else (for a network of another
shape) the denoiser's, else the identity. Stopped in the middle, the same command goes on exactly
where it was; run again after that, it begins the next round. A packaged checkpoint is replaced
only by one that restores all of ``photos_val`` better and still inverts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import package_weights

from irae.config import RunConfig, load_config
from irae.errors import IraeError, ModelError
from irae.models.checkpoints.model_file import load_model
from irae.models.loaded import LoadedModel
from irae.models.networks.registry import build_network, resolve_options
from irae.runtime import select_device, use_device
from irae.training.checkpoint import BEST_MODEL
from irae.training.time_budget import Stopped, train_minutes
from irae.training.validation import Validation
from irae.training.warm_start import start_from

SHARES = {"denoise": 0.4, "photo": 0.3, "jpeg": 0.15, "inpaint": 0.15}
"""Of the minutes. The denoiser comes first: what starts from it gains by what it learns."""

FINISHED = "finished.json"


@dataclass(frozen=True)
class Round:
    """One schedule of one task.

    Attributes:
        folder: of the run, ``runs/release/TASK/NUMBER``.
        config: of the run; a round that was begun has its own, whatever was asked for since.
        minutes: of training.
    """

    folder: Path
    config: RunConfig
    minutes: float


def rounds(task_folder: Path) -> Iterator[Path]:
    """The folders of a task's rounds, the first one first."""
    yield from sorted(task_folder.glob("[0-9][0-9][0-9]"))


def fitting_model(config: RunConfig, candidates: list[str | Path]) -> str | None:
    """The first of the candidates that the config's network can start from."""
    section = config.model
    options = resolve_options(section.network, section.preset, section.options)
    for candidate in candidates:
        try:
            start_from(build_network(section.network, options), load_model(candidate).network)
        except (ModelError, ValueError) as error:
            print(f"{candidate}: not started from: {error}", file=sys.stderr)
        else:
            return str(candidate)
    return None


def plan(task: str, arguments: argparse.Namespace) -> Round:
    """The round that was stopped, or a new one."""
    task_folder = arguments.runs / task
    before = list(rounds(task_folder))
    if before and not (before[-1] / FINISHED).exists() and (before[-1] / "round.json").exists():
        begun = json.loads((before[-1] / "round.json").read_text(encoding="utf-8"))
        config = load_config(before[-1] / "round.yaml", [f"data.root={arguments.data}"])
        return Round(before[-1], config, begun["minutes"])
    overrides = [f"data.root={arguments.data}", *arguments.set]
    config = load_config(f"release/{task}.yaml", overrides)
    last = [folder / BEST_MODEL for folder in reversed(before) if (folder / BEST_MODEL).exists()]
    start = fitting_model(config, [*last[:1], task, "denoise"])
    if start is not None:
        config.model.init = start
    folder = task_folder / f"{len(before):03d}"
    folder.mkdir(parents=True, exist_ok=True)
    minutes = arguments.minutes * SHARES[task] / sum(SHARES[each] for each in arguments.task)
    (folder / "round.yaml").write_text(config.model_dump_json(indent=1), encoding="utf-8")
    (folder / "round.json").write_text(json.dumps({"minutes": minutes}), encoding="utf-8")
    return Round(folder, config, minutes)


def score(model: LoadedModel, validation: Validation, limit: float) -> float:
    """Mean PSNR on all of the validation pictures, in dB; -inf for one that does not invert."""
    found = validation.score(model.to("cpu", "fp32"))
    if found.round_trip is not None and found.round_trip > limit:
        print(f"round trip {found.round_trip:.3f}/255, above {limit}/255", file=sys.stderr)
        return float("-inf")
    return found.mean


def compare(task: str, turn: Round, arguments: argparse.Namespace) -> None:
    """Package the best weights of a round if they are better than the packaged ones."""
    found = turn.folder / BEST_MODEL
    if not found.exists():
        print(f"{task}: no weights of {turn.folder} invert well enough; nothing packaged")
        return
    config = turn.config.model_copy(deep=True)
    config.data.validation.images = arguments.validation_images
    validation = Validation(config)
    limit = config.data.validation.max_round_trip
    new = score(load_model(found), validation, limit)
    old = float("-inf")
    if (package_weights.WEIGHTS / f"{task}.safetensors").exists():
        old = score(load_model(task), validation, limit)
    print(f"{task}: {new:.3f} dB on photos_val, packaged {old:.3f} dB", flush=True)
    if new <= old:
        print(f"{task}: the packaged weights stay")
    elif not arguments.no_package:
        package_weights.package(turn.folder, task, arguments.data)


def main() -> None:
    """Train and package."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, required=True, help="of training, all tasks")
    parser.add_argument("--data", type=Path, default=os.environ.get("IRAE_DATA", "data"))
    parser.add_argument("--task", action="append", choices=list(SHARES), help="default: all")
    parser.add_argument("--runs", type=Path, default=Path("runs/release"))
    parser.add_argument("--device", default="auto")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--no-package", action="store_true", help="train and compare only")
    parser.add_argument("--validation-images", type=int, default=32, help="of photos_val")
    arguments = parser.parse_args()
    arguments.task = [t for t in SHARES if t in (arguments.task or SHARES)]
    arguments.data = Path(arguments.data).resolve()
    device = select_device(arguments.device)
    use_device(device)
    for task in arguments.task:
        turn = plan(task, arguments)
        print(
            f"{task}: {turn.folder}, {turn.minutes:.1f} minutes, "
            f"from {turn.config.model.init or 'the identity'}",
            flush=True,
        )
        started = time.monotonic()
        run = train_minutes(turn.config, turn.folder, device, turn.minutes)
        took = (time.monotonic() - started) / 60
        print(f"{task}: step {run.step} after {took:.1f} minutes of this call", flush=True)
        del run
        compare(task, turn, arguments)
        (turn.folder / FINISHED).write_text(json.dumps({"minutes": turn.minutes}), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except Stopped:
        sys.exit("stopped; the same command goes on")
    except IraeError as error:
        sys.exit(f"train-release: {error}")
