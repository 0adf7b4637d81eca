"""ONNX: the numbers of PyTorch, at every size, from every network and detector of the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from irae.errors import ModelError, UsageError
from irae.imaging.film_damage import paste_damage
from irae.models.checkpoints import onnx_export as module
from irae.models.checkpoints.exportable import exportable
from irae.models.checkpoints.model_file import load_detector, load_model, packaged_detectors
from irae.models.checkpoints.onnx_export import export_onnx
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.loaded_detector import LoadedDetector
from irae.models.networks.registry import DETECTORS, NETWORKS, build_network, resolve_options
from irae.runtime import generator

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")

LIFTED = {"couplings": 2, "hidden": 8}
TINY = {"width": 4, "layers": 3}

# Network, preset, options and task.
EXPORTED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "lifted": ("irae", "default", {**LIFTED, "width": 16}, "denoise"),
    "lifted, mask": (
        "irae",
        "default",
        {**LIFTED, "width": 32, "condition_channels": 4},
        "inpaint",
    ),
    "lifted, sigma": ("irae", "default", {**LIFTED, "width": 16, "takes_sigma": True}, "denoise"),
    "strict": ("irae", "paper", {"width": 8, "depth": 1}, "jpeg"),
    "dncnn": ("dncnn", "gray", TINY, "denoise"),
    "ffdnet": ("ffdnet", "default", TINY, "denoise"),
    "rednet": ("rednet", "default", {"width": 4, "layers": 4}, "denoise"),
    "arcnn": ("arcnn", "default", {}, "jpeg"),
    "unet": ("unet", "inpaint", {"width": 4, "depth": 2}, "inpaint"),
    "rdn": ("rdn", "default", {"width": 4, "blocks": 1, "layers": 1, "growth": 4}, "denoise"),
    "pconv": ("pconv", "default", {"width": 4, "depth": 2}, "inpaint"),
    "invdn": ("invdn", "default", {"width": 4, "blocks": 1, "halvings": 1}, "denoise"),
    "gradnet": ("gradnet", "default", {"width": 4, "units": 1, "blocks": 1}, "denoise"),
    "contextual-attention": ("contextual-attention", "default", {"width": 4}, "inpaint"),
    "shift-net": ("shift-net", "default", {"width": 4, "depth": 3, "shift_level": 1}, "inpaint"),
    "csa": ("csa", "default", {"width": 4, "depth": 3, "attention_level": 1}, "inpaint"),
}

FOLDED: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("paper", {"width": 16, "depth": 3}),
    "three levels": ("paper", {"width": 8, "depth": 2, "levels": 3}),
    "kernels": ("paper", {"width": 8, "network": "plain", "depth": 2, "kernels": [3, 5]}),
    "additive": ("paper", {"width": 8, "depth": 2, "coupling": "additive", "squeeze": "haar"}),
    "a mask": ("paper", {"width": 8, "depth": 2, "condition_channels": 1}),
}


def perturbed(network: str, preset: str, options: dict[str, Any]) -> tuple[nn.Module, Any]:
    """Such a network, none of whose weights is zero, and its resolved options."""
    resolved = resolve_options(network, preset, options)
    built = build_network(network, resolved)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=rng)
    return built.eval(), resolved


def small(name: str) -> LoadedModel:
    network, preset, options, task = EXPORTED[name]
    built, resolved = perturbed(network, preset, options)
    return LoadedModel(built, ModelSpec(network, resolved, task), name)


def assert_same_numbers(model: LoadedModel, path: Path, size: tuple[int, int, int]) -> None:
    batch, height, width = size
    # Seeded: where two places are equal but for rounding, shift-net may copy from either.
    x = torch.rand(batch, 3, height, width, generator=generator(height))
    mask = sigma = None
    given = {"picture": x}
    if model.takes_mask:
        mask = torch.zeros(batch, 1, height, width, dtype=torch.bool)
        mask[..., height // 4 : height // 2, 3 : width // 2] = True
        mask[-1, :, :2, :2] = True
        x = model.fill(x, mask)
        given = {"picture": x, "mask": mask.float()}
    if model.takes_sigma:
        sigma = given["sigma"] = torch.linspace(50, 10, batch)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result = session.run(["restored"], {key: value.numpy() for key, value in given.items()})[0]
    restored = torch.from_numpy(result)
    expected = model.restore(x, mask, sigma=sigma, filled=True)
    assert (restored - x).abs().max() > 0.001
    torch.testing.assert_close(restored, expected, atol=1e-4, rtol=0)
    if mask is not None:
        known = ~mask.expand_as(x)
        assert torch.equal(restored[known], x[known])


def test_every_network_is_among_them() -> None:
    assert {network for network, *_ in EXPORTED.values()} == set(NETWORKS)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_any_size_and_batch(name: str, tmp_path: Path) -> None:
    model = small(name)
    assert export_onnx(model, tmp_path / "m.onnx") <= 1e-4
    for size in ((2, 33, 50), (1, 17, 31), (3, 32, 16)):
        assert_same_numbers(model, tmp_path / "m.onnx", size)


@pytest.mark.slow
def test_the_packaged_inpainting_model_and_what_its_file_says(tmp_path: Path) -> None:
    model = load_model("inpaint")
    assert export_onnx(model, tmp_path / "m.onnx") <= 1e-4
    assert_same_numbers(model, tmp_path / "m.onnx", (2, 45, 62))
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    said = session.get_modelmeta().custom_metadata_map
    assert (said["task"], said["model"]) == ("inpaint", "inpaint")
    assert "steps" in said["card"]
    shapes = {value.name: value.shape for value in (*session.get_inputs(), *session.get_outputs())}
    assert shapes == {
        "picture": ["batch", 3, "height", "width"],
        "mask": ["batch", 1, "height", "width"],
        "restored": ["batch", 3, "height", "width"],
    }


def assert_same_probabilities(model: LoadedDetector, path: Path, picture: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run(["probability"], {"picture": picture.numpy()})[0])
    torch.testing.assert_close(found, model.probabilities(picture), atol=1e-4, rtol=0)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_at_any_size_and_batch(name: str, tmp_path: Path) -> None:
    network, resolved = perturbed(name, "default", {"width": 4})
    model = LoadedDetector(network, ModelSpec(name, resolved, ""), name)
    assert export_onnx(model, tmp_path / "m.onnx") <= 1e-4
    for batch, height, width in ((2, 33, 50), (1, 17, 31), (3, 32, 16)):
        found = assert_same_probabilities(
            model, tmp_path / "m.onnx", torch.rand(batch, 3, height, width)
        )
        assert found.shape == (batch, 1, height, width)
        assert float(found.std()) > 1e-5  # It does depend on the picture.


@pytest.mark.slow
@pytest.mark.parametrize("name", packaged_detectors())
def test_a_packaged_detector_finds_the_same_damage(name: str, tmp_path: Path) -> None:
    model = load_detector(name)
    assert export_onnx(model, tmp_path / "m.onnx") <= 1e-4
    smooth = torch.nn.functional.interpolate(
        0.2 + 0.6 * torch.rand(1, 3, 4, 5, generator=generator(2)), size=(150, 187), mode="bicubic"
    )
    damaged, _ = paste_damage(smooth[0], generator(3))
    found = assert_same_probabilities(model, tmp_path / "m.onnx", damaged[None])
    assert float(found.min()) < 0.05 and float(found.max()) > 0.9
    said = onnxruntime.InferenceSession(tmp_path / "m.onnx").get_modelmeta().custom_metadata_map
    assert (said["task"], said["model"]) == ("find_damage", name)
    assert float(said["threshold"]) == model.threshold


@pytest.mark.parametrize("name", FOLDED)
def test_a_folded_flow_computes_what_the_flow_does(name: str) -> None:
    network, _ = perturbed("irae", *FOLDED[name])
    x = torch.rand(2, 3, 32, 48)
    condition = None
    if name == "a mask":
        condition = torch.zeros(2, 1, 32, 48)
        condition[..., 5:20, 3:30] = 1
    with torch.no_grad():
        expected = network(x, condition)
        assert (expected - x).abs().max() > 0.01
        torch.testing.assert_close(exportable(network)(x, condition), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_other_numbers_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 0.0)
    with pytest.raises(ModelError, match="differs by"):
        export_onnx(small("rdn"), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


class OneSize(nn.Module):
    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return x.reshape(2, 3, 7, 11)


class DecidesByContent(nn.Module):
    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        return x * 2 if bool(x.mean() > 0.5) else x


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "message"),
    [(OneSize(), "does not run at every size"), (DecidesByContent(), "PyTorch cannot export")],
)
def test_what_cannot_be_exported_is_one_line(
    network: nn.Module, message: str, tmp_path: Path
) -> None:
    model = LoadedModel(network, ModelSpec("own", {}, "denoise"), "own")
    with pytest.raises(ModelError, match=message) as refused:
        export_onnx(model, tmp_path / "m.onnx")
    assert len(str(refused.value).splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export_onnx(small("lifted"), tmp_path / "m.pt")
    classical = LoadedModel(nn.Identity(), ModelSpec("bm3d", {}, "denoise"), "bm3d")
    with pytest.raises(ModelError, match="only networks have an ONNX form"):
        export_onnx(classical, tmp_path / "m.onnx")
