"""Stages are what the network computes, probes find what is there, and the loss is seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.utils import save_image

from irae.data.folder import PictureSet, open_folder
from irae.errors import ModelError, UsageError
from irae.evaluation.information import measure as information
from irae.evaluation.information.activations import OUTPUT, activations_of, patches
from irae.evaluation.information.figures import can_draw, draw_information
from irae.evaluation.information.measure import measure
from irae.evaluation.information.probes import probe_psnr, recovery_psnr, train_decoder
from irae.evaluation.information.results import Settings, write_information
from irae.models.call import condition_for
from irae.models.loaded import LoadedModel, ModelSpec
from irae.models.networks.classical import NonLocalMeans
from irae.models.networks.registry import NETWORKS, build_network, resolve_options

SMALL: dict[str, dict[str, Any]] = {
    "irae": {"form": "lifted", "width": 12, "couplings": 4, "hidden": 8},
    "dncnn": {"width": 8, "layers": 6},
    "ffdnet": {"width": 8, "layers": 6},
    "rednet": {"width": 8, "layers": 6},
    "unet": {"width": 4, "depth": 3},
    "rdn": {"width": 8, "blocks": 2, "layers": 2, "growth": 4},
    "pconv": {"width": 4, "depth": 3},
    "invdn": {"width": 8, "blocks": 2},
    "gradnet": {"width": 8, "units": 2, "blocks": 1},
    "contextual-attention": {"width": 4},
    "shift-net": {"width": 4, "depth": 3, "shift_level": 1},
    "csa": {"width": 4, "depth": 3, "attention_level": 1},
}


def small(name: str, *, strength: float = 0.02, **options: Any) -> nn.Module:
    """A small network of the registry, its weights perturbed so that every layer does something."""
    torch.manual_seed(0)
    network = build_network(name, resolve_options(name, None, {**SMALL.get(name, {}), **options}))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += strength * torch.randn(parameter.shape)
    return network.eval()


def loaded(name: str, **options: Any) -> LoadedModel:
    return LoadedModel(small(name, **options), ModelSpec(name, {}, "denoise"), name)


@pytest.fixture(scope="module")
def textured(tmp_path_factory: pytest.TempPathFactory) -> PictureSet:
    """Four colour pictures of 96 x 112 with detail at every scale."""
    folder = tmp_path_factory.mktemp("textured")
    random = torch.Generator().manual_seed(0)
    for index in range(4):
        picture = torch.full((1, 3, 96, 112), 0.5)
        for cells in (3, 6, 12, 24, 48):
            coarse = torch.randn(1, 3, cells, cells, generator=random)
            picture += 0.1 * F.interpolate(coarse, size=(96, 112), mode="bicubic")
        save_image(picture.clamp(0, 1), folder / f"{index}.png")
    return open_folder(folder)


def batch(textured: PictureSet) -> Tensor:
    rows = [textured.load(index)[:, :96, :96].float() / 255 for index in range(4)]
    return torch.cat([torch.stack(rows), torch.stack(rows).flip(3), torch.stack(rows).flip(2)])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Few steps of everything; what is left is still of the real estimators."""
    monkeypatch.setattr(information, "_VALIDATED", ((1, 0.9),))
    monkeypatch.setattr(information, "mine", lambda x, y, seed: mine(x, y, steps=10, seed=seed))
    from irae.evaluation.information.mutual_information import mine

    return Settings(budget=2)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_has_stages(name: str) -> None:
    network = small(name)
    x = torch.rand(2, 3, 32, 32)
    condition = condition_for(network, mask=torch.zeros(2, 1, 32, 32), sigma=25)
    stages = activations_of(network, x, condition)
    with torch.no_grad():
        expected = network(x, condition)
    names = [stage.name for stage in stages]
    assert len(names) >= 4 and len(set(names)) == len(names)
    assert names[-1] == OUTPUT and torch.allclose(stages[-1].parts[0], expected, atol=1e-6)
    for stage in stages:
        for part in stage.parts:
            assert part.shape[0] == 2 and 32 % part.shape[2] == 0 and 32 % part.shape[3] == 0
            assert torch.isfinite(part).all()
        heights = [part.shape[2] for part in stage.parts]
        assert stage.recover is not None or heights[0] == max(heights)
    if NETWORKS[name].invertible:
        # The restored picture alone gives its input back for no denoiser.
        assert all(stage.recover is not None for stage in stages[:-1])
    # The hooks are gone.
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


