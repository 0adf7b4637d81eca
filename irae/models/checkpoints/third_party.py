"""Reading third-party checkpoints, and recognising their network."""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from irae.errors import ModelError, first_line
from irae.models.checkpoints.irae_authors import read_authors_state
from irae.models.checkpoints.safe_build import build_described, misfit
from irae.models.checkpoints.safe_pickle import read_pickle

# A tensor of a convolution or normalisation, numbered in the order of the layers.
_LAYER = re.compile(
    r"(?:module\.)?model\.(\d{1,4})\.(weight|bias|running_mean|running_var|num_batches_tracked)"
)

MAX_BYTES = 1 << 30
"""Largest size in bytes of the unpacked arrays of an ``.npz``."""


@dataclass(frozen=True)
class Imported:
    """A third-party checkpoint converted to this package's form.

    Attributes:
        network: name of the network in the registry.
        options: options with which the network is built.
        state: tensors with this package's names.
        task: name of the task it was trained for, as far as the file tells.
        channels: number of channels of its pictures.
    """

    network: str
    options: dict[str, Any]
    state: dict[str, Tensor]
    task: str = "denoise"
    channels: int = 3


def read_foreign(path: Path) -> Imported:
    """Read a published weights file, whose network is recognised by its tensors.

    Supported are checkpoints of the IRAE authors' code; DnCNN and FFDNet as ``model.N.weight``
    and ``model.N.bias``, with batch normalisation merged or not; DnCNN-3 for JPEG as an ``.npz``
    of arrays ``w0 … wN`` (out, in, height, width) and ``b0 … bN``.

    Raises:
        ModelError: the file cannot be read or holds something else, which the message names.
    """
    if path.suffix == ".npz":
        return _plain_network(path, _layers_of_npz(path), "jpeg")
    content = read_pickle(path)
    inner = content.get("state_dict") if isinstance(content, dict) else None
    for state in (content, inner):
        if isinstance(state, dict) and state and all(_is_layer(k, v) for k, v in state.items()):
            return _plain_network(path, _layers_of_sequence(state), "denoise")
    options, renamed = read_authors_state(path, content)
    return Imported("irae", options, renamed)


def _is_layer(key: object, value: object) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor) and bool(_LAYER.fullmatch(key))


def _layers_of_npz(path: Path) -> list[dict[str, Tensor]]:
    try:
        _check_arrays(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(np.asarray(file[name])) for name in file.files}
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except MemoryError:
        raise ModelError(f"{path}: is too large for this machine's memory") from None
    # NumPy parses a header as Python literals, which adds their errors to those of the archive.
    except (
        *(OSError, ValueError, TypeError, EOFError, LookupError, SyntaxError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error, struct.error),
    ) as error:
        reason = first_line(error)[:120]
        raise ModelError(f"{path}: cannot be read as arrays of NumPy ({reason})") from None
    count = len(arrays) // 2
    expected = {f"{kind}{index}" for kind in "wb" for index in range(count)}
    if not count or set(arrays) != expected:
        odd = min(set(arrays) ^ expected, default="(nothing)")
        raise ModelError(f"{path}: expected arrays w0, b0, w1, b1 …; see {odd!r}")
    return [{"weight": arrays[f"w{i}"], "bias": arrays[f"b{i}"]} for i in range(count)]


def _check_arrays(path: Path) -> None:
    """Check the sizes that an archive and its arrays claim, also against :data:`MAX_BYTES`.

    Raises:
        ValueError: they claim more than they hold, or more than is allowed.
    """
    header = np.lib.format
    readers = {(1, 0): header.read_array_header_1_0, (2, 0): header.read_array_header_2_0}
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > MAX_BYTES:
            raise ValueError(f"more than the {MAX_BYTES >> 20} MiB allowed once unpacked")
        for member in members:
            with archive.open(member) as stream:
                read = readers.get(header.read_magic(stream))
                if read is None:
                    raise ValueError(f"array {member.filename[:80]!r} is of an unknown version")
                shape, _, dtype = read(stream)
                if math.prod(shape) * dtype.itemsize > member.file_size:
                    raise ValueError(f"array {member.filename[:80]!r} claims more than it holds")


def _layers_of_sequence(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    layers: dict[int, dict[str, Tensor]] = {}
    for key, value in state.items():
        match = _LAYER.fullmatch(key)
        if match is not None:
            layers.setdefault(int(match[1]), {})[match[2]] = value
    return [layers[number] for number in sorted(layers)]


def _plain_network(path: Path, layers: list[dict[str, Tensor]], task: str) -> Imported:
    """Convert DnCNN or FFDNet from its convolutions and normalisations in order."""
    state: dict[str, Tensor] = {}
    inputs: list[int] = []
    outputs = 0
    bias: Tensor | None = None
    for layer in layers:
        weight = layer.get("weight")
        if weight is not None and weight.ndim == 4:
            at = f"body.convolutions.{len(inputs)}"
            state.update({f"{at}.{name}": value.float() for name, value in layer.items()})
            bias = layer.get("bias")
            inputs.append(weight.shape[1])
            outputs = weight.shape[0]
        elif "running_mean" in layer and inputs:
            position = len(inputs) - 1
            norm = {name: value.float() for name, value in layer.items()}
            norm.setdefault("num_batches_tracked", torch.zeros(()))
            if bias is not None and bias.shape != norm["running_mean"].shape:
                raise ModelError(f"{path}: normalisation {position} does not fit its convolution")
            if bias is not None:
                # A bias before a normalisation only shifts the mean, which is subtracted again.
                norm["running_mean"] = norm["running_mean"] - bias.float()
                del state[f"body.convolutions.{position}.bias"]
            state.update({f"body.norms.{position}.{name}": v for name, v in norm.items()})
        else:
            raise ModelError(f"{path}: layer {len(inputs)} is not a convolution of a known network")
    network, channels = _which(path, inputs[0] if inputs else 0, outputs)
    options = {
        "channels": channels,
        "width": inputs[-1],
        "layers": len(inputs),
        "batch_norm": any(key.startswith("body.norms.") for key in state),
    }
    return Imported(network, options, state, task, channels)


def _which(path: Path, inputs: int, outputs: int) -> tuple[str, int]:
    if inputs == outputs and outputs in (1, 3):
        return "dncnn", outputs
    if inputs == outputs + 1 and outputs in (4, 12):
        return "ffdnet", outputs // 4
    raise ModelError(
        f"{path}: its convolutions take {inputs} channels to {outputs}; neither DnCNN (1 to 1, "
        "3 to 3) nor FFDNet (5 to 4, 13 to 12) does"
    )


def load_foreign(path: Path) -> tuple[nn.Module, Imported]:
    """Build the network of a third-party checkpoint, with its weights.

    Raises:
        ModelError: as for `read_foreign`, or the tensors do not form one network.
    """
    found = read_foreign(path)
    shapes = {key: tuple(value.shape) for key, value in found.state.items()}
    network = build_described(path, found.network, found.options, shapes)
    odd = misfit(network, shapes)
    if odd is not None:
        raise ModelError(f"{path}: is incomplete or irregular; see tensor {odd!r}")
    network.load_state_dict(found.state)
    return network, found
