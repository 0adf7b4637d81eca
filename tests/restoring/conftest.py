"""Small models, loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from irae.models.files import load_model
from irae.models.loaded import LoadedModel


@pytest.fixture
def denoiser(model_files: dict[str, Path]) -> LoadedModel:
    return load_model(model_files["denoise"])


@pytest.fixture
def inpainter(model_files: dict[str, Path]) -> LoadedModel:
    return load_model(model_files["inpaint"])
