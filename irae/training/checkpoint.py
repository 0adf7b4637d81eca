"""Checkpoints: the state of a run on disk, complete for exact resumption and written atomically."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from irae.errors import TrainingError
from irae.models.checkpoints.safe_pickle import read_pickle
from irae.writing import write_atomically

STATE_FILE = "last.ckpt"
LAST_MODEL = "last.safetensors"
BEST_MODEL = "best.safetensors"
METRICS_FILE = "metrics.jsonl"
CONFIG_FILE = "config.yaml"
RUN_FILE = "run.json"

# What a folder may hold before a run begins there: notes and logs of what starts it.
_BESIDE = (".*", "*.json", "*.log", "*.out", "*.err")


def _is_number(value: object) -> bool:
    return type(value) in (int, float)


def _is_tensors(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(key, str) and isinstance(tensor, torch.Tensor) for key, tensor in value.items()
    )


def _is_optimizer(value: object) -> bool:
    if not isinstance(value, dict) or value.keys() != {"state", "param_groups"}:
        return False
    groups, kept = value["param_groups"], value["state"]
    return (
        isinstance(kept, dict)
        and all(isinstance(each, dict) for each in kept.values())
        and isinstance(groups, list)
        and all(isinstance(group, dict) and "params" in group for group in groups)
    )


# Checks of each part, so that the rest of the code can rely on its type.
_RIGHT: dict[str, Callable[[Any], bool]] = {
    "step": lambda value: type(value) is int and value >= 0,
    "seconds": _is_number,
    "best": _is_number,
    "network": _is_tensors,
    "ema": _is_tensors,
    "optimizer": _is_optimizer,
    "config": lambda value: isinstance(value, dict),
}
STATE_KEYS = tuple(_RIGHT)


def save_state(run: Path, state: dict[str, Any]) -> None:
    """Write the run's state to one file, renamed into place so that it is always complete."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(run / STATE_FILE, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def check_new(folder: Path) -> None:
    """Check that a run can begin in a folder, where it must not replace or extend any file.

    Raises:
        TrainingError: the folder holds a run, or files that are not of a run.
    """
    if (folder / STATE_FILE).exists():
        raise TrainingError(f"{folder}: already holds a run; `resume` it or choose another folder")
    if not folder.exists() or _begun(folder):
        return
    if not folder.is_dir():
        raise TrainingError(f"{folder}: is a file; choose a new folder")
    for path in sorted(folder.iterdir()):
        noted = any(path.match(pattern) for pattern in _BESIDE) and path.name != RUN_FILE
        if not noted:
            raise TrainingError(
                f"{folder}: holds {path.name}, which is not of a run; choose a new folder"
            )


def _begun(folder: Path) -> bool:
    """Whether a run began in a folder but was killed before its first checkpoint."""
    try:
        found = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and "versions" in found


def load_state(run: Path) -> dict[str, Any]:
    """Read the state that `save_state` wrote.

    Raises:
        TrainingError: the folder holds no run, or has links to files elsewhere.
        ModelError: the file is damaged.
    """
    path = run / STATE_FILE
    _check_links(run)
    if not path.is_file():
        raise TrainingError(f"{run}: holds no {STATE_FILE}; it is not a run, or never began")
    state = read_pickle(path)
    missing = set(STATE_KEYS) - set(state) if isinstance(state, dict) else set(STATE_KEYS)
    if missing:
        raise TrainingError(f"{path}: is not the state of a run; it lacks {', '.join(missing)}")
    for key, right in _RIGHT.items():
        if not right(state[key]):
            raise TrainingError(f"{path}: is not the state of a run; its {key!r} is damaged")
    return dict(state)


def _check_links(run: Path) -> None:
    """Refuse links out of the folder, through which an untrusted run could write elsewhere."""
    home = run.resolve()
    for place in (run, run / "samples"):
        for entry in place.iterdir() if place.is_dir() else ():
            if entry.is_symlink() and not entry.resolve().is_relative_to(home):
                raise TrainingError(f"{entry}: is a link out of the run's folder; copy it there")


def truncate_metrics(run: Path, step: int) -> None:
    """Drop the lines of ``metrics.jsonl`` after ``step``, and an incomplete last line.

    A resumed run repeats those steps and writes the lines again.
    """
    path = run / METRICS_FILE
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            break
    write_atomically(path, lambda t: t.write_text("".join(kept), encoding="utf-8"))