@pytest.mark.parametrize("preset", sorted(NETWORKS["unet"].presets))
def test_conditions_do_not_hide_stages(preset: str) -> None:
    options = {**NETWORKS["unet"].presets[preset], **SMALL["unet"]}
    assert len(activations_of(small("unet", **options), torch.rand(1, 3, 32, 32), None)) == 13


def test_stages_of_a_plain_network_are_what_its_layers_compute() -> None:
    network = small("dncnn", batch_norm=False)
    x = torch.rand(1, 3, 16, 16)
    stages = {stage.name: stage.parts[0] for stage in activations_of(network, x, None)}
    body: Any = network.body
    with torch.no_grad():
        one = F.relu(body.convolutions[0](x))
        two = F.relu(body.convolutions[1](one))
    assert torch.equal(stages["after 1 convolution"], one)
    assert torch.equal(stages["after 2 convolutions"], two)
    assert torch.allclose(x - stages["after 6 convolutions"], stages[OUTPUT])


def test_skips_are_what_the_rest_of_a_unet_still_needs() -> None:
    stages = {
        s.name: s.parts for s in activations_of(small("unet"), torch.rand(1, 3, 32, 32), None)
    }
    assert [part.shape[2] for part in stages["bottom, with skips"]] == [32, 16, 8, 4]
    assert [part.shape[2] for part in stages["bottom, no skips"]] == [4]
    assert [part.shape[2] for part in stages["up 1, with skips"]] == [32, 16, 8]
    assert [part.shape[2] for part in stages["up 3"]] == [32]


@pytest.mark.parametrize("form", ["bounded", "paper", "condition"])
def test_the_exact_inverse_recovers_the_input_from_every_stage_of_a_flow(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SMALL, "irae", {"width": 8, "depth": 2})
    options: dict[str, Any] = {"levels": 3}
    if form == "paper":
        options |= {**NETWORKS["irae"].presets["paper"], "width": 8, "depth": 2}
    elif form == "condition":
        options["condition_channels"] = 1
    network = small("irae", **options)
    x = torch.rand(2, 3, 32, 32)
    mask = torch.rand(2, 1, 32, 32) if form == "condition" else None
    condition = condition_for(network, mask=mask, filled=x)
    with torch.no_grad():
        # It changes its input, so that recovering is more than copying.
        assert recovery_psnr(network(x, condition), x) < 40
    stages = activations_of(network, x, condition)
    assert len(stages) == 2 * len(network.encoder.levels)
    for stage in stages:
        assert sum(part.numel() for part in stage.parts) == x.numel()
        assert stage.recover is not None
        with torch.no_grad():
            assert recovery_psnr(stage.recover(), x) > 80, stage.name


def test_a_lifted_network_keeps_all_of_its_input_until_the_remainder_is_dropped() -> None:
    network, x = small("irae"), torch.rand(2, 3, 16, 16)
    *streams, output = activations_of(network, x, None)
    assert [stage.name for stage in streams] == [
        "after coupling 1",
        "after coupling 2",
        "after coupling 3",
        "restored and remainder",
    ]
    for stage in streams:
        assert stage.recover is not None
        with torch.no_grad():
            assert recovery_psnr(stage.recover(), x) > 80, stage.name
    assert output.recover is None
    with torch.no_grad():
        assert torch.allclose(output.parts[0], network(x), atol=1e-6)


def test_a_multiscale_network_has_the_stages_of_a_lifted_one() -> None:
    options = {"form": "multiscale", "width": 12, "couplings": 2, "scales": [6, 8]}
    torch.manual_seed(0)
    network = build_network("irae", resolve_options("irae", None, options)).eval()
    stages = activations_of(network, torch.rand(1, 3, 16, 16), None)
    names = [stage.name for stage in stages]
    assert names == ["after coupling 1", "restored and remainder", OUTPUT]


