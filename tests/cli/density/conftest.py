"""A small trained density, digits to score, and a background model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
from PIL import Image

from irae.config import load_config
from irae.training.loop import train
from irae.training.prepare import prepare
from irae.training.run import begin

Program = Callable[..., CompletedProcess[str]]


@dataclass(frozen=True)
class Place:
    """Folders and models of the tests.

    Attributes:
        digits: a folder of 8×8 gray pictures.
        model: a run of a density of these.
        background: a run of a density of mutated ones.
        colour: a run of a density of colour pictures.
    """

    digits: Path
    model: Path
    background: Path
    colour: Path


@pytest.fixture(scope="package")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    sklearn = pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
    root = tmp_path_factory.mktemp("densities")
    (root / "digits").mkdir()
    for number, picture in enumerate(sklearn.load_digits().images[:120]):
        Image.fromarray((picture * 15).astype(np.uint8)).save(root / "digits" / f"{number:03d}.png")

    def trained(name: str, *more: str, config: str = "base") -> Path:
        overrides = [
            "model.options={couplings: [2], widths: [8], blocks: 1, size: 8}",
            "training={steps: 40, batch: 16, warmup: 5, threads: 1, validate_every: 40}",
            "training.precision=fp32",
            *more,
        ]
        chosen = prepare(load_config(f"density/{config}.yaml", overrides), [str(root / "digits")])
        train(begin(chosen, root / name, torch.device("cpu")))
        return root / name

    return Place(
        root / "digits",
        trained("model"),
        trained("background", config="background"),
        trained("colour", "model.options.channels=3", "model.options.bits=5"),
    )
