"""A training run: its state, its steps, its validation and its checkpoints."""

from __future__ import annotations

import json
import math
import shlex
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from irae.config import RunConfig, check_config, dump_config
from irae.errors import ModelError, TrainingError
from irae.flow.reversible import set_reversible
from irae.flow.subnets import set_network_dtype
from irae.locks import Lock, lock_folder
from irae.models.checkpoints.model_file import (
    load_density,
    load_detector,
    load_model,
    load_patch_density,
    save_model,
)
from irae.models.density import Density
from irae.models.loaded import ModelSpec
from irae.models.networks.damage_detector import DamageDetector
from irae.models.networks.densities.patches import PatchDensity
from irae.runtime import network_dtype, versions
from irae.training.checkpoint import (
    BEST_MODEL,
    CONFIG_FILE,
    LAST_MODEL,
    RUN_FILE,
    STATE_FILE,
    check_new,
    load_state,
    save_state,
    truncate_metrics,
)
from irae.training.dead_units import restart
from irae.training.distributed import ALONE, Ranks
from irae.training.efficiency.step_graph import choose_graph
from irae.training.ema import EMA
from irae.training.find_nonfinite import diagnose
from irae.training.objectives.base import ValidationScore
from irae.training.objectives.choose import objective_of
from irae.training.prepare import absolute_paths, build, resolve
from irae.training.step import TrainStep, network_inputs
from irae.training.warm_start import start_from
from irae.writing import remove_leftovers, write_atomically


