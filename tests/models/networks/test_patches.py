"""The density of patches: exact, given its ring; maps of any size; trained by the common loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from irae.config import load_config
from irae.errors import ModelError, TrainingError
from irae.flow.density.prior import standard_normal_log_prob
from irae.models import loaded_patches
from irae.models.checkpoints.model_file import (
    is_patch_density,
    load_density,
    load_model,
    load_patch_density,
)
from irae.models.loaded import ModelSpec
from irae.models.loaded_patches import LoadedPatchDensity
from irae.models.networks.densities.patches import PatchDensity
from irae.models.networks.registry import PATCH_DENSITIES, build_network
from irae.restoring.improbable import improbability, to_map
from irae.runtime import generator
from irae.training.loop import train
from irae.training.prepare import prepare
from irae.training.run import Run, begin, resume

CPU = torch.device("cpu")
SMALL = {"block": 2, "ring": 1, "width": 8, "context": 6, "coupling_width": 8, "bins": 4}


def small(**changes: int) -> PatchDensity:
    """A small density, no part of which is the identity."""
    network = build_network("patches", {**SMALL, **changes})
    assert isinstance(network, PatchDensity)
    random = generator(7)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.15, generator=random)
    return network


def loaded(network: PatchDensity) -> LoadedPatchDensity:
    return LoadedPatchDensity(network, ModelSpec("patches", SMALL, ""), "small")


def test_the_default_is_as_small_as_promised() -> None:
    assert set(PATCH_DENSITIES) == {"patches"}
    network = build_network("patches", {})
    assert sum(p.numel() for p in network.parameters()) <= 1_000_000


@pytest.mark.parametrize("block", [2, 4])
def test_log_prob_is_the_prior_and_the_jacobian_of_the_block_given_its_ring(block: int) -> None:
    network = small(block=block).double()
    windows = torch.rand(2, 3 * network.side**2, generator=generator(0), dtype=torch.float64)
    latents, log_det = network.normalise(windows)
    for row in range(2):

        def mapped(block_of: Tensor, row: int = row) -> Tensor:
            window = windows[row : row + 1].index_copy(1, network._inner, block_of[None])
            return network.normalise(window)[0][0]

        jacobian = torch.autograd.functional.jacobian(mapped, windows[row, network._inner])
        expected = torch.linalg.slogdet(jacobian).logabsdet
        # The basis is orthonormal to float32.
        assert float((log_det[row] - expected).detach().abs()) < 1e-6
    y = torch.rand(1, 3, network.side, network.side, generator=generator(1)).double()
    z, found = network.normalise(network.windows(y, block))
    assert torch.equal(network.log_prob(y), standard_normal_log_prob(z) + found)
    assert torch.equal(network(y), network.log_prob(y))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), spread=st.floats(0.0, 1.0))
def test_round_trips_for_every_ring(seed: int, spread: float) -> None:
    network = small(block=4, ring=2)
    y = 0.5 + spread * (torch.rand(1, 3, 12, 12, generator=generator(seed)) - 0.5)
    windows = network.windows(y, 2)
    back = network.denormalise(network.normalise(windows)[0], windows)
    assert float((back - windows).detach().abs().max()) * 255 < 0.05
    # What is not the block stays bit for bit.
    assert torch.equal(back[:, network._outer], windows[:, network._outer])


def test_a_latent_of_noise_is_a_block_drawn_given_its_surroundings() -> None:
    network = small()
    windows = network.windows(torch.rand(1, 3, 8, 8, generator=generator(2)), 2)
    z = torch.randn(len(windows), network.numbers, generator=generator(3))
    drawn = network.denormalise(z, windows)
    assert torch.allclose(network.normalise(drawn)[0], z, atol=1e-3)
    assert not torch.allclose(drawn, windows)


def test_the_basis_is_orthonormal_and_each_half_has_all_frequencies() -> None:
    basis = PatchDensity(**{**SMALL, "block": 4})._basis
    assert torch.allclose(basis @ basis.T, torch.eye(48), atol=1e-6)
    # The first row is the mean of gray: both colours' and its constants are the lowest three.
    flat = torch.ones(48) / 48**0.5
    assert float((basis @ flat).abs().max()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (13, 22), (5, 40), (3, 3), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_maps_have_the_size_of_the_picture(height: int, width: int, stride: int) -> None:
    model = loaded(small(block=4, ring=2))
    picture = torch.rand(3, height, width, generator=generator(0))
    for found in model.surprise(picture, stride):
        assert found.shape == (1, height, width)
        assert bool(torch.isfinite(found).all())


def test_maps_do_not_depend_on_the_memory_they_take(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(small(block=4, ring=2))
    picture = torch.rand(3, 21, 17, generator=generator(0))
    whole = model.surprise(picture, 2)
    monkeypatch.setattr(loaded_patches, "WINDOWS", 5)
    for ours, theirs in zip(model.surprise(picture, 2), whole, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_every_pixel_is_the_mean_over_the_blocks_that_hold_it() -> None:
    network = small(block=2, ring=1)
    picture = torch.rand(3, 6, 6, generator=generator(4))
    bits, squares = loaded(network).surprise(picture, 2)
    y = network.dequantise(picture)[None]
    extended = torch.nn.functional.pad(y, (1, 1, 1, 1), mode="reflect")
    z, log_det = network.normalise(network.windows(extended, 2))
    each = z.square().mean(1).detach().reshape(3, 3)
    assert torch.allclose(squares[0], each.repeat_interleave(2, 0).repeat_interleave(2, 1))
    log_prob = standard_normal_log_prob(z) + log_det
    expected = network.to_bits_per_dim(log_prob).detach().reshape(3, 3)
    assert torch.allclose(bits[0, ::2, ::2], expected, atol=1e-5)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Smooth pictures with soft edges, which a few steps suffice to learn."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    random = generator(11)
    for number in range(8):
        coarse = torch.rand(1, 3, 6, 6, generator=random)
        large = torch.nn.functional.interpolate(coarse, size=(64, 64), mode="bicubic").clamp(0, 1)
        pixels = (large[0].permute(1, 2, 0) * 255).round().byte().numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def new_run(folder: Path, photographs: Path, *more: str) -> Run:
    options = ", ".join(f"{key}: {value}" for key, value in SMALL.items())
    overrides = [
        f"model.options={{{options}}}",
        "data.patch=16",
        "data.validation.crop=32",
        "training={batch: 8, steps: 60, warmup: 5, threads: 1, precision: fp32, ema: 0.9}",
        "training.validate_every=30",
        "training.learning_rate=0.01",
        *more,
    ]
    config = prepare(load_config("density/patches.yaml", overrides), [str(photographs)])
    return begin(config, folder, CPU)


@pytest.fixture(scope="module")
def trained(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = new_run(tmp_path_factory.mktemp("runs") / "run", photographs)
    train(run)
    assert "irae inspect FILE --improbable MAP.png" in run.describe()
    return run.folder


def test_training_lowers_the_bits_and_keeps_the_round_trip(
    photographs: Path, trained: Path, tmp_path: Path
) -> None:
    untrained = new_run(tmp_path / "other", photographs)
    before = untrained.validate().record()["validation_bits_per_dim"]
    model = load_patch_density(trained)
    after = model.spec.card["validation_bits_per_dim"]
    assert after < before - 1
    assert model.spec.card["round_trip"] < 0.5
    assert is_patch_density(trained)


def test_what_was_pasted_is_improbable(photographs: Path, trained: Path) -> None:
    from irae.data.folder import open_folder

    picture = open_folder(photographs).load(3).float() / 255
    marked = picture.clone()
    marked[:, 20:24, 30:34] = 1 - marked[:, 20:24, 30:34].round()
    model = load_patch_density(trained)
    before, after = (improbability(model, each) for each in (picture, marked))
    assert after.shape == (1, 64, 64)
    inside = after[0, 20:24, 30:34]
    assert float(inside.mean()) > 3 * float(before[0, 20:24, 30:34].mean())
    assert float(inside.mean()) > 3 * float(after[0, 45:].mean())
    shown = to_map(after)
    assert float(shown.min()) >= 0 and float(shown.max()) <= 1
    assert float(shown[0, 20:24, 30:34].mean()) > float(shown.mean())
    # A gray picture is one of three equal channels, and what is transparent does not count.
    seen = torch.ones(1, 64, 64, dtype=torch.bool)
    seen[:, :, 32:] = False
    gray = improbability(model, marked.mean(0, keepdim=True), seen=seen)
    assert float(gray[..., 32:].max()) == 0 and float(gray[..., :32].min()) > 0


def test_a_run_is_resumed_exactly(photographs: Path, tmp_path: Path) -> None:
    whole = new_run(tmp_path / "whole", photographs, "training.steps=8")
    train(whole)
    train(new_run(tmp_path / "parts", photographs, "training.steps=8"), max_steps=3)
    again = resume(tmp_path / "parts", CPU)
    train(again)
    expected = whole.ema.network.state_dict()
    for name, value in again.ema.network.state_dict().items():
        assert torch.equal(value, expected[name]), name
    warm = new_run(tmp_path / "warm", photographs, f"model.init={tmp_path / 'whole'}")
    for name, value in warm.network.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_other_commands_refuse_it_and_it_refuses_other_models(trained: Path) -> None:
    with pytest.raises(ModelError, match="density of patches and restores nothing"):
        load_model(trained)
    with pytest.raises(ModelError, match="density of patches, not of whole pictures"):
        load_density(trained)
    for name in ("fashion", "denoise", "scratches"):
        with pytest.raises(ModelError, match="no density of patches"):
            load_patch_density(name)
        assert not is_patch_density(name)


def test_patches_smaller_than_a_window_are_refused(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"data\.patch is 16; a block with its ring needs 24"):
        new_run(tmp_path / "run", photographs, "model.options={block: 4, ring: 10}")


@pytest.mark.parametrize("options", [{"block": 3}, {"ring": 0}, {"couplings": 0}, {"width": -1}])
def test_options_out_of_range_are_one_line(options: dict[str, int]) -> None:
    with pytest.raises(ModelError, match="must be even") as error:
        build_network("patches", options)
    assert "\n" not in str(error.value)
