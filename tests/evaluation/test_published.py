"""The evaluation is right: published weights give the published figures.

About a minute of one core; skipped where the weights are absent.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from irae.data.folder import open_folder
from irae.evaluation.evaluate import evaluate
from irae.evaluation.results import Evaluation
from irae.models.checkpoints.third_party import read_foreign
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.registry import build_network
from irae.tasks.denoise import Noise
from irae.tasks.jpeg import Jpeg

pytestmark = pytest.mark.slow


def published(path: Path) -> LoadedModel:
    if not path.is_file():
        pytest.skip(f"{path} is not there (published weights beside the project)")
    found = read_foreign(path)
    network = build_network(found.network, found.options)
    network.load_state_dict(found.state)
    return LoadedModel(network, ModelSpec(found.network, found.options, found.task), path.stem)


def output_psnr(result: Evaluation) -> float:
    value = result.levels[0].output["psnr"]
    assert value is not None
    return value


def test_ffdnet_on_cbsd68(shared: Path) -> None:
    """Zhang et al. 2018, table IV: CBSD68, sigma 25, 31.21 dB over RGB."""
    model = published(shared / "peers" / "ffdnet_color.pth")
    pictures = open_folder(shared / "data/testsets/CBSD68")
    assert len(pictures) == 68
    result = evaluate(model, pictures, [Noise(25)])
    assert result.measured_on == "RGB"
    assert output_psnr(result) == pytest.approx(31.21, abs=0.02)


def test_dncnn_3_on_classic5(shared: Path) -> None:
    """Zhang et al. 2017, table VI: Classic5, quality 10, 29.40 dB and SSIM 0.8026, on Y."""
    model = published(shared / "peers" / "DnCNN3_gray.npz")
    pictures = open_folder(shared / "data/testsets/Classic5")
    assert len(pictures) == 5
    result = evaluate(model, pictures, [Jpeg(10)])
    assert result.measured_on == "Y"
    assert result.levels[0].input["psnr"] == pytest.approx(27.82, abs=0.01)
    assert output_psnr(result) == pytest.approx(29.40, abs=0.03)
    assert result.levels[0].output["ssim"] == pytest.approx(0.8026, abs=0.002)
