"""The record of the packaged weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from irae.errors import ModelError
from irae.models.checkpoints import checksums
from irae.models.checkpoints.checksums import (
    CHECKSUMS,
    check_packaged_weights,
    recorded_checksums,
    weights_checksum,
    write_checksums,
)
from irae.models.checkpoints.model_file import (
    load_model,
    packaged_densities,
    packaged_detectors,
    packaged_models,
)
from irae.writing import file_sha256


def test_the_record_is_that_of_the_packaged_weights() -> None:
    paths = packaged_models()
    folder = next(iter(paths.values())).parent
    assert recorded_checksums(folder) == {p.name: file_sha256(p) for p in paths.values()}
    found = check_packaged_weights()
    assert set(found.values()) == {None}
    assert {*paths, *packaged_densities(), *packaged_detectors()} <= set(found)


KINDS = (
    "packaged_models",
    "packaged_densities",
    "packaged_patch_densities",
    "packaged_detectors",
)


@pytest.fixture(params=KINDS)
def weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Path:
    """A folder of weights and their record, taken for the packaged ones of one kind."""
    for name in ("one", "two"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode() * 10)
    write_checksums(tmp_path)
    found = {"one": tmp_path / "one.safetensors", "two": tmp_path / "two.safetensors"}
    for kind in KINDS:
        monkeypatch.setattr(checksums, kind, dict)
    monkeypatch.setattr(
        checksums, request.param, lambda: {k: p for k, p in found.items() if p.exists()}
    )
    return tmp_path


def test_faults_are_told_with_their_remedy(weights: Path) -> None:
    assert check_packaged_weights() == {"one": None, "two": None}
    (weights / "one.safetensors").write_bytes(b"onE" * 10)
    (weights / "two.safetensors").unlink()
    found = check_packaged_weights()
    assert "changed since it was packaged; install irae again" in str(found["one"])
    assert "missing; install irae again" in str(found["two"])


def test_a_missing_or_damaged_record_is_one_line(weights: Path) -> None:
    (weights / CHECKSUMS).write_text("nonsense\n")
    with pytest.raises(ModelError, match="install irae again"):
        check_packaged_weights()
    (weights / CHECKSUMS).unlink()
    with pytest.raises(ModelError, match="install irae again"):
        check_packaged_weights()


def test_the_record_can_be_read_by_sha256sum(weights: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    import subprocess

    command = ["sha256sum", "--check", "--quiet", CHECKSUMS]
    assert subprocess.run(command, cwd=weights).returncode == 0


def test_models_differ_by_their_checksums(model_files: dict[str, Path]) -> None:
    one, other = load_model(model_files["denoise"]), load_model(model_files["denoise"])
    assert weights_checksum(one) == weights_checksum(other)
    with torch.no_grad():
        next(other.network.parameters()).add_(1e-6)
    assert weights_checksum(one) != weights_checksum(other)