class Run:
    """One training run in one folder.

    All processes hold the same weights at every step, and only the main process writes. All of
    them must call each method together.

    Attributes:
        notices: lines about the run that training prints next.
        refused: number of validations since the last best one whose round trip was not exact
            enough to be the best.
        left_out: training pictures of which it was printed that they cannot be read; after a
            training, those of all processes.

    Args:
        config: config from `irae.training.prepare.resolve`.
        folder: folder of the run; made if absent.
        device: the training device.
        state: state from `load_state` to resume from; None for a new run.
        ranks: the processes that train together.

    Raises:
        IraeError: the config does not fit the network, the data or the processes.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        device: torch.device,
        state: dict[str, Any] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.folder, self.device, self.ranks = folder, device, ranks
        self.config, section = config, config.training
        self.objective = objective_of(config)
        ranks.together(self._prepare)
        if state is None:
            ranks.together(self._start_weights)
            ranks.from_main([*self.network.parameters(), *self.network.buffers()])
        set_network_dtype(self.network, network_dtype(section.precision))
        set_reversible(self.network, section.reversible is True)
        self.ema = EMA(self.network, self.config.training.ema)
        graph = choose_graph(self.network, section, device, ranks)
        self.train_step = TrainStep(self.network, section, ranks, self.objective, graph=graph)
        self.step, self.seconds, self.best = 0, 0.0, -math.inf
        self.score: ValidationScore | None = None  # The latest validation of this process.
        self.notices: list[str] = list(self.validation.left_out)
        self.refused = 0
        self.left_out: set[Path] = set()
        self.lock: Lock | None = None  # Of the main process.
        if state is not None:
            ranks.together(lambda: self._restore(state))

    def _prepare(self) -> None:
        config = self.config
        rows = self.ranks.rows(config.training.batch_size)
        self.spec = ModelSpec(config.model.network, config.model.options, config.task)
        self.network = build(config)
        self.network.to(self.device).to(memory_format=torch.channels_last)
        parts = self.objective.open(config, self.network, self.device, rows)
        self.collection, self.batches, self.validation = parts

    def _start_weights(self) -> None:
        init = self.config.model.init
        if init is not None:
            given = _start_network(self.network, init)
            try:
                start_from(self.network, given)
            except ValueError as error:
                raise ModelError(f"model.init {init!r}: {error}") from None
            return
        initialise = getattr(self.network, "initialise", None)
        if initialise is not None and self.ranks.main:
            # Uses the whole batch, as a single process would; the others receive the result.
            initialise(*network_inputs(self.network, self.batches.batch(0, whole=True)))

    def state(self) -> dict[str, Any]:
        """Return the complete state of the run, which is the same for any number of processes."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimizer": self.train_step.optimizer.state_dict(),
            "config": self.config.model_dump(mode="json"),
            "validation": self.validation.fingerprint(),
            "refused": self.refused,
        }

    def _restore(self, state: dict[str, Any]) -> None:
        optimizer = self.train_step.optimizer
        # The state brings the settings of its own config; those of this config count.
        settings = [
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ]
        try:
            self.network.load_state_dict(state["network"])
            self.ema.network.load_state_dict(state["ema"])
            optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError):
            raise TrainingError(
                f"{self.folder / STATE_FILE}: its tensors do not fit the network of the config; "
                "the model section must stay as it was (of a run of irae 0.1, the weights can be "
                "trained further: `from`)"
            ) from None
        for group, own in zip(optimizer.param_groups, settings, strict=True):
            group.update(own)
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]
        self.refused = state.get("refused", 0)
        if self.best > -math.inf and self._validates_otherwise(state):
            self.notices.append(
                "what is validated on has changed: the best score so far, "
                f"{self.objective.best(self.best)}, is forgotten"
            )
            self.best, self.refused = -math.inf, 0

    def _validates_otherwise(self, state: dict[str, Any]) -> bool:
        """Whether the scores of a state cannot be compared with those of this run."""
        if "validation" in state:
            return bool(state["validation"] != self.validation.fingerprint())
        # Earlier versions of irae stored no fingerprint.
        before = absolute_paths(check_config(state["config"], str(self.folder / STATE_FILE))).data
        now = self.config.data
        ours = {"max_round_trip"}
        return before.protocol != now.protocol or before.validation.model_dump(
            exclude=ours
        ) != now.validation.model_dump(exclude=ours)

    def describe(self) -> str:
        """Describe the state of the run and how to use its model, in one line."""
        limit = self.config.data.validation.max_round_trip
        best = "no validation yet"
        if self.best > -math.inf:
            best = f"best validation {self.objective.best(self.best)}"
        elif self.refused:
            best = (
                f"no best weights, since the round trip exceeded data.validation.max_round_trip, "
                f"{limit:g}/255, at each validation"
            )
        last = self.config.training.steps
        line = f"{self.step} steps" if self.step >= last else f"stopped at {self.step} of {last}"
        line += f", {best}"
        if self.left_out:
            line += f", {len(self.left_out)} unreadable pictures left out"
        if self.score is not None:
            line += f", {self.score.dead:.1%} of hidden units never fire"
        return f"{line}; {self.objective.command(shlex.quote(str(self.folder)))}"

    def advance(self) -> None:
        """Count an optimisation step and update the average of the weights."""
        self.step += 1
        self.ema.update(self.network, self.step)

    def check(self) -> None:
        """Check that every step so far was finite; waits for the device.

        Raises:
            TrainingError: a step was not; the message names it and the layer where it began.
        """
        bad = self.train_step.first_bad_step()
        if bad is None:
            return
        batch = self.ranks.together(lambda: self.batches.batch(bad - 1))
        found = [part for part in self.ranks.gather(diagnose(self.train_step, batch)) if part]
        what = found[0] if found else "the sum over the whole batch is not finite"

        def fail() -> None:
            raise TrainingError(
                f"step {bad}: {what}; {self.folder / STATE_FILE} is the last good state "
                "(lower the learning rate)"
            )

        self.ranks.on_main(fail)

    def save(self) -> None:
        """Write the state, and the averaged weights as a model file.

        Raises:
            TrainingError: a step was not finite.
            OSError: the disk reports an error.
        """
        self.check()
        self.ranks.on_main(self._write)

    def _write(self) -> None:
        save_state(self.folder, self.state())
        save_model(self.folder / LAST_MODEL, self.ema.network, self._described())

    def _described(self) -> ModelSpec:
        card = {
            "steps": self.step,
            "patches": self.step * self.config.training.batch_size,
            "seconds": round(self.seconds),
            "seed": self.config.seed,
            "versions": versions(),
            "config": self.config.model_dump(mode="json"),
        }
        return ModelSpec(self.spec.network, self.spec.options, self.spec.task, card)

    def validate(self) -> ValidationScore:
        """Score the averaged weights, and save them as ``best`` if the score is.

        Raises:
            TrainingError: a step was not finite.
            ModelError: an output is not finite.
        """
        self.check()
        # Running statistics differ between processes; those of the main process are saved.
        self.ranks.from_main(self.ema.network.buffers())
        model = self.objective.load(self.ema.network, self._described())
        model.to(self.device, self.config.training.precision)
        score: ValidationScore = self.validation.score(model, self.ranks)
        self.score = score
        model.spec.card.update(dead_units=round(score.dead, 4), **score.card())
        limit = self.config.data.validation.max_round_trip
        reversible = score.round_trip is None or score.round_trip <= limit
        better = score.mean > self.best and reversible
        self.best = score.mean if better else self.best
        self.refused = 0 if better else self.refused + (not reversible)
        self.ranks.on_main(lambda: self._keep(model, better))
        if self.config.training.restart_dead:
            networks = [self.network, self.ema.network]
            restart(networks, score.firing, self.config.seed, self.step)
        return score

    def _keep(self, model: Any, better: bool) -> None:
        if better:
            save_model(self.folder / BEST_MODEL, self.ema.network, model.spec)
        samples = self.folder / "samples"
        count = self.config.training.samples
        self.notices += self.objective.write_samples(model, self.validation, samples, count)


