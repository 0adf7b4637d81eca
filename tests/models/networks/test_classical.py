"""Methods without training, behind the interface of a model."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
import torch
from torch import Tensor

from irae.errors import ModelError
from irae.imaging.degrade import add_noise, apply_mask, center_mask
from irae.imaging.metrics import psnr
from irae.models.checkpoints.model_file import load_model
from irae.models.networks.registry import CLASSICAL, NETWORKS
from irae.runtime import generator
from irae.tasks.matching import task_of

PACKAGES = {
    "bm3d": "bm3d",
    "nlm": "skimage",
    "telea": "cv2",
    "navier-stokes": "cv2",
    "fsr": "cv2",
    "patchmatch": "patchmatch",
}
DENOISERS = ["bm3d", "nlm"]
FILLERS = ["telea", "navier-stokes", "fsr", "patchmatch"]


def smooth(channels: int = 3, height: int = 40, width: int = 47) -> Tensor:
    small = torch.rand(1, channels, 4, 5, generator=generator(1))
    size = (height, width)
    return torch.nn.functional.interpolate(small, size=size, mode="bicubic").clamp(0.1, 0.9)


def test_every_name_is_tested_and_is_no_network() -> None:
    assert set(PACKAGES) == set(CLASSICAL) == {*DENOISERS, *FILLERS}
    assert not set(CLASSICAL) & set(NETWORKS)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name == "bm3d" else ()) for name in DENOISERS],
)
@pytest.mark.parametrize("channels", [3, 1])
def test_denoisers_take_noise_away(name: str, channels: int) -> None:
    pytest.importorskip(PACKAGES[name])
    model = load_model(name)
    assert (task_of(model).name, model.takes_sigma, model.parameters) == ("denoise", True, 0)
    assert not model.invertible
    clean = smooth(channels)
    noisy = add_noise(clean, 25, generator(2))
    restored = model.restore(noisy, sigma=25)
    assert restored.shape == noisy.shape
    assert psnr(restored, clean).item() > psnr(noisy, clean).item() + 6
    with pytest.raises(ModelError, match=f"model '{name}' .*give sigma"):
        model.restore(noisy)
    assert torch.allclose(model.restore(clean, sigma=0), clean, atol=1e-6)


@pytest.mark.parametrize("name", FILLERS)
@pytest.mark.parametrize("channels", [3, 1])
def test_fillers_fill_and_keep(name: str, channels: int) -> None:
    pytest.importorskip(PACKAGES[name])
    model = load_model(name)
    assert (task_of(model).name, model.takes_mask, model.parameters) == ("inpaint", True, 0)
    clean = torch.cat([smooth(channels), smooth(channels).flip(3)])
    mask = center_mask(40, 47, 7)[None].expand(2, -1, -1, -1)
    damaged = apply_mask(clean, mask)
    restored = model.restore(damaged, mask)
    assert torch.equal(restored[(~mask).expand_as(clean)], clean[(~mask).expand_as(clean)])
    assert (psnr(restored, clean) > psnr(damaged, clean) + 10).all()
    with pytest.raises(ModelError, match="needs a mask"):
        model.restore(damaged)


@pytest.mark.parametrize("name", FILLERS)
def test_fillers_take_the_thinnest_pictures(name: str) -> None:
    pytest.importorskip(PACKAGES[name])
    model = load_model(name)
    for channels, height, width in [(1, 1, 9), (3, 9, 1), (1, 1, 1), (3, 1, 1)]:
        x = torch.rand(1, channels, height, width)
        mask = torch.zeros(1, 1, height, width, dtype=torch.bool)
        assert torch.equal(model.restore(x, mask), x)


@pytest.mark.parametrize("name", CLASSICAL)
def test_a_missing_package_names_the_extra(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def absent(module: str, package: str | None = None) -> ModuleType:
        if module.split(".")[0] == PACKAGES[name]:
            raise ImportError(module)
        return real(module, package)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ModelError, match=r"irae\[peers\]") as caught:
        load_model(name)
    assert "\n" not in str(caught.value)
