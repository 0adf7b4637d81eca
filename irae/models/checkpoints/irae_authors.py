"""Reading the checkpoints of the published code (arXiv 2009.03173)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from irae.errors import ModelError
from irae.models.checkpoints.safe_pickle import read_pickle

_STEP = re.compile(
    r"(?:module\.)?block([12])\.flowlevels\.(\d{1,4})\.flowsteps\.(\d{1,4})\.([012])\.(.+)"
)
# Buffers of the published code, and a learned prior that restoring never uses.
_UNUSED = re.compile(
    r"(?:module\.)?block[12]\.(base_dist_(mean|var)|.*\.initialized|.*gaussianize.*)"
)
_RENAMED = {"w": "weight", "log_scale_factor": "network.log_scale"}


def read_authors_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read ``{'epoch', 'global_step', 'state_dict'}`` as the published code saves it.

    Width, depth and levels are inferred from the tensors.

    Returns:
        The options of `irae.models.networks.irae.IRAE`, and the state dict with this package's
        names.

    Raises:
        ModelError: the file is no such checkpoint; the message names the first unexpected key.
    """
    return read_authors_state(path, read_pickle(path))


def read_authors_state(path: Path, content: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a checkpoint that `read_pickle` has opened; see `read_authors_checkpoint`."""
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise ModelError(
            f"{path}: holds no network known here: no 'state_dict' of the IRAE authors' code, and"
            " not the tensors 'model.N.weight' of DnCNN or FFDNet alone"
        )
    renamed: dict[str, Tensor] = {}
    levels = depth = 0
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise ModelError(
                f"{path}: entry {str(key)[:120]!r} of its state_dict is not a named tensor"
            )
        match = _STEP.fullmatch(key)
        if _UNUSED.fullmatch(key):
            continue
        if match is None:
            raise ModelError(f"{path}: key {key[:120]!r} is not of the authors' IRAE")
        block, level, step, part, name = match.groups()
        levels, depth = max(levels, int(level) + 1), max(depth, int(step) + 1)
        name = _RENAMED.get(name, name if part != "2" else f"network.{name}")
        flow = "encoder" if block == "1" else "decoder"
        # Position 0 of a level is its squeeze; each step has three layers.
        position = 1 + 3 * int(step) + int(part)
        renamed[f"{flow}.levels.{level}.steps.{position}.{name}"] = value.float()
    first = "encoder.levels.0.steps.3.network.conv1.weight"
    if first not in renamed or renamed[first].ndim != 4:
        raise ModelError(f"{path}: holds no flow steps; expected keys 'module.block1.flowlevels…'")
    from irae.models.networks.irae import PRESETS

    options = {**PRESETS["paper"], "width": renamed[first].shape[0]}
    return {**options, "depth": depth, "levels": levels}, renamed
