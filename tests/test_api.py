"""The library as ``import irae`` offers it: the examples of *Use it from Python*, and edges."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import irae
from irae.errors import ModelError, PictureError, TrainingError, UsageError
from irae.imaging.metrics import psnr
from irae.runtime import generator

TINY = {"form": "lifted", "width": 12, "couplings": 2, "hidden": 8}


@pytest.fixture(scope="module")
def denoiser() -> irae.Model:
    return irae.load_model("denoise")


@pytest.fixture(scope="module")
def noisy() -> Tensor:
    coarse = torch.rand(2, 3, 6, 6, generator=generator(1))
    smooth = torch.nn.functional.interpolate(coarse, size=(45, 58), mode="bicubic").clamp(0, 1)
    return smooth + 25 / 255 * torch.randn(smooth.shape, generator=generator(2))


def test_everything_offered_is_there() -> None:
    for name in irae.__all__:
        assert getattr(irae, name) is not None
    assert {"denoise", "jpeg", "inpaint"} <= set(irae.list_models())
    with pytest.raises(AttributeError):
        irae.nothing  # noqa: B018


def test_a_module_gives_what_the_model_gives(denoiser: irae.Model, noisy: Tensor) -> None:
    assert isinstance(denoiser.module, torch.nn.Module)
    with torch.no_grad():
        assert torch.allclose(denoiser.module(noisy), denoiser.restore(noisy), atol=1e-4)
    one = denoiser.module(noisy[:1], 25.0)  # A blind network takes no notice of sigma.
    assert torch.allclose(one, denoiser.module(noisy)[:1], atol=1e-5)
    requirements = denoiser.input_requirements
    assert (requirements.channels, requirements.sigma, requirements.mask) == (3, False, False)
    assert denoiser.task == "denoise"


def test_a_module_can_be_differentiated(denoiser: irae.Model, noisy: Tensor) -> None:
    x = noisy.clone().requires_grad_()
    denoiser.module(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_module_runs_in_other_precisions(
    denoiser: irae.Model, noisy: Tensor, dtype: torch.dtype
) -> None:
    module = copy.deepcopy(denoiser.module).to(dtype)
    with torch.no_grad():
        restored = module(noisy.to(dtype))
        assert restored.dtype == dtype
        tolerance = 1e-4 if dtype == torch.float64 else 0.03
        assert (restored.float() - denoiser.module(noisy)).abs().max() < tolerance


def test_weights_of_a_module_can_be_trained(noisy: Tensor) -> None:
    model = irae.create_model("irae", **TINY)
    untrained = model.restore(noisy)
    module = model.module.requires_grad_(True)
    optimizer = torch.optim.Adam(module.parameters(), 1e-2)
    before = (module(noisy) - 0.5).square().mean()
    for _ in range(5):
        optimizer.zero_grad()
        loss = (module(noisy) - 0.5).square().mean()
        loss.backward()
        assert model.task == "denoise"  # Asking for anything leaves the weights trainable.
        optimizer.step()
    assert loss < before
    # It shares its weights with the model, whose restoring form follows them.
    assert torch.equal(model.module(noisy), module(noisy))
    assert torch.allclose(model.restore(noisy), module(noisy), atol=1e-4)
    assert not torch.allclose(model.restore(noisy), untrained, atol=1e-3)
    assert type(model.copy()) is irae.Model


def test_shapes_that_are_no_batch_are_one_line(denoiser: irae.Model) -> None:
    with pytest.raises(UsageError, match="use a batch B C H W"):
        denoiser.module(torch.rand(3, 8, 8))
    with pytest.raises(UsageError, match="one image has one noise level"):
        denoiser.restore(torch.rand(3, 8, 8), sigma=torch.tensor([3.0, 4.0]))
    assert issubclass(irae.errors.UsageError, ValueError)


@pytest.mark.parametrize(
    ("network", "channels"), [("ffdnet", 3), ("dncnn", 1), ("unet", 3), ("pconv", 3)]
)
def test_every_kind_of_network_is_a_module(network: str, channels: int) -> None:
    torch.manual_seed(0)
    options = {"width": 8, "layers": 4} if network in ("ffdnet", "dncnn") else {"width": 8}
    options |= {"depth": 3} if network in ("unet", "pconv") else {}
    model = irae.create_model(network, **options)
    x = torch.rand(2, channels, 21, 30)
    mask = torch.zeros(2, 1, 21, 30, dtype=torch.bool)
    mask[..., 5:9, 7:12] = True
    hole = mask if model.input_requirements.mask else None
    sigma = 25.0 if model.input_requirements.sigma else None
    with torch.no_grad():
        y = model.module(x, sigma, hole)
    assert y.shape == x.shape
    assert torch.allclose(y, model.restore(x, hole, sigma=sigma), atol=1e-5)
    if hole is not None:
        assert torch.equal(y[~mask.expand_as(x)], x[~mask.expand_as(x)])
        with pytest.raises(ModelError, match="mask"):
            model.module(x)
    if sigma is not None:
        with pytest.raises(ModelError, match="noise level"):
            model.module(x)


def test_a_model_takes_images_of_any_kind(denoiser: irae.Model, noisy: Tensor) -> None:
    array = (noisy[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    restored = denoiser.restore(array)
    assert restored.dtype == np.uint8
    image = denoiser.restore(Image.fromarray(array))
    assert np.array_equal(np.asarray(image), restored)


def test_a_restorer_leaves_the_model_as_it_is(denoiser: irae.Model, noisy: Tensor) -> None:
    before = denoiser.restore(noisy)
    restorer = irae.Restorer(denoiser, device="cpu", precision="bf16", ensemble=True)
    restorer.restore(noisy)
    assert (denoiser.precision, denoiser.ensemble) == ("fp32", False)
    assert torch.equal(denoiser.restore(noisy), before)


def test_a_batch_goes_through_the_network_as_a_batch(
    denoiser: irae.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    restorer = irae.Restorer(denoiser, device="cpu", precision="fp32")
    whole, seen = restorer.model.restore, []

    def counted(x: Tensor, *rest: object, **options: object) -> Tensor:
        seen.append(len(x))
        result: Tensor = whole(x, *rest, **options)  # type: ignore[arg-type]
        return result

    monkeypatch.setattr(restorer.model, "restore", counted)
    batch = torch.rand(4, 3, 20, 24)
    together = restorer.restore(batch)
    assert seen == [4]
    alone = torch.stack([restorer.restore(x) for x in batch])
    assert torch.allclose(together, alone, atol=1e-6)


def test_models_are_made_saved_and_loaded(tmp_path: Path, noisy: Tensor) -> None:
    torch.manual_seed(3)
    model = irae.create_model("irae", task="denoise", **TINY)
    irae.save_model(tmp_path / "m.safetensors", model)
    again = irae.load_model(tmp_path / "m.safetensors")
    assert (type(again), again.task) == (irae.Model, "denoise")
    assert torch.equal(again.restore(noisy), model.restore(noisy))
    with pytest.raises(ValueError, match="safetensors"):
        irae.save_model(tmp_path / "m.pt", model)
    with pytest.raises(UsageError, match="task 'paint' is unknown"):
        irae.create_model(task="paint")
    with pytest.raises(ModelError, match="preset 'huge'"):
        irae.create_model("irae", preset="huge")


def test_training_and_measuring_from_python(tmp_path: Path, pictures: Path) -> None:
    config = {
        "extends": "denoise.yaml",
        "model": {"preset": None, "options": TINY},
        "data": {"patch": 32, "validation": {"images": 1, "crop": 32}},
        "training": {"steps": 4, "batch": 2, "validate_every": 4, "samples": 0, "warmup": 0},
    }
    run = irae.train(
        config,
        tmp_path / "run",
        data=pictures / "train",
        validation=pictures / "val",
        device="cpu",
    )
    assert run.folder == tmp_path / "run"
    assert run.metrics[-1]["step"] == 4
    assert run.best.task == "denoise"
    result = irae.evaluate(run.best, pictures / "val", sigma=[15, 25], device="cpu")
    assert [level.degradation.describe() for level in result.levels] == ["sigma 15", "sigma 25"]
    assert result.levels[0].output["psnr"] > 15
    assert result.to_dict()["task"] == "denoise"
    with pytest.raises(UsageError, match="knows no 'hole'"):
        irae.evaluate(run.best, pictures / "val", sigma=15, hole="center:8")
    with pytest.raises(TrainingError, match="already holds a run"):
        irae.train(config, tmp_path / "run", data=pictures / "train", device="cpu")


def test_pictures_are_read_and_written(tmp_path: Path) -> None:
    pixels = (np.random.default_rng(0).random((8, 9, 3)) * 255).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = irae.read_picture(tmp_path / "a.png")
    irae.write_picture(tmp_path / "b.png", picture)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), pixels)
    with pytest.raises(PictureError, match="exists already; use `overwrite`"):
        irae.write_picture(tmp_path / "b.png", picture)


def test_errors_are_what_python_expects() -> None:
    with pytest.raises(ValueError, match="strength"):
        irae.Restorer("denoise", strength=2)
    with pytest.raises(OSError, match="no such file"):
        irae.read_picture("nowhere.png")
    with pytest.raises(UsageError) as caught:
        irae.Restorer("denoise", sigma=25)
    assert "--" not in str(caught.value)


@pytest.mark.slow
def test_a_denoiser_is_a_prior_for_a_blurred_picture(denoiser: irae.Model) -> None:
    """Plug and play (Venkatakrishnan et al. 2013): steps on the data, then the denoiser."""
    from skimage import data

    clean = torch.from_numpy(data.astronaut()[20:148, 150:278].copy()).permute(2, 0, 1)[None] / 255
    kernel = torch.ones(3, 1, 5, 5) / 25

    def blur(x: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(x, (2, 2, 2, 2), mode="circular")
        return torch.nn.functional.conv2d(padded, kernel, groups=3)

    seen = blur(clean) + 2 / 255 * torch.randn(clean.shape, generator=generator(0))
    x, denoise = seen.clone(), denoiser.module
    with torch.no_grad():
        for _ in range(30):
            x = x - 1.5 * blur(blur(x) - seen)  # The kernel is its own mirror image.
            x = x + 0.3 * (denoise(x, sigma=2.0) - x)
    assert psnr(x.clamp(0, 1), clean) > psnr(seen, clean) + 1.5
