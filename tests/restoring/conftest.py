"""Small models, built through the registry and written as model files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from irae.models.files import LoadedModel, ModelSpec, load_model, save_model
from irae.models.registry import build_network, resolve_options


def make_model(path: Path, task: str, *, strength: float = 0.01, seed: int = 0) -> Path:
    """Write a small model whose weights are perturbed, so that it changes its input."""
    options = {"width": 8, "depth": 2, "levels": 2}
    if task == "inpaint":
        options["condition_channels"] = 1
    resolved = resolve_options("irae", "default", options)
    network = build_network("irae", resolved)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += strength * torch.randn(parameter.shape, generator=generator)
    save_model(path, network, ModelSpec("irae", resolved, task))
    return path


@pytest.fixture(scope="session")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    tasks = ("denoise", "jpeg", "inpaint")
    return {task: make_model(folder / f"{task}.safetensors", task) for task in tasks}


@pytest.fixture
def denoiser(model_files: dict[str, Path]) -> LoadedModel:
    return load_model(model_files["denoise"])


@pytest.fixture
def inpainter(model_files: dict[str, Path]) -> LoadedModel:
    return load_model(model_files["inpaint"])