def test_invdn_is_exact_until_it_drops_its_latent() -> None:
    x = torch.rand(2, 3, 32, 32)
    *halvings, small_picture, output = activations_of(small("invdn"), x, None)
    for stage in halvings:
        assert stage.recover is not None
        with torch.no_grad():
            assert recovery_psnr(stage.recover(), x) > 80
    assert small_picture.recover is None and output.recover is None


def test_methods_without_layers_have_no_stages() -> None:
    with pytest.raises(ModelError, match="NonLocalMeans has no stages"):
        activations_of(NonLocalMeans(), torch.rand(1, 3, 16, 16), None)


def test_a_patch_is_all_that_belongs_to_it() -> None:
    x = torch.arange(2 * 3 * 8 * 8.0).view(2, 3, 8, 8)
    rows = patches(x, 8, 4)
    assert rows.shape == (8, 48)
    assert set(rows[5].tolist()) == set(x[1, :, :4, 4:].flatten().tolist())
    halved = patches(F.avg_pool2d(x, 2), 8, 4)
    assert halved.shape == (8, 12) and halved[0, 0] == x[0, 0, :2, :2].mean()


def test_recovery_is_a_psnr_of_all_pictures_together() -> None:
    x = torch.rand(3, 3, 8, 8)
    error = torch.tensor([0.1, 0.2, 0.0]).view(3, 1, 1, 1)
    expected = -10 * torch.tensor((0.01 + 0.04) / 3).log10().item()
    assert recovery_psnr(x + error, x) == pytest.approx(expected, abs=1e-3)
    assert recovery_psnr(x, x) == 150


def probed(features: Tensor, given: Tensor, steps: int = 30) -> float:
    decoder = train_decoder([features[:8]], given[:8], steps=steps)
    return probe_psnr(decoder, [features[8:]], given[8:])


@pytest.mark.slow
def test_a_bottleneck_scores_below_a_stage_that_keeps_everything(textured: PictureSet) -> None:
    given = batch(textured)
    torch.manual_seed(0)
    keeps = nn.Conv2d(3, 16, 1).requires_grad_(False)
    squeezes = nn.Conv2d(3, 1, 4, stride=4).requires_grad_(False)
    kept, squeezed = probed(keeps(given), given), probed(squeezes(given), given)
    assert kept > 80
    assert 10 < squeezed < 30
    # And a stage that knows nothing leaves only the mean colour.
    blank = probed(torch.zeros(12, 4, 96, 96), given)
    deviation = recovery_psnr(given[:8].mean((0, 2, 3), keepdim=True), given[8:])
    assert blank == pytest.approx(deviation, abs=0.5) and blank < squeezed


@pytest.mark.slow
def test_training_finds_what_no_linear_map_does(textured: PictureSet) -> None:
    given = batch(textured)
    torch.manual_seed(0)
    # Each half of a channel's range is bent otherwise: a sign is lost to any linear map.
    folded = torch.cat([F.relu(given - 0.5), F.relu(0.5 - given).square()], 1)
    assert probed(folded, given, 60) > probed(folded, given, 0) + 1


def test_held_out_pictures_are_not_trained_on(textured: PictureSet) -> None:
    """With noise for features there is nothing to generalise from, however long one trains."""
    given = batch(textured)
    noise = torch.randn(12, 64, 12, 12, generator=torch.Generator().manual_seed(0))
    spread = recovery_psnr(given[:8].mean((0, 2, 3), keepdim=True), given[8:])
    assert probed(noise, given) < spread + 0.5


