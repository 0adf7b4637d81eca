"""One restorer per task, and what tells one model from another."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch

from irae.batch.model_pool import ModelPool
from irae.errors import UsageError
from irae.models.checkpoints.model_file import load_model, save_model
from irae.restoring.options import RestoreOptions


def test_each_task_has_its_packaged_model_loaded_once() -> None:
    pool = ModelPool(RestoreOptions(device="cpu"))
    denoise, jpeg = pool.restorer_for("denoise"), pool.restorer_for("jpeg")
    assert (denoise.task, jpeg.task) == ("denoise", "jpeg")
    assert pool.restorer_for("denoise") is denoise
    assert pool.weights_of("denoise") != pool.weights_of("jpeg")


def test_a_model_that_was_asked_for_does_whatever_it_is_for(model_files: dict[str, Path]) -> None:
    pool = ModelPool(RestoreOptions(model=str(model_files["jpeg"]), device="cpu"))
    assert pool.restorer_for("denoise") is pool.restorer_for("")
    assert pool.restorer_for("").task == "jpeg"
    other = ModelPool(RestoreOptions("denoise", str(model_files["jpeg"]), device="cpu"))
    with pytest.raises(UsageError, match="`task` denoise, but model"):
        other.restorer_for("denoise")


def test_the_checksum_is_of_the_weights_and_not_of_their_place(
    model_files: dict[str, Path], tmp_path: Path
) -> None:
    def checksum(path: Path, precision: str = "auto") -> str:
        options = RestoreOptions(model=str(path), device="cpu", precision=precision)
        return ModelPool(options).weights_of("denoise")

    copy = tmp_path / "copy.safetensors"
    shutil.copy(model_files["denoise"], copy)
    first = checksum(model_files["denoise"])
    assert checksum(copy) == first == checksum(copy, "fp32")
    model = load_model(copy)
    with torch.no_grad():
        next(model.network.parameters())[0] += 1e-3
    save_model(copy, model.network, model.spec)
    assert checksum(copy) != first


def test_settings_can_be_sent_elsewhere() -> None:
    options = RestoreOptions("denoise", sigma=3.0, precision="fp32")
    assert pickle.loads(pickle.dumps(options)) == options
    assert options.recorded() | {"sigma": 3.0, "precision": "fp32"} == options.recorded()
    # Manifests from before these options stay valid.
    assert "ensemble" not in options.recorded()
    assert RestoreOptions(ensemble=True).recorded()["ensemble"] is True
    assert RestoreOptions(grow_mask=2).recorded()["grow_mask"] == 2
