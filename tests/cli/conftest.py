"""Small models as files, and the program run in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

from irae.cli.app import main
from irae.models.files import ModelSpec, save_model
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
def irae(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CompletedProcess[str]]:
    """Run the program in this process, errors and exit codes as a shell would see them."""

    def run(*arguments: object) -> CompletedProcess[str]:
        words = [str(argument) for argument in arguments]
        monkeypatch.setattr("sys.argv", ["irae", *words])
        capsys.readouterr()
        try:
            main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        else:
            code = 0
        said = capsys.readouterr()
        return CompletedProcess(words, code, said.out, said.err)

    return run
