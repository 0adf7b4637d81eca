"""Noise that all channels share: found, made independent and white, and removed by the denoiser."""

from __future__ import annotations

import math

import pytest
import torch
from skimage import data
from torch import Tensor

from irae.imaging.blur import blurred_noise
from irae.imaging.degrade import add_noise, jpeg_compress
from irae.imaging.metrics import psnr
from irae.models.checkpoints.model_file import load_model
from irae.restoring.restorer import Restorer
from irae.restoring.whitening import Whitening, find_shared_noise
from irae.runtime import generator

SIDE = 192


@pytest.fixture(scope="module")
def clean() -> Tensor:
    return (
        torch.from_numpy(data.coffee()[40 : 40 + SIDE, 150 : 150 + SIDE].copy()).movedim(2, 0) / 255
    )


def _grain(clean: Tensor, sigma: float, blur: float) -> Tensor:
    """Add noise that all channels share, in 8 bits."""
    noise = torch.randn(1, 1, SIDE, SIDE, generator=generator(5))
    noise = blurred_noise(noise, torch.tensor([blur]), largest=1.0)[0]
    return ((clean + noise * (sigma / 255)).clamp(0, 1) * 255).round() / 255


def _gray(pixels: Tensor) -> Tensor:
    return pixels.mean(0, keepdim=True)


@pytest.mark.parametrize("blur", [0.0, 0.6])
@pytest.mark.parametrize("gray", [False, True])
def test_its_level_and_blur_are_found(clean: Tensor, gray: bool, blur: float) -> None:
    picture = _gray(clean) if gray else clean
    noisy = _grain(picture, 15, blur)
    found = find_shared_noise(noisy, noisy)
    assert found is not None
    assert found.blur == pytest.approx(blur, abs=0.25)
    if not blur:
        assert found.sigma == pytest.approx(15, rel=0.15)


def test_only_such_noise_is_found(clean: Tensor) -> None:
    own = add_noise(clean, 15, generator(1), clip=True)
    compressed = jpeg_compress(_grain(clean, 15, 0.0), 90)
    for other in (clean, own, compressed, torch.full((3, 64, 64), 0.5), torch.zeros(1, 5, 5)):
        assert find_shared_noise(other, other) is None
    weak = _grain(clean, 1, 0.0)
    assert find_shared_noise(weak, weak) is None
    # Of a picture that was changed after JPEG, the stored one tells.
    assert find_shared_noise(_gray(compressed), compressed) is None


@pytest.mark.parametrize("blur", [0.0, 0.5])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_noise_becomes_white_and_independent(blur: float, channels: int) -> None:
    flat = torch.full((channels, SIDE, SIDE), 0.5)
    noisy = flat + (_grain(flat[:1], 10, blur) - flat[:1])
    found = find_shared_noise(noisy, noisy)
    assert found is not None
    white = found.apply(noisy[None])[0]
    assert white.shape == (3, SIDE, SIDE)
    off = white - white.mean((1, 2), keepdim=True)
    powers = off.square().mean((1, 2))
    assert float(powers.max() / powers.min()) < 1.15
    between = (off[0] * off[1]).mean() / powers.mean()
    beside = (off[:, :, 1:] * off[:, :, :-1]).mean() / powers.mean()
    assert abs(float(between)) < 0.15
    assert abs(float(beside)) < 0.15


@pytest.mark.parametrize("blur", [0.0, 0.6])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (40, 31)])
def test_there_and_back_changes_nothing(clean: Tensor, blur: float, size: tuple[int, int]) -> None:
    given = clean[None, :, : size[0], : size[1]].contiguous()
    whitening = Whitening(blur, 12.0)
    back = whitening.undo(whitening.apply(given), given)
    assert torch.allclose(back, given, atol=2e-5)
    assert torch.equal(whitening.apply(given), whitening.apply(given))


def test_the_wider_the_blur_the_more_is_restored_directly(clean: Tensor) -> None:
    shares = [Whitening(blur, 12.0).direct_share for blur in (0.0, 0.3, 0.5, 0.7, 1.0, 1.6)]
    assert shares[:2] == [0, 0]
    assert shares == sorted(shares)
    assert shares[-1] == 0.6
    given, direct = clean[None], clean[None].flip(3)
    whitening = Whitening(0.7, 12.0)
    made = whitening.undo(whitening.apply(given), given, direct)
    wanted = torch.lerp(given.mean(1), direct.mean(1), whitening.direct_share)
    assert torch.allclose(made.mean(1), wanted, atol=2e-5)
    # The colours stay those of the picture.
    colours = given - given.mean(1, keepdim=True)
    assert torch.allclose(made - made.mean(1, keepdim=True), colours, atol=2e-5)


@pytest.mark.parametrize("kind", ["colour", "gray", "toned"])
@pytest.mark.parametrize("blur", [0.0, 0.6])
def test_the_packaged_model_leaves_it_to_the_denoiser(
    clean: Tensor, kind: str, blur: float
) -> None:
    picture = {"colour": clean, "gray": _gray(clean)}.get(kind)
    if picture is None:
        tint = torch.tensor([0.08, 0.02, -0.08])[:, None, None]
        picture = _gray(clean) + tint * 4 * _gray(clean) * (1 - _gray(clean))
    noisy = _grain(picture, 15, blur)
    restored = Restorer("photo", device="cpu", precision="fp32").restore(noisy)
    # A model under another name may be one that knows such noise better.
    model = load_model("photo")
    model.name = "runs/mine"
    alone = Restorer(model, device="cpu", precision="fp32").restore(noisy)
    gains = [float(psnr(each[None], picture[None])) for each in (restored, alone, noisy)]
    assert gains[0] > gains[1] + 0.3
    assert gains[0] > gains[2] + 2
    if kind == "colour":
        # The colours had no noise, and stay.
        assert torch.allclose(restored - _gray(restored), noisy - _gray(noisy), atol=0.02)


def test_tiles_do_not_show(clean: Tensor) -> None:
    noisy = _grain(clean, 15, 0.5)
    whole, tiled = (
        Restorer("photo", device="cpu", precision="fp32", tile=tile).restore(noisy)
        for tile in (0, 96)
    )
    # The added noise is another one in each tile, so the results differ a little, everywhere.
    assert float((whole - tiled).square().mean().sqrt()) * 255 < 1.5
    assert math.isclose(
        float(psnr(whole[None], clean[None])), float(psnr(tiled[None], clean[None])), abs_tol=0.3
    )
