"""Checksums that identify models and detect damaged files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from irae.errors import ModelError
from irae.models.checkpoints.model_file import (
    packaged_densities,
    packaged_detectors,
    packaged_models,
    packaged_patch_densities,
)
from irae.models.loaded import LoadedModel
from irae.models.loaded_detector import LoadedDetector
from irae.writing import file_sha256, write_atomically

CHECKSUMS = "checksums.txt"
"""File beside the packaged weights: a line ``SHA256  NAME`` each, as ``sha256sum`` reads it."""


def weights_checksum(model: LoadedModel | LoadedDetector) -> str:
    """Return the hexadecimal SHA-256 of a model's network, options and weights, not its card."""
    digest = hashlib.sha256(f"{model.spec.network} {sorted(model.spec.options.items())}".encode())
    for name, tensor in sorted(model.network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def recorded_checksums(folder: Path) -> dict[str, str]:
    """Read the checksums recorded when the weights were packaged, by file name.

    Raises:
        ModelError: the record is missing or damaged.
    """
    path = folder / CHECKSUMS
    try:
        rows = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        return {name: checksum for checksum, name in rows}
    except (OSError, ValueError):
        raise ModelError(f"{path}: missing or damaged; install irae again") from None


def write_checksums(folder: Path) -> None:
    """Record the checksums of all weights in a folder."""
    rows = [f"{file_sha256(path)}  {path.name}" for path in sorted(folder.glob("*.safetensors"))]
    text = "".join(f"{row}\n" for row in rows)
    write_atomically(folder / CHECKSUMS, lambda path: path.write_text(text, encoding="utf-8"))


def check_packaged_weights() -> dict[str, str | None]:
    """Check the file of each packaged model, density and detector.

    Returns:
        By model name, one line that describes the fault, or None if the file is intact.

    Raises:
        ModelError: a record is missing or damaged.
    """
    found: dict[str, str | None] = {}
    kinds = (packaged_models, packaged_densities, packaged_patch_densities, packaged_detectors)
    for packaged in kinds:
        found |= _check_folder(packaged())
    return found


def _check_folder(paths: dict[str, Path]) -> dict[str, str | None]:
    if not paths:
        return {}
    folder = next(iter(paths.values())).parent
    recorded = recorded_checksums(folder)
    found: dict[str, str | None] = {}
    for file in sorted({*recorded, *(path.name for path in paths.values())}):
        path, name = folder / file, Path(file).stem
        if not path.is_file():
            found[name] = f"{path}: missing; install irae again"
        elif file not in recorded:
            found[name] = f"{path}: not one of the packaged weights; move it elsewhere"
        elif file_sha256(path) != recorded[file]:
            found[name] = f"{path}: changed since it was packaged; install irae again"
        else:
            found[name] = None
    return found
