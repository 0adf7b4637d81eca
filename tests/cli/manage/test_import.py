"""`irae import` of published weights: IRAE, DnCNN, FFDNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from irae.models.checkpoints.model_file import load_model

Program = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize("name", ["authors_w8_d3_l3", "authors_w16_d2_l2"])
def test_the_imported_model_gives_the_authors_output(
    irae: Program, tmp_path: Path, shared: Path, name: str
) -> None:
    target = tmp_path / "model.safetensors"
    done = irae("import", shared / "fixtures" / f"{name}.pt", "-o", target)
    assert done.returncode == 0, done.stderr
    truth = load_file(shared / "fixtures" / f"{name}.io.safetensors")
    restored = load_model(target).restore(truth["input"])
    assert (restored - truth["output"]).abs().max() <= 1e-4 * truth["output"].abs().max()


def test_nothing_is_overwritten_unasked(irae: Program, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    target.write_bytes(b"mine")
    done = irae("import", tmp_path / "a.pt", "-o", target)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert target.read_bytes() == b"mine"


def test_incomplete_and_foreign_checkpoints_are_one_line(irae: Program, tmp_path: Path) -> None:
    prefix = "module.block1.flowlevels.0.flowsteps.0"
    cut = {f"{prefix}.2.conv1.weight": torch.ones(4, 6, 3, 3)}
    for content, named in [
        ({"state_dict": cut}, "incomplete"),
        ({"model": {}}, "state_dict"),
        ([1, 2], "state_dict"),
        ({"state_dict": {1: torch.ones(1)}}, "named tensor"),
        ({"state_dict": {f"{prefix}.0.scale": 3}}, "named tensor"),
    ]:
        source = tmp_path / "a.pt"
        torch.save(content, source)
        done = irae("import", source, "-o", tmp_path / "m.safetensors")
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
        assert named in done.stderr
        assert str(source) in done.stderr
    for source, text in [(tmp_path / "no.pt", None), (tmp_path / "text.pt", b"hello")]:
        if text is not None:
            source.write_bytes(text)
        done = irae("import", source, "-o", tmp_path / "m.safetensors")
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "m.safetensors").exists()


PEERS = {
    "ffdnet_color.pth": ("ffdnet", "denoise", 3, 852_108),
    "dncnn_color_blind.pth": ("dncnn", "denoise", 3, 668_227),
    "dncnn_gray_blind.pth": ("dncnn", "denoise", 1, 665_921),
    "DnCNN3_gray.npz": ("dncnn", "jpeg", 1, 665_921),
}


@pytest.mark.parametrize("name", PEERS)
def test_published_weights_of_others(
    irae: Program, tmp_path: Path, shared: Path, name: str
) -> None:
    target = tmp_path / "model.safetensors"
    done = irae("import", shared / "peers" / name, "-o", target)
    assert done.returncode == 0, done.stderr
    model = load_model(target)
    network, task, channels, parameters = PEERS[name]
    assert (model.spec.network, model.task) == (network, task)
    assert (model.channels, model.parameters) == (channels, parameters)
    assert model.spec.card == {"imported_from": name}
    assert done.stdout == ""
    assert f"{network} for {task}, channels {channels}" in done.stderr


def sequence(*, bias: bool) -> nn.Sequential:
    """A small DnCNN as such codes write it: numbered layers, normalisation not merged."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()]
    for _ in range(2):
        layers += [nn.Conv2d(8, 8, 3, padding=1, bias=bias), nn.BatchNorm2d(8), nn.ReLU()]
    whole = nn.Sequential(*layers, nn.Conv2d(8, 3, 3, padding=1))
    with torch.no_grad():
        whole(torch.rand(4, 3, 16, 16))
    return whole.eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("wrapped", [True, False])
