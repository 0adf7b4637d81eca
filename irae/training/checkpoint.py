"""The state of a run on disk: enough to go on exactly, written so that a kill cannot harm it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import torch

from irae.errors import TrainingError
from irae.models.authors import read_pickle
from irae.writing import write_atomically

STATE_FILE = "last.ckpt"
LAST_MODEL = "last.safetensors"
BEST_MODEL = "best.safetensors"
METRICS_FILE = "metrics.jsonl"
STATE_KEYS = ("step", "seconds", "best", "network", "ema", "optimizer", "config")
CONFIG_FILE = "config.yaml"


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write the run's state: one file, renamed into place, so it is whole at any moment."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(run / STATE_FILE, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def load_state(run: Path) -> dict[str, Any]:
    """Read what `save_state` wrote.

    Raises:
        TrainingError: the folder holds no run.
        ModelError: the file is damaged.
    """
    path = run / STATE_FILE
    if not path.is_file():
        raise TrainingError(f"{run}: holds no {STATE_FILE}; it is not a run, or never began")
    state = read_pickle(path)
    missing = set(STATE_KEYS) - set(state) if isinstance(state, dict) else set(STATE_KEYS)
    if missing:
        raise TrainingError(f"{path}: is not the state of a run; it lacks {', '.join(missing)}")
    return dict(state)


def truncate_metrics(run: Path, step: int) -> None:
    """Drop the lines of ``metrics.jsonl`` after ``step``, and one cut short by a kill.

    A resumed run repeats those steps and writes the lines again.
    """
    path = run / METRICS_FILE
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            break
    write_atomically(path, lambda t: t.write_text("".join(kept), encoding="utf-8"))