@pytest.mark.slow
def test_a_measurement_says_what_was_done(textured: PictureSet, quick: Settings) -> None:
    models = [loaded("irae"), loaded("unet"), loaded("dncnn", channels=1), loaded("ffdnet")]
    found = measure(models, textured, quick)
    assert (found.trained_on, found.held_out) == (3, 1)
    assert (found.crop, found.patch, found.samples) == (96, 16, 4 * 2 * 36)
    content = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert content["noise"] == 0.3 and content["sigma"] == 25 and content["budget"] == 2
    assert set(content["validation"][0]) == {"true", "ksg", "mine", "dimension", "rho"}
    assert [m["model"] for m in content["models"]] == ["irae", "unet", "dncnn", "ffdnet"]
    *streams, output = content["models"][0]["stages"]
    for stage in streams:
        assert stage["probe"] == "exact inverse" and stage["probe_psnr"] > 80
        assert stage["values"] == 2
    assert output["stage"] == OUTPUT and output["probe"] == "trained decoder"
    for stage in content["models"][1]["stages"]:
        assert stage["probe"] == "trained decoder" and 5 < stage["probe_psnr"] < 80
    told = found.describe()
    for words in ("sigma 25", "noise of 0.3", "2 steps", "3 to train", "288 patches", "bottom, no"):
        assert words in told
    tables = [line for line in told.splitlines() if line.startswith("|")]
    assert len(tables) == 2 + sum(len(m.stages) + 1 for m in found.models) + 3


@pytest.mark.slow
def test_the_seed_decides_and_the_noise_is_part_of_the_figure(
    textured: PictureSet, quick: Settings
) -> None:
    first, again = (measure([loaded("unet")], textured, quick).models[0] for _ in range(2))
    assert first.stages == again.stages and first.identity == again.identity
    loud = Settings(budget=2, noise=1.0)
    louder = measure([loaded("unet")], textured, loud).models[0]
    assert louder.identity["ksg"] < first.identity["ksg"] - 0.5
    assert louder.identity["ksg"] < loud.ceiling < quick.ceiling
    assert loud.ceiling == pytest.approx(1.5 * torch.tensor(2.0).log().item())


@pytest.mark.slow
def test_mutual_information_of_stages_that_know_all_and_nothing(
    textured: PictureSet, quick: Settings
) -> None:
    untouched = loaded("irae", strength=0.0)
    encoder_only = measure([untouched], textured, quick).models[0]
    # An untrained IRAE gives its input back, so its output is the input itself.
    assert encoder_only.stages[-1].ksg == pytest.approx(encoder_only.identity["ksg"], abs=0.02)
    deaf = loaded("dncnn", batch_norm=False)
    with torch.no_grad():
        deaf.network.body.convolutions[0].weight.zero_()
    first, *_ = measure([deaf], textured, quick).models[0].stages
    assert abs(first.ksg) < 0.2 and first.probe_psnr < 25


@pytest.mark.slow
@pytest.mark.skipif(not can_draw(), reason="matplotlib is not installed (extra report)")
def test_files(textured: PictureSet, quick: Settings, tmp_path: Path) -> None:
    found = measure([loaded("irae"), loaded("arcnn")], textured, quick)
    path = write_information(found, tmp_path / "new")
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(found.to_dict()))
    picture = draw_information(found, tmp_path / "new")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in picture.parent.iterdir()) == [path.name, picture.name]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"sigma": 300.0}, "sigma is 300"),
        ({"noise": 0.0}, "noise is 0"),
        ({"noise": float("nan")}, "noise is nan"),
        ({"dimension": 9}, "dimension is 9"),
        ({"budget": -1}, "budget is -1"),
    ],
)
def test_settings_out_of_range(setting: dict[str, Any], words: str, textured: PictureSet) -> None:
    with pytest.raises(UsageError, match=words):
        measure([loaded("arcnn")], textured, Settings(**setting))


def test_too_few_and_too_small_pictures(textured: PictureSet, pictures: Path) -> None:
    model = loaded("arcnn")
    with pytest.raises(UsageError, match="1 pictures are too few"):
        measure([model], textured, Settings(), max_pictures=1)
    with pytest.raises(UsageError, match="144 patches of 16x16 are too few"):
        measure([model], textured, Settings(), max_pictures=2)
    deep = loaded("unet", depth=6)
    with pytest.raises(UsageError, match="48 pixels are too few for the patches of 64x64"):
        measure([deep], open_folder(pictures / "val"), Settings())
    with pytest.raises(UsageError, match="at least one model"):
        measure([], textured, Settings())


@pytest.mark.slow
def test_a_stage_that_is_not_finite_is_told(textured: PictureSet) -> None:
    broken = loaded("arcnn")
    with torch.no_grad():
        broken.network.body[2].bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="stage 'after 2 convolutions' is not finite"):
        measure([broken], textured, Settings())
