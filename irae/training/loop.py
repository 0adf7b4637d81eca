"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW
from torch.utils.tensorboard import SummaryWriter
from torchvision.utils import save_image
from tqdm import tqdm

from irae.config import RunConfig, TrainingSection, check_config, dump_config
from irae.errors import ModelError, TrainingError
from irae.flow.networks import set_network_dtype
from irae.models.files import (
    LoadedModel,
    ModelSpec,
    load_model,
    save_model,
)
from irae.models.registry import NETWORKS, build_network, resolve_options
from irae.runtime import network_dtype, versions
from irae.training.batches import Batch, BatchMaker
from irae.training.checkpoint import (
    BEST_MODEL,
    CONFIG_FILE,
    LAST_MODEL,
    METRICS_FILE,
    STATE_FILE,
    load_state,
    save_state,
    truncate_metrics,
)
from irae.training.diagnosis import first_bad_gradient, first_bad_layer
from irae.training.ema import EMA
from irae.training.validation import Score, Validation, side_by_side
from irae.writing import remove_leftovers, write_atomically

_LOSSES: dict[str, Callable[[Tensor], Tensor]] = {
    "l1": torch.abs,
    "l2": torch.square,
    # The logarithm of each sample's mean square (Chen et al. 2022, arXiv 2204.04676): a large hole,
    # whose content nobody can know, must not drown the small ones of the same batch.
    "psnr": torch.square,
    # Charbonnier et al. 1994, as in Lai et al. 2017 (epsilon 1e-3).
    "charbonnier": lambda error: torch.sqrt(error * error + 1e-6),
}


