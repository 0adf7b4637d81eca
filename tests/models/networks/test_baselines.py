"""Every network of the registry: sizes, gradients, files; and what each paper fixes about its own.

The table of small options must name every network, so that a new one cannot be left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from irae.errors import ModelError
from irae.models.call import condition_for, takes_sigma
from irae.models.checkpoints.model_file import load_model, save_model
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.denoising.invdn import InvDN, haar_merge, haar_split
from irae.models.networks.inpainting.pconv import PartialConv2d, PConvUNet
from irae.models.networks.registry import NETWORKS, build_network, resolve_options

SMALL: dict[str, list[dict[str, Any]]] = {
    "irae": [{"width": 8, "depth": 2}, {"width": 8, "depth": 2, "condition_channels": 1}],
    "dncnn": [{"width": 8, "layers": 4}, {"channels": 1, "width": 8, "batch_norm": False}],
    "ffdnet": [{"width": 8, "layers": 4}, {"channels": 1, "width": 8, "batch_norm": False}],
    "rednet": [{"width": 8, "layers": 6}, {"width": 8, "layers": 8}],
    "arcnn": [{}, {"channels": 1}],
    "unet": [
        {"width": 8, "depth": 2},
        {"width": 8, "depth": 2, "condition_channels": 1, "hole_fill": 0.0},
    ],
    "rdn": [{"width": 8, "blocks": 2, "layers": 2, "growth": 4}],
    "pconv": [{"width": 8, "depth": 3}],
    "invdn": [{"width": 8, "blocks": 2}],
    "gradnet": [{"width": 29, "units": 2, "blocks": 1}],
    "contextual-attention": [{"width": 4}],
    "shift-net": [{"width": 4, "depth": 3, "shift_level": 1}],
    "csa": [{"width": 4, "depth": 3, "attention_level": 1}],
}
CASES = [(name, options) for name in NETWORKS for options in SMALL[name]]
MASKED = [("unet", SMALL["unet"][1])]
MASKED += [(name, SMALL[name][0]) for name in ("pconv", "contextual-attention", "shift-net", "csa")]


def make(name: str, options: dict[str, Any]) -> nn.Module:
    """A network whose zero-initialised parts are disturbed, so that all of it does something."""
    torch.manual_seed(0)
    network = build_network(name, options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return network


def loaded(name: str, options: dict[str, Any], task: str | None = None) -> LoadedModel:
    network = make(name, options)
    default = "inpaint" if getattr(network, "condition_channels", 0) else "denoise"
    spec = ModelSpec(name, resolve_options(name, None, options), task or default)
    return LoadedModel(network, spec, name)


def a_mask(batch: int, height: int, width: int) -> Tensor:
    mask = torch.zeros(batch, 1, height, width, dtype=torch.bool)
    mask[..., height // 4 : height // 2 + 1, width // 3 : width // 2 + 1] = True
    return mask


@pytest.mark.parametrize(("name", "options"), CASES)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 13), (24, 17)])
def test_any_size_and_both_numbers_of_channels(
    name: str, options: dict[str, Any], height: int, width: int
) -> None:
    model = loaded(name, options)
    mask = a_mask(2, height, width) if model.takes_mask else None
    for channels in (3, 1):
        x = torch.rand(2, channels, height, width)
        restored = model.restore(x, mask, sigma=25)
        assert restored.shape == x.shape
        assert restored.dtype == torch.float32
        if height > 1:
            assert not torch.equal(restored, x)


@pytest.mark.parametrize(("name", "options"), MASKED)
def test_known_pixels_stay_and_holes_are_not_looked_at(name: str, options: dict[str, Any]) -> None:
    model = loaded(name, options, "inpaint")
    x, mask = torch.rand(2, 3, 19, 26), a_mask(2, 19, 26)
    restored = model.restore(x, mask)
    assert torch.equal(restored[(~mask).expand_as(x)], x[(~mask).expand_as(x)])
    other = torch.where(mask, torch.rand_like(x), x)
    assert torch.equal(model.restore(other, mask), restored)


@pytest.mark.parametrize(("name", "options"), MASKED)
@pytest.mark.parametrize("side", [3, 40])
def test_holes_that_leave_almost_nothing_known(
    name: str, options: dict[str, Any], side: int
) -> None:
    """Smaller than a patch of the attention, or no whole patch known: still a picture."""
    model = loaded(name, options, "inpaint")
    x = torch.rand(2, 3, side, side)
    mask = torch.ones(2, 1, side, side, dtype=torch.bool)
    mask[:, :, -1, -1] = False
    restored = model.restore(x, mask)
    assert restored.isfinite().all()
    assert torch.equal(restored[..., -1, -1], x[..., -1, -1])


@pytest.mark.parametrize(("name", "options"), CASES)
def test_gradients_reach_every_parameter(name: str, options: dict[str, Any]) -> None:
    network = make(name, options).train()
    side = 4 * int(getattr(network, "size_multiple", 1))
    if name == "contextual-attention":
        side *= 2  # A smaller picture leaves no known patch at an eighth of the size.
    channels = getattr(network, "channels", 3)
    x = torch.rand(2, channels, side, side)
    mask = a_mask(2, side, side)
    restored = network(x, condition_for(network, mask=mask, sigma=torch.tensor([10.0, 30.0])))
    torch.autograd.backward(restored.square().mean())
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_model_file_gives_the_same_numbers(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    model = loaded(name, options)
    # Statistics of a batch too are part of the file.
    model.network.train()
    x = torch.rand(2, model.channels or 3, 16, 16)
    mask = a_mask(2, 16, 16)
    model.network(x, condition_for(model.network, mask=mask, sigma=25))
    model.network.eval()
    save_model(tmp_path / "m.safetensors", model.network, model.spec)
    again = load_model(tmp_path / "m.safetensors")
    hole = mask if model.takes_mask else None
    assert torch.equal(again.restore(x, hole, sigma=25), model.restore(x, hole, sigma=25))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_few_steps_of_training_lower_the_loss(name: str) -> None:
    """With the start each paper states, at its real depth."""
    torch.manual_seed(0)
    preset = "inpaint" if name == "unet" else "default"
    small: dict[str, dict[str, Any]] = {
        "unet": {"width": 8},
        "pconv": {"width": 8},
        "irae": {"width": 16, "couplings": 6, "hidden": 16},
        "rdn": {"width": 16, "growth": 8},
        "invdn": {"width": 16, "blocks": 3},
        "gradnet": {"width": 16, "units": 2, "blocks": 2},
    }
    narrow = small.get(name, {} if name == "arcnn" else {"width": 16})
    network = build_network(name, resolve_options(name, preset, narrow)).train()
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    clean = nn.functional.interpolate(torch.rand(2, 3, 4, 4), scale_factor=8, mode="bilinear")
    noisy = clean + 0.1 * torch.randn_like(clean)
    condition = condition_for(network, mask=a_mask(2, 32, 32), sigma=25.5)
    losses = []
    for _ in range(25):
        loss = (network(noisy, condition) - clean).abs().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-5:]) < 0.75 * losses[0]


def count(name: str, preset: str, **options: Any) -> int:
    with torch.device("meta"):
        network = build_network(name, resolve_options(name, preset, options))
    return sum(parameter.numel() for parameter in network.parameters())


def test_sizes_are_the_published_ones() -> None:
    # The published weights, normalisation merged.
    assert count("dncnn", "default", batch_norm=False) == 668_227
    assert count("dncnn", "gray", batch_norm=False) == 665_921
    assert count("ffdnet", "default", batch_norm=False) == 852_108
    # 40 layers of 64 to 64 without biases between first and last, each normalised.
    assert count("dncnn", "irae") == 1_792 + 40 * (36_864 + 128) + 1_731
    # Yu et al. 2016 (arXiv 1608.02778) count weights alone; there are 64 + 32 + 16 + 1 biases.
    assert count("arcnn", "gray") == 106_448 + 113
    # Liu et al. 2021 state 2.64 M.
    assert round(count("invdn", "default") / 1e6, 2) == 2.64
    # Liu et al. 2020 state 1.63 M, Yu et al. 2018's published generator has 3,601,542.
    assert round(count("gradnet", "default") / 1e6, 2) == 1.63
    assert count("contextual-attention", "paper") == 3_601_542
    assert count("shift-net", "paper") == 54_944_771
    # Its rough network is a U-Net of eight halvings, its refinement network has 77,692,291.
    assert count("csa", "paper") == 54_419_459 + 77_692_291
    # 16 blocks of 8 layers: Zhang et al. state 22 M for this body.
    assert round(count("rdn", "paper") / 1e6) == 22


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_has_a_default_preset_that_builds(name: str) -> None:
    assert "default" in NETWORKS[name].presets
    for preset in NETWORKS[name].presets:
        assert build_network(name, resolve_options(name, preset, {})) is not None


def test_refused_options_are_one_line() -> None:
    for name, options in [
        ("dncnn", {"layers": 1}),
        ("rednet", {"layers": 7}),
        ("pconv", {"depth": 1}),
    ]:
        with pytest.raises(ModelError, match="cannot be built"):
            build_network(name, options)


def test_the_noise_level_is_asked_for_and_matters() -> None:
    model = loaded("ffdnet", {"width": 8, "layers": 4})
    assert model.takes_sigma
    x = torch.rand(2, 3, 9, 12)
    with pytest.raises(ModelError, match=r"model 'ffdnet' .*give sigma"):
        model.restore(x)
    low, high = model.restore(x, sigma=5), model.restore(x, sigma=50)
    assert not torch.equal(low, high)
    each = model.restore(x, sigma=torch.tensor([5.0, 50.0]))
    assert torch.allclose(each, torch.stack((low[0], high[1])), atol=1e-6)
    level_map = torch.full((2, 1, 9, 12), 5.0)
    assert torch.allclose(model.restore(x, sigma=level_map), low, atol=1e-6)
    assert not loaded("dncnn", SMALL["dncnn"][0]).takes_sigma


def test_a_condition_is_what_the_network_takes() -> None:
    mask = a_mask(2, 8, 8)
    sigma_told = make("ffdnet", SMALL["ffdnet"][0])
    condition = condition_for(sigma_told, mask=mask, sigma=51)
    assert condition is not None
    assert condition.shape == (1, 1, 1, 1)
    assert condition.item() == pytest.approx(0.2)
    assert takes_sigma(sigma_told)
    mask_told = make("pconv", SMALL["pconv"][0])
    told = condition_for(mask_told, mask=mask, sigma=51)
    assert told is not None
    assert torch.equal(told, mask.float())
    assert condition_for(make("rdn", SMALL["rdn"][0]), mask=mask, sigma=51) is None


def test_a_gray_network_restores_each_channel_by_itself() -> None:
    model = loaded("ffdnet", {"channels": 1, "width": 8, "layers": 4})
    x = torch.rand(2, 3, 8, 10)
    sigma = torch.tensor([10.0, 40.0])
    together = model.restore(x, sigma=sigma)
    for channel in range(3):
        alone = model.restore(x[:, channel : channel + 1], sigma=sigma)
        assert torch.allclose(together[:, channel : channel + 1], alone, atol=1e-6)


def test_bf16_is_used_and_close() -> None:
    model = loaded("dncnn", SMALL["dncnn"][0])
    x = torch.rand(1, 3, 16, 16)
    exact = model.restore(x)
    rough = model.to("cpu", "bf16").restore(x)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.05


def test_partial_convolution_ignores_holes_and_rescales() -> None:
    torch.manual_seed(0)
    layer = PartialConv2d(2, 3, 3)
    x = torch.rand(1, 2, 9, 9)
    valid = torch.ones(1, 1, 9, 9)
    valid[..., 2:7, 3:8] = 0
    with torch.no_grad():
        h, after = layer((x, valid))
        wild = torch.where(valid > 0, x, torch.full_like(x, float("inf")))
        again, _ = layer((wild, valid))
        ordinary = layer.convolution(x) + layer.bias
    assert torch.equal(h, again)
    # One valid pixel in the window is enough: a hole loses a ring of one pixel.
    expected = torch.ones_like(valid)
    expected[..., 3:6, 4:7] = 0
    assert torch.equal(after, expected)
    assert h[(after == 0).expand_as(h)].abs().max() == 0
    # Far from holes and borders it is the ordinary convolution.
    assert torch.allclose(h[..., 1:8, 1], ordinary[..., 1:8, 1], atol=1e-6)
    # Constant filters of a constant picture: rescaling makes up for all that is missing.
    nn.init.constant_(layer.convolution.weight, 1 / 18)
    nn.init.zeros_(layer.bias)
    with torch.no_grad():
        flat, seen = layer((torch.full_like(x, 0.3), valid))
    assert torch.allclose(flat[(seen > 0).expand_as(flat)], torch.tensor(0.3), atol=1e-6)


def test_partial_convolution_of_two_parts_weighs_them_by_channels() -> None:
    layer = PartialConv2d(4, 1, 1)
    nn.init.constant_(layer.convolution.weight, 0.25)
    first, second = torch.full((1, 3, 2, 2), 0.5), torch.full((1, 1, 2, 2), 0.9)
    yes, no = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    with torch.no_grad():
        for parts, expected in [
            (((first, yes), (second, no)), 0.5),
            (((first, no), (second, yes)), 0.9),
            (((first, yes), (second, yes)), 0.6),
        ]:
            h, valid = layer(*parts)
            assert torch.allclose(h, torch.tensor(expected))
            assert valid.min() == 1
        h, valid = layer((first, no), (second, no))
    assert h.abs().max() == 0
    assert valid.max() == 0


def test_the_partial_network_does_not_see_into_holes() -> None:
    network = make("pconv", SMALL["pconv"][0]).eval()
    assert isinstance(network, PConvUNet)
    x, mask = torch.rand(1, 3, 16, 24), a_mask(1, 16, 24)
    other = torch.where(mask, torch.full_like(x, 1e6), x)
    with torch.no_grad():
        assert torch.equal(network(x, mask.float()), network(other, mask.float()))
        assert not torch.equal(network(x, mask.float()), network(x))


def test_haar_keeps_the_mean_and_can_be_undone() -> None:
    x = torch.rand(2, 3, 8, 6)
    bands = haar_split(x)
    assert torch.allclose(bands[:, :3], nn.functional.avg_pool2d(x, 2), atol=1e-6)
    assert torch.allclose(haar_merge(bands), x, atol=1e-6)


def test_invdn_is_invertible_but_for_its_latent() -> None:
    network = make("invdn", SMALL["invdn"][0]).eval()
    assert isinstance(network, InvDN)
    x = torch.rand(2, 3, 8, 12)
    with torch.no_grad():
        small, latent = network.encode(x)
        assert small.shape == (2, 3, 2, 3)
        assert latent.shape == (2, 45, 2, 3)
        assert torch.allclose(network.decode(small, latent), x, atol=1e-5)
        assert torch.equal(network(x), network.decode(small, network.draw_latent(latent)))
        # A picture's latent does not depend on its place in a batch.
        assert torch.allclose(network(x)[1], network(x[1:])[0], atol=1e-4)


def test_invdn_restores_with_a_latent_that_depends_on_the_place_alone() -> None:
    network = make("invdn", SMALL["invdn"][0]).eval()
    assert isinstance(network, InvDN)
    drawn = network.draw_latent(torch.zeros(2, 45, 96, 80))
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[:1, :, :7, :9], network.draw_latent(torch.zeros(1, 45, 7, 9)))
    # Of N(0, 1): its moments, and no place that tells of its neighbour.
    drawn = drawn[0]
    assert abs(float(drawn.mean())) < 0.01
    assert float(drawn.std()) == pytest.approx(1, abs=0.01)
    assert float((drawn**4).mean()) == pytest.approx(3, abs=0.1)
    for axis in range(3):
        assert abs(float((drawn * drawn.roll(1, axis)).mean())) < 0.01


def test_invdn_draws_a_new_latent_each_training_call_and_can_be_resumed() -> None:
    network = make("invdn", SMALL["invdn"][0]).train()
    assert isinstance(network, InvDN)
    like = torch.zeros(2, 45, 16, 16)
    first = network.draw_latent(like)
    state = {key: value.clone() for key, value in network.state_dict().items()}
    second = network.draw_latent(like)
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])
    assert abs(float(second.mean())) < 0.05
    assert float(second.std()) == pytest.approx(1, abs=0.05)
    resumed = make("invdn", SMALL["invdn"][0]).train()
    resumed.load_state_dict(state)
    assert isinstance(resumed, InvDN)
    assert torch.equal(resumed.draw_latent(like), second)


def test_invdn_has_no_added_loss_where_the_small_picture_is_right() -> None:
    network = build_network("invdn", resolve_options("invdn", None, SMALL["invdn"][0]))
    assert isinstance(network, InvDN)
    flat = torch.full((1, 3, 8, 8), 0.4)
    # Untrained, the small picture is the mean of each 4×4 pixels.
    with torch.no_grad():
        for clean, loss in ((flat, 0), (flat + 0.1, 0.01)):
            added = network.forward_with_loss(flat, None, clean)[1]
            assert float(added) == pytest.approx(loss, abs=1e-5)