def begin(config: RunConfig, folder: Path, device: torch.device, ranks: Ranks = ALONE) -> Run:
    """Start a run in a new folder.

    Raises:
        TrainingError: the folder already holds a run, or other files.
        BusyError: another process begins one there.
    """
    ranks.on_main(lambda: check_new(folder))
    run = Run(resolve(config, device, ranks), folder, device, ranks=ranks)
    run.notices += run.collection.notices()
    if config.training.batch == "auto":
        run.notices.append(f"{run.config.training.batch} patches a step (training.batch: auto)")

    def write() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        run.lock = lock_folder(folder)
        check_new(folder)
        description = {"versions": versions(), "seed": config.seed, "command": sys.argv}
        # First, since it tells a run that was killed here from somebody's own files.
        _write_text(folder / RUN_FILE, json.dumps(description, indent=2) + "\n")
        _write_text(folder / CONFIG_FILE, dump_config(run.config))

    ranks.on_main(write)
    run.save()
    return run


def resume(
    folder: Path, device: torch.device, config: RunConfig | None = None, ranks: Ranks = ALONE
) -> Run:
    """Resume a run from its last checkpoint, with any number of processes.

    Args:
        folder: folder of the run; only the main process reads it.
        device: the training device.
        config: config in place of the run's own, for example to train longer.
        ranks: the processes that train together.

    Raises:
        TrainingError: the folder holds no run, or a run of another task.
        BusyError: another process trains it.
        ModelError: the state is damaged.
    """
    lock: list[Lock] = []

    def read() -> tuple[dict[str, Any], RunConfig]:
        if (folder / STATE_FILE).is_file():
            lock.append(lock_folder(folder))
        state = load_state(folder)
        before = check_config(state["config"], str(folder / STATE_FILE))
        if config is not None and _purpose(config) != _purpose(before):
            raise TrainingError(
                f"{folder}: is a run of {_purpose(before)}, not {_purpose(config)}; start another "
                "and give it model.init"
            )
        return state, config or before

    state, chosen = ranks.on_main(read)
    run = Run(resolve(chosen, device, ranks), folder, device, state, ranks)
    run.lock = lock[0] if lock else None
    if state["config"].get("data") != run.config.model_dump(mode="json")["data"]:
        run.notices += run.collection.notices()

    def write() -> None:
        for place in (folder, folder / "samples"):
            remove_leftovers(place)
        _write_text(folder / CONFIG_FILE, dump_config(run.config))
        truncate_metrics(folder, run.step)

    ranks.on_main(write)
    return run


def _start_network(network: nn.Module, init: str) -> nn.Module:
    """Load the network of a model of the same kind, whose weights a run starts from."""
    if isinstance(network, Density):
        return load_density(init).network
    if isinstance(network, PatchDensity):
        return load_patch_density(init).network
    if isinstance(network, DamageDetector):
        return load_detector(init).network
    return load_model(init).network


def _purpose(config: RunConfig) -> str:
    return f"task {config.task}" if config.task else f"objective {config.objective}"


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