def test_normalisation_that_was_not_merged(
    irae: Program, tmp_path: Path, bias: bool, wrapped: bool
) -> None:
    theirs = sequence(bias=bias)
    state = {f"model.{key}": value for key, value in theirs.state_dict().items()}
    torch.save({"state_dict": state} if wrapped else state, tmp_path / "a.pth")
    target = tmp_path / "m.safetensors"
    done = irae("import", tmp_path / "a.pth", "-o", target, "--task", "jpeg")
    assert done.returncode == 0, done.stderr
    model = load_model(target)
    assert model.spec.options["batch_norm"] is True
    assert model.task == "jpeg"
    x = torch.rand(1, 3, 12, 20)
    with torch.no_grad():
        expected = x - theirs(x)
    assert torch.allclose(model.restore(x), expected, atol=1e-5)


def test_a_small_ffdnet_gives_what_its_formula_gives(irae: Program, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first, last = torch.randn(6, 13, 3, 3) / 9, torch.randn(12, 6, 3, 3) / 9
    tensors: dict[str, Tensor] = {
        "model.0.weight": first,
        "model.0.bias": torch.zeros(6),
        "model.2.weight": last,
        "model.2.bias": torch.zeros(12),
    }
    torch.save(tensors, tmp_path / "f.pth")
    target = tmp_path / "m.safetensors"
    assert irae("import", tmp_path / "f.pth", "-o", target).returncode == 0
    x = torch.rand(1, 3, 8, 8)
    level = torch.full((1, 1, 4, 4), 30 / 255)
    half = torch.cat([F.pixel_unshuffle(x, 2), level], 1)
    hidden = F.conv2d(half, first, padding=1).relu()
    expected = F.pixel_shuffle(F.conv2d(hidden, last, padding=1), 2)
    assert torch.allclose(load_model(target).restore(x, sigma=30), expected, atol=1e-5)


def test_weights_of_unknown_networks_are_one_line(irae: Program, tmp_path: Path) -> None:
    def arrays(**named: np.ndarray) -> Path:
        np.savez(tmp_path / "a.npz", **named)
        return tmp_path / "a.npz"

    def tensors(content: object) -> Path:
        torch.save(content, tmp_path / "a.pth")
        return tmp_path / "a.pth"

    filters = np.zeros((5, 2, 3, 3), np.float32)
    (tmp_path / "text.npz").write_bytes(b"hello")
    for make, named in [
        (lambda: arrays(w0=filters, b0=np.zeros(5)), "2 channels to 5"),
        (lambda: arrays(w0=filters, b1=np.zeros(5)), "'b0'"),
        (lambda: arrays(other=filters), "'other'"),
        (lambda: arrays(w0=np.array([{}], dtype=object), b0=np.zeros(1)), "arrays of NumPy"),
        (lambda: tmp_path / "text.npz", "arrays of NumPy"),
        (lambda: tmp_path / "no.npz", "no such file"),
        (lambda: tensors({"model.0.weight": torch.ones(5, 2, 3, 3)}), "2 channels to 5"),
        (lambda: tensors({"model.0.weight": torch.ones(5)}), "convolution of a known network"),
        (lambda: tensors({"layer.weight": torch.ones(5)}), "no network known"),
    ]:
        source = make()
        done = irae("import", source, "-o", tmp_path / "m.safetensors")
        assert done.returncode == 1, named
        assert len(done.stderr.strip().splitlines()) == 1
        assert named in done.stderr
        assert str(source) in done.stderr
    assert not (tmp_path / "m.safetensors").exists()


def test_a_task_the_network_does_not_do_is_refused(irae: Program, tmp_path: Path) -> None:
    widths = {0: (6, 13), 2: (12, 6)}
    state = {f"model.{i}.weight": torch.zeros(*w, 3, 3) for i, w in widths.items()}
    state |= {f"model.{i}.bias": torch.zeros(w[0]) for i, w in widths.items()}
    torch.save(state, tmp_path / "a.pth")
    told = "holds ffdnet, which takes the noise level; it does denoise"
    for task, named in [("jpeg", told), ("x", "unknown")]:
        done = irae("import", tmp_path / "a.pth", "-o", tmp_path / "m.safetensors", "--task", task)
        assert done.returncode == 2
        assert named in done.stderr
