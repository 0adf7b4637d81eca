"""One restorer per task, and what tells one model from another."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch

from irae.batch.choose import Restorers, Settings
from irae.errors import UsageError
from irae.models.checkpoints.model_file import load_model, save_model


def test_each_task_has_its_packaged_model_loaded_once() -> None:
    restorers = Restorers(Settings(device="cpu"))
    denoise, jpeg = restorers.restorer_for("denoise"), restorers.restorer_for("jpeg")
    assert (denoise.task, jpeg.task) == ("denoise", "jpeg")
    assert restorers.restorer_for("denoise") is denoise
    assert restorers.weights_of("denoise") != restorers.weights_of("jpeg")


def test_a_model_that_was_asked_for_does_whatever_it_is_for(model_files: dict[str, Path]) -> None:
    restorers = Restorers(Settings(model=str(model_files["jpeg"]), device="cpu"))
    assert restorers.restorer_for("denoise") is restorers.restorer_for("")
    assert restorers.restorer_for("").task == "jpeg"
    other = Restorers(Settings("denoise", str(model_files["jpeg"]), device="cpu"))
    with pytest.raises(UsageError, match="--task denoise, but model"):
        other.restorer_for("denoise")


def test_the_checksum_is_of_the_weights_and_not_of_their_place(
    model_files: dict[str, Path], tmp_path: Path
) -> None:
    def checksum(path: Path, precision: str = "auto") -> str:
        settings = Settings(model=str(path), device="cpu", precision=precision)
        return Restorers(settings).weights_of("denoise")

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
    settings = Settings("denoise", sigma=3.0, precision="fp32")
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert settings.as_options() | {"sigma": 3.0, "precision": "fp32"} == settings.as_options()
    # Manifests from before these options stay valid.
    assert "ensemble" not in settings.as_options()
    assert Settings(ensemble=True).as_options()["ensemble"] is True
    assert Settings(grow_mask=2).as_options()["grow_mask"] == 2
