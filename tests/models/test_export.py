"""ONNX: the numbers of PyTorch, at every size, from every form of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from irae.errors import ModelError, UsageError
from irae.models import export as module
from irae.models.export import export_onnx
from irae.models.files import LoadedModel, ModelSpec, load_model, packaged_models
from irae.models.registry import build_network, resolve_options

onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "paper": ("paper", {"width": 16, "depth": 3}),
    "paper, three levels": ("paper", {"width": 8, "depth": 2, "levels": 3}),
    "default": ("default", {"width": 16, "depth": 4}),
    "holes": ("holes", {"width": 8, "hole_width": 6}),
    "two levels": ("default", {"width": 8, "depth": 2, "levels": 2, "kernels": [3, 5]}),
}


def small(form: str, task: str = "denoise") -> LoadedModel:
    preset, options = FORMS[form]
    resolved = resolve_options("irae", preset, options)
    network = build_network("irae", resolved)
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.03 * torch.randn(parameter.shape, generator=rng)
    return LoadedModel(network, ModelSpec("irae", resolved, task), form)


def run(path: Path, **inputs: torch.Tensor) -> torch.Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    result = session.run(["restored"], {key: value.numpy() for key, value in inputs.items()})[0]
    return torch.from_numpy(result)


@pytest.mark.parametrize("size", [(1, 32, 48), (2, 33, 50), (1, 17, 31)])
@pytest.mark.parametrize("form", [form for form in FORMS if form != "holes"])
def test_any_size_and_batch(form: str, size: tuple[int, int, int], tmp_path: Path) -> None:
    model = small(form)
    export_onnx(model, tmp_path / "m.onnx")
    batch, height, width = size
    x = torch.rand(batch, 3, height, width)
    restored = run(tmp_path / "m.onnx", picture=x)
    assert (restored - x).abs().max() > 0.01
    torch.testing.assert_close(restored, model.restore(x), atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(1, 32, 48), (2, 33, 50)])
def test_holes(size: tuple[int, int, int], tmp_path: Path) -> None:
    model = small("holes", "inpaint")
    export_onnx(model, tmp_path / "m.onnx")
    batch, height, width = size
    mask = torch.zeros(batch, 1, height, width, dtype=torch.bool)
    mask[..., 5:20, 3:30] = True
    x = model.fill(torch.rand(batch, 3, height, width), mask)
    restored = run(tmp_path / "m.onnx", picture=x, mask=mask.float())
    assert (restored - x).abs().max() > 0.01
    torch.testing.assert_close(restored, model.restore(x, mask, filled=True), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", sorted(packaged_models()))
def test_packaged_models(name: str, tmp_path: Path) -> None:
    model = load_model(name)
    assert export_onnx(model, tmp_path / "m.onnx") <= 1e-4
    x = torch.rand(1, 3, 45, 62)
    mask = None
    inputs = {"picture": x}
    if model.takes_mask:
        mask = torch.zeros(1, 1, 45, 62, dtype=torch.bool)
        mask[..., 10:22, 5:40] = True
        x = model.fill(x, mask)
        inputs = {"picture": x, "mask": mask.float()}
    restored = run(tmp_path / "m.onnx", **inputs)
    torch.testing.assert_close(restored, model.restore(x, mask, filled=True), atol=1e-4, rtol=0)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    export_onnx(load_model("denoise"), tmp_path / "m.onnx")
    meta = onnxruntime.InferenceSession(tmp_path / "m.onnx").get_modelmeta()
    assert meta.custom_metadata_map["task"] == "denoise"
    assert "steps" in meta.custom_metadata_map["card"]


def test_other_numbers_are_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOLERANCE", 0.0)
    with pytest.raises(ModelError, match="differs by"):
        export_onnx(small("paper"), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        export_onnx(small("default"), tmp_path / "m.pt")
    resolved = resolve_options("dncnn", None, {})
    other = LoadedModel(
        build_network("dncnn", resolved), ModelSpec("dncnn", resolved, "denoise"), "d"
    )
    with pytest.raises(ModelError, match="only irae"):
        export_onnx(other, tmp_path / "m.onnx")
