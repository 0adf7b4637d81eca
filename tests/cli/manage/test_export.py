"""`irae export`: one file, or one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

Program = Callable[..., CompletedProcess[str]]


@pytest.mark.slow
def test_a_model_becomes_a_file_that_gives_its_numbers(
    irae: Program, tmp_path: Path, model_files: dict[str, Path]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    from irae.models.checkpoints.model_file import load_model

    target = tmp_path / "m.onnx"
    done = irae("export", model_files["denoise"], "-o", target, "--format", "onnx")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{target}: denoise, within" in done.stderr
    x = torch.rand(1, 3, 33, 46)
    restored = onnxruntime.InferenceSession(target).run(None, {"picture": x.numpy()})[0]
    expected = load_model(model_files["denoise"]).restore(x)
    torch.testing.assert_close(torch.from_numpy(restored), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_a_detector_becomes_a_file_too(irae: Program, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    done = irae("export", "scratches", "-o", tmp_path / "m.onnx")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{tmp_path / 'm.onnx'}: find_damage, within" in done.stderr


def test_a_density_has_no_onnx_form(irae: Program, tmp_path: Path) -> None:
    done = irae("export", "fashion", "-o", tmp_path / "m.onnx")
    assert done.returncode != 0 and len(done.stderr.splitlines()) == 1
    assert "is a density and restores nothing" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_nothing_is_replaced_unasked(
    irae: Program, tmp_path: Path, model_files: dict[str, Path]
) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    target = tmp_path / "m.onnx"
    target.write_text("mine")
    done = irae("export", model_files["denoise"], "-o", target)
    assert done.returncode != 0 and "use --overwrite" in done.stderr
    assert target.read_text() == "mine"
    assert irae("export", model_files["denoise"], "-o", target, "--overwrite").returncode == 0
    assert target.stat().st_size > 1000


def test_without_onnx_one_line_says_what_to_install(
    irae: Program,
    tmp_path: Path,
    model_files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    done = irae("export", model_files["denoise"], "-o", tmp_path / "m.onnx")
    assert done.returncode != 0
    assert done.stderr.splitlines() == [
        "irae: error: ONNX is not installed; run pip install 'irae[onnx]'"
    ]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_model_is_one_line(irae: Program, tmp_path: Path) -> None:
    done = irae("export", "nothing.safetensors", "-o", tmp_path / "m.onnx")
    assert done.returncode != 0 and len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