def learning_rate(step: int, section: TrainingSection) -> float:
    """Linear warm-up, then the schedule; a function of the step alone, so nothing to resume."""
    if step < section.warmup:
        return section.learning_rate * (step + 1) / section.warmup
    if section.schedule == "step":
        return section.learning_rate * section.gamma ** (step // section.step_every)
    progress = (step - section.warmup) / max(1, section.steps - section.warmup)
    cosine = (1 + math.cos(math.pi * min(1.0, progress))) / 2
    span = section.learning_rate - section.final_learning_rate
    return section.final_learning_rate + span * cosine


class Run:
    """One training run in one folder: everything that a checkpoint holds, and how it advances.

    Args:
        config: the resolved config.
        folder: where the run lives; made if absent.
        device: where to train.
        state: what `load_state` gave, to go on from; None to begin.
    """

    def __init__(
        self,
        config: RunConfig,
        folder: Path,
        device: torch.device,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.config, self.folder, self.device = config, folder, device
        options = resolve_options(config.model.network, config.model.preset, config.model.options)
        if config.task not in NETWORKS[config.model.network].tasks:
            raise TrainingError(
                f"model.network {config.model.network!r} does not do task {config.task!r}"
            )
        self.spec = ModelSpec(config.model.network, options, config.task)
        # Layers draw their start from the global generator; a fork keeps the caller's untouched.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.network = build_network(self.spec.network, options)
        self.network.to(device).to(memory_format=torch.channels_last)
        multiple = int(getattr(self.network, "size_multiple", 1))
        if config.data.patch % multiple:
            raise TrainingError(
                f"data.patch is {config.data.patch}; this network needs a multiple of {multiple}"
            )
        self.batches = BatchMaker(config, device)
        self.validation = Validation(config)
        if state is None:
            self._start_weights()
        section = config.training
        self.ema = EMA(self.network, section.ema)
        self.optimizer = AdamW(
            self.network.parameters(),
            lr=section.learning_rate,
            betas=section.betas,
            weight_decay=section.weight_decay,
            fused=True,
        )
        self.step, self.seconds, self.best = 0, 0.0, -math.inf
        if state is not None:
            self._restore(state)
        set_network_dtype(self.network, network_dtype(section.precision))
        self.waited = self.worked = 0.0
        self.since_log = 0

    def _start_weights(self) -> None:
        init = self.config.model.init
        if init is not None:
            given = load_model(init)
            try:
                self.network.load_state_dict(given.network.state_dict())
            except RuntimeError:
                raise ModelError(
                    f"model.init {init!r}: its tensors do not fit the network of this config"
                ) from None
            return
        initialise = getattr(self.network, "initialise", None)
        if initialise is not None:
            first = self.batches.batch(0)
            initialise(first.degraded, self._condition(first))

    def state(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "config": self.config.model_dump(mode="json"),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        try:
            self.network.load_state_dict(state["network"])
            self.ema.network.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError):
            raise TrainingError(
                f"{self.folder / STATE_FILE}: its tensors do not fit the network of the config; "
                "the model section must stay as it was"
            ) from None
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]

    def save(self) -> None:
        """Write the state, and the averaged weights as a model file."""
        save_state(self.folder, self.state())
        save_model(self.folder / LAST_MODEL, self.ema.network, self._described())

    def _described(self) -> ModelSpec:
        card = {
            "steps": self.step,
            "patches": self.step * self.config.training.batch,
            "seconds": round(self.seconds),
            "seed": self.config.seed,
            "versions": versions(),
            "config": self.config.model_dump(mode="json"),
        }
        return ModelSpec(self.spec.network, self.spec.options, self.spec.task, card)

    def _condition(self, batch: Batch) -> Tensor | None:
        if batch.mask is None or not getattr(self.network, "condition_channels", 0):
            return None
        return batch.mask.float()

    def _loss(self, restored: Tensor, batch: Batch) -> Tensor:
        kind = self.config.training.loss
        error = _LOSSES[kind](restored - batch.clean)
        weight = torch.ones_like(error[:, :1])
        # Only the holes are looked at in the end: known pixels are put back. A little weight on
        # them keeps the network near the identity there, and so well conditioned.
        if batch.mask is not None:
            weight = torch.where(batch.mask, 1.0, self.config.training.known_weight)
        if kind != "psnr":
            return (error * weight).sum() / (weight.sum() * error.shape[1])
        share = weight.sum((1, 2, 3)) * error.shape[1]
        return torch.log((error * weight).sum((1, 2, 3)) / share + 1e-5).mean()

    def train_step(self, batch: Batch) -> tuple[float, float]:
        """One optimisation step; returns the loss and the batch's PSNR in dB.

        Raises:
            TrainingError: the loss is not finite; names the layer where that began.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.step, self.config.training)
        restored = self.network(batch.degraded, self._condition(batch))
        loss = self._loss(restored, batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"step {self.step + 1}: the loss is {value}; first in "
                f"{first_bad_layer(self.network, batch.degraded, self._condition(batch))}; "
                f"{self.folder / STATE_FILE} is the last good state (lower the learning rate)"
            )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        parameters = list(self.network.parameters())
        gradients = [p.grad for p in parameters if p.grad is not None]
        total = nn.utils.get_total_norm(gradients)
        norm = float(total)
        if not math.isfinite(norm):
            raise TrainingError(
                f"step {self.step + 1}: the gradient is {norm}, first in "
                f"{first_bad_gradient(self.network)}; {self.folder / STATE_FILE} is the last good "
                "state (lower the learning rate)"
            )
        nn.utils.clip_grads_with_norm_(parameters, self.config.training.clip_norm, total)
        self.optimizer.step()
        self.step += 1
        self.ema.update(self.network, self.step)
        error = F.mse_loss(restored.detach().clamp(0, 1), batch.clean)
        return value, -10 * math.log10(max(float(error), 1e-12))

    def validate(self) -> Score:
        """Score the averaged weights; keep them as ``best`` if they are."""
        model = LoadedModel(self.ema.network, self._described(), "average")
        model.to(self.device, self.config.training.precision)
        score = self.validation.score(model)
        limit = self.config.data.validation.max_round_trip
        reversible = score.round_trip is None or score.round_trip <= limit
        if score.mean > self.best and reversible:
            self.best = score.mean
            save_model(self.folder / BEST_MODEL, self.ema.network, self._described())
        for index, case in enumerate(self.validation.samples(self.config.training.samples)):
            path = self.folder / "samples" / f"{index:02d}.png"
            row = side_by_side(model, case)
            write_atomically(path, partial(save_image, row, format="png"))
        return score


@contextmanager
def _stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying in the middle of a step."""
    received: list[int] = []
    old = {
        number: signal.signal(number, lambda n, _: received.append(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield received
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def begin(config: RunConfig, folder: Path, device: torch.device) -> Run:
    """Start a run in a new folder.

    Raises:
        TrainingError: the folder already holds a run.
    """
    if (folder / STATE_FILE).exists():
        raise TrainingError(f"{folder}: already holds a run; use --resume {folder} or another -o")
    run = Run(config, folder, device)
    folder.mkdir(parents=True, exist_ok=True)
    _write_text(folder / CONFIG_FILE, dump_config(config))
    description = {"versions": versions(), "seed": config.seed, "command": sys.argv}
    _write_text(folder / "run.json", json.dumps(description, indent=2) + "\n")
    run.save()
    return run


def resume(folder: Path, device: torch.device, config: RunConfig | None = None) -> Run:
    """Go on with a run where its last checkpoint left it.

    Args:
        folder: the run.
        device: where to train.
        config: in place of the run's own (to train longer, say).
    """
    state = load_state(folder)
    origin = str(folder / STATE_FILE)
    before = check_config(state["config"], origin)
    if config is not None and config.task != before.task:
        raise TrainingError(
            f"{folder}: is a run of task {before.task}, not {config.task}; start another and give "
            "it model.init"
        )
    run = Run(config or before, folder, device, state)
    remove_leftovers(folder)
    _write_text(folder / CONFIG_FILE, dump_config(run.config))
    truncate_metrics(folder, run.step)
    return run


def _write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def train(run: Run, *, max_steps: int | None = None, max_minutes: float | None = None) -> None:
    """Train until the schedule ends, a limit is reached, or Ctrl-C; always leaves a checkpoint.

    Args:
        run: from `begin` or `resume`.
        max_steps: stop when the run has taken this many steps in all.
        max_minutes: stop after this time of this call.
    """
    section = run.config.training
    last = section.steps if max_steps is None else min(section.steps, max_steps)
    if section.threads is not None:
        torch.set_num_threads(section.threads)
    deadline = math.inf if max_minutes is None else time.monotonic() + 60 * max_minutes
    writer = SummaryWriter(str(run.folder), purge_step=run.step + 1)
    bar = tqdm(total=section.steps, initial=run.step, unit="step", dynamic_ncols=True)
    log = (run.folder / METRICS_FILE).open("a", encoding="utf-8")

    def record(values: dict[str, Any]) -> None:
        log.write(json.dumps({"step": run.step, **values}) + "\n")
        log.flush()
        for key, value in values.items():
            if isinstance(value, (int, float)):
                writer.add_scalar(key, value, run.step)

    with _stop_requests() as stop, bar, log, writer:
        batches = run.batches.prefetched(run.step)
        while run.step < last and not stop and time.monotonic() < deadline:
            start = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - start
            loss, quality = run.train_step(batch)
            spent = time.perf_counter() - start
            run.seconds += spent
            run.waited, run.worked = run.waited + waited, run.worked + spent
            run.since_log += 1
            bar.update()
            if run.step % section.log_every == 0:
                speed = section.batch * run.since_log / max(run.worked, 1e-9)
                waiting = run.waited / max(run.worked, 1e-9)
                run.waited = run.worked = 0.0
                run.since_log = 0
                bar.set_postfix_str(
                    f"loss {loss:.4f}, PSNR {quality:.2f} dB, {speed:.0f} patches/s, "
                    f"waiting {waiting:.1%}"
                )
                rate = learning_rate(run.step - 1, section)
                record(
                    {
                        "loss": loss,
                        "psnr": quality,
                        "learning_rate": rate,
                        "patches_per_second": speed,
                        "waiting_share": waiting,
                    }
                )
            if run.step % section.validate_every == 0 or run.step == section.steps:
                score = run.validate()
                record(
                    {
                        "validation_psnr": score.mean,
                        "validation": score.levels,
                        "round_trip": score.round_trip,
                    }
                )
                bar.write(_sentence(run.step, score), file=sys.stderr)
            if run.step % section.checkpoint_every == 0:
                run.save()
        batches.close()  # type: ignore[attr-defined]
        run.save()


def _sentence(step: int, score: Score) -> str:
    levels = ", ".join(f"{k} {b:.2f} → {a:.2f} dB" for k, (b, a) in score.levels.items())
    trip = "" if score.round_trip is None else f"; round trip {score.round_trip:.4f}/255"
    return f"step {step}: {levels}; mean {score.mean:.3f}{trip}"
