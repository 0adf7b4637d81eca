"""The published code's checkpoints give the published code's numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from irae.errors import ModelError
from irae.models.checkpoints.irae_authors import read_authors_checkpoint
from irae.models.networks.irae import IRAE, PRESETS

FIXTURES = {"authors_w8_d3_l3": (8, 3, 3), "authors_w16_d2_l2": (16, 2, 2)}


@pytest.mark.parametrize("name", FIXTURES)
def test_latents_and_outputs_agree(name: str, shared: Path) -> None:
    options, state = read_authors_checkpoint(shared / "fixtures" / f"{name}.pt")
    assert (options["width"], options["depth"], options["levels"]) == FIXTURES[name]
    network = IRAE(**options)
    network.load_state_dict(state)
    truth = load_file(shared / "fixtures" / f"{name}.io.safetensors")

    def error(ours: Tensor, theirs: Tensor) -> float:
        return float((ours - theirs).abs().max() / theirs.abs().max())

    with torch.no_grad():
        latents = network.encoder(truth["input"] - 0.5)
        restored = network(truth["input"])
    assert len(latents) == FIXTURES[name][2] + 1
    for index, latent in enumerate(latents):
        assert error(latent, truth[f"latent{index}"]) <= 1e-4
    assert error(restored, truth["output"]) <= 1e-4


def authors_names(width: int, depth: int, levels: int) -> dict[str, Tensor]:
    """A random state dict under the authors' names, written from their layer list."""
    state: dict[str, Tensor] = {}
    for block in (1, 2):
        channels = 3
        for level in range(levels):
            channels *= 4
            half = channels // 2
            for step in range(depth):
                at = f"module.block{block}.flowlevels.{level}.flowsteps.{step}"
                state[f"{at}.0.scale"] = torch.rand(1, channels, 1, 1) + 0.5
                state[f"{at}.0.bias"] = torch.randn(1, channels, 1, 1)
                state[f"{at}.0.initialized"] = torch.tensor(1)
                state[f"{at}.1.w"] = torch.linalg.qr(torch.randn(channels, channels)).Q
                state[f"{at}.2.log_scale_factor"] = torch.zeros(channels, 1, 1)
                state[f"{at}.2.conv1.weight"] = torch.randn(width, half, 3, 3)
                state[f"{at}.2.conv2.weight"] = torch.randn(width, width, 1, 1)
                state[f"{at}.2.conv3.weight"] = torch.randn(channels, width, 3, 3)
                state[f"{at}.2.conv3.bias"] = torch.randn(channels)
                for norm in ("actnorm1", "actnorm2"):
                    state[f"{at}.2.{norm}.scale"] = torch.ones(1, width, 1, 1)
                    state[f"{at}.2.{norm}.bias"] = torch.zeros(1, width, 1, 1)
                    state[f"{at}.2.{norm}.initialized"] = torch.tensor(1)
            state[f"module.block{block}.flowlevels.{level}.split.gaussianize.net.bias"] = (
                torch.zeros(channels)
            )
            channels = half
        state[f"module.block{block}.base_dist_mean"] = torch.zeros(1)
    return state


@pytest.mark.parametrize(("width", "depth", "levels"), [(64, 16, 2), (64, 8, 3), (5, 1, 1)])
def test_any_size_is_inferred(tmp_path: Path, width: int, depth: int, levels: int) -> None:
    path = tmp_path / "authors.pt"
    torch.save(
        {"epoch": 1, "global_step": 2, "state_dict": authors_names(width, depth, levels)}, path
    )
    options, state = read_authors_checkpoint(path)
    assert (options["width"], options["depth"], options["levels"]) == (width, depth, levels)
    network = IRAE(**options)
    network.load_state_dict(state)


def test_the_papers_denoiser_has_the_papers_size() -> None:
    assert sum(p.numel() for p in IRAE(**PRESETS["paper"]).parameters()) == 1_301_504


def test_foreign_content_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    for content, named in [
        ({"weights": 1}, "state_dict"),
        ({"state_dict": {"layer.weight": torch.ones(1)}}, "layer.weight"),
        ({"state_dict": {}}, "no flow steps"),
    ]:
        torch.save(content, path)
        with pytest.raises(ModelError, match=named):
            read_authors_checkpoint(path)
