"""The log of a training: what is printed, and what is written down."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from irae.training.checkpoint import METRICS_FILE
from irae.training.objectives.base import ValidationScore
from irae.training.run import Run
from irae.training.step import learning_rate

DEAD_SHARE = 0.05
"""Share of dead hidden units above which a warning names the layer."""

ESTIMATE_AFTER = 60.0
"""Seconds of training after which the remaining time is printed."""

WARM_UP = 2
"""First steps that are not timed, because compilers, caches and devices start in them."""


def duration(seconds: float) -> str:
    """Format a time such as ``45 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Log:
    """Logs a run in its main process: to the terminal, ``metrics.jsonl`` and TensorBoard.

    Where stderr is no terminal, a line for each ``training.log_every`` stands for the progress bar,
    which would fill a file.
    """

    def __init__(self, run: Run, stack: ExitStack, estimate: bool = False) -> None:
        self._run = run
        # A resumed run has said it already.
        self._estimate = estimate and run.seconds < ESTIMATE_AFTER
        self._timed, self._seconds = -WARM_UP, 0.0
        steps, step = run.config.training.steps, run.step
        # None shows the bar on a terminal only.
        silent = None if run.ranks.main else True
        self._bar = stack.enter_context(
            tqdm(total=steps, initial=step, unit="step", dynamic_ncols=True, disable=silent)
        )
        self._writer, self._log = None, None
        if run.ranks.main:
            writer = SummaryWriter(str(run.folder), purge_step=step + 1)
            self._writer = stack.enter_context(writer)
            log = (run.folder / METRICS_FILE).open("a", encoding="utf-8")
            self._log = stack.enter_context(log)
        self._since = step
        self._waited = self._worked = 0.0

    def step(self, waited: float, spent: float) -> None:
        """Count one step: the seconds that it waited for its batch, and its total seconds."""
        self._waited, self._worked = self._waited + waited, self._worked + spent
        self._bar.update()
        run = self._run
        self._timed += 1
        if self._timed > 0:
            self._seconds += spent
        if self._estimate and self._timed > 0 and run.seconds >= ESTIMATE_AFTER:
            self._estimate = False
            left = (run.config.training.steps - run.step) * self._seconds / self._timed
            self.say(f"about {duration(left)} to go, at this speed")

    def notices(self) -> None:
        """Print the notices of the run, each once."""
        for line in self._run.notices:
            self.say(line)
        self._run.notices.clear()

    def unreadable(self) -> None:
        """Print the pictures that this process could not read since the last call."""
        for path, reason in list(self._run.batches.left_out.items()):
            if path not in self._run.left_out:
                self._run.left_out.add(path)
                # Other processes read other pictures, and must say so themselves.
                self._bar.write(f"left out: {reason}", file=sys.stderr)

    def training(self, loss: Tensor, error: Tensor) -> None:
        """Record the loss and the mean squared error of the step just taken."""
        section, step = self._run.config.training, self._run.step
        start = time.perf_counter()
        values = torch.stack([loss, error]).tolist()  # Waits for the device, so this is...
        worked = max(self._worked + time.perf_counter() - start, 1e-9)  # ...time of the steps.
        phrase, figures = self._run.objective.progress(*values)
        speed = section.batch_size * (step - self._since) / worked
        waiting = self._waited / worked
        self._since, self._waited, self._worked = step, 0.0, 0.0
        phrase += f", {speed:.0f} patches/s, waiting {waiting:.1%}"
        if self._bar.disable:
            self.say(f"step {step} of {section.steps}: {phrase}")
        else:
            self._bar.set_postfix_str(phrase)
        self._record(
            {
                **figures,
                "learning_rate": learning_rate(step - 1, section),
                "patches_per_second": speed,
                "waiting_share": waiting,
            }
        )

    def validation(self, score: ValidationScore) -> None:
        """Record a validation and print it."""
        self._record(score.record())
        self.say(
            f"step {self._run.step}: {score.describe()}; "
            f"{score.dead:.1%} of hidden units never fire"
        )
        limit = self._run.config.data.validation.max_round_trip
        if score.round_trip is not None and score.round_trip > limit:
            self.say(
                f"warning: the round trip exceeds data.validation.max_round_trip, {limit:g}/255; "
                "these weights cannot become the best"
            )
        for layer, share in score.mostly_dead(DEAD_SHARE).items():
            self.say(f"warning: {share:.0%} of the hidden units of {layer} never fire")
        self.notices()

    def say(self, line: str) -> None:
        """Print a line to stderr, in the main process."""
        if self._run.ranks.main:
            self._bar.write(line, file=sys.stderr)

    def _record(self, values: dict[str, Any]) -> None:
        if self._log is None or self._writer is None:
            return
        self._log.write(json.dumps({"step": self._run.step, **values}) + "\n")
        self._log.flush()
        for key, value in values.items():
            if isinstance(value, (int, float)):
                self._writer.add_scalar(key, value, self._run.step)
