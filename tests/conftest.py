"""What all tests share: the data beside the project, small pictures, one CPU thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torchvision.utils import save_image

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("IRAE_SHARED", REPOSITORY.parent / "shared"))

# Bit-for-bit tests need one order of summation, and two cores are soon oversubscribed.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and fixtures beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there (photographs and fixtures beside the project)")
    return SHARED


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with two folders, train and val, of small smooth colour pictures."""
    root = tmp_path_factory.mktemp("pictures")
    generator = torch.Generator().manual_seed(0)
    for folder, count in (("train", 3), ("val", 2)):
        (root / folder).mkdir()
        for index in range(count):
            coarse = torch.rand(1, 3, 6, 8, generator=generator)
            smooth = torch.nn.functional.interpolate(coarse, size=(48, 64), mode="bicubic")
            save_image(smooth.clamp(0, 1), root / folder / f"{index}.png")
    return root
