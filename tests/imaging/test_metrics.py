"""The metrics against scikit-image, Pillow, OpenCV, worked examples and what must hold."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio_with_blocked_effect

from irae.errors import UsageError
from irae.imaging.metrics import (
    auroc,
    average_precision,
    psnr,
    psnr_b,
    rgb_to_y,
    ssim,
    ssim_authors,
)
from irae.runtime import generator

SHAPES = [(3, 11, 11), (3, 64, 64), (3, 37, 90), (1, 40, 40)]


def pictures(shape: tuple[int, int, int], seed: int, count: int = 2) -> tuple[Tensor, Tensor]:
    """Smooth pictures and noisy versions of them, so that SSIM lies well inside (0, 1)."""
    random = generator(seed)
    small = torch.rand((count, shape[0], 5, 5), generator=random)
    clean = torch.nn.functional.interpolate(small, shape[1:], mode="bilinear")
    return clean, clean + 0.05 * torch.randn(clean.shape, generator=random)


def scikit_ssim(a: Tensor, b: Tensor) -> float:
    return float(
        structural_similarity(
            a.double().numpy(),
            b.double().numpy(),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            channel_axis=0,
            data_range=1,
        )
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_psnr_is_scikits_per_picture(shape: tuple[int, int, int]) -> None:
    clean, noisy = pictures(shape, 1)
    noisy[1] += 0.1
    expected = [
        peak_signal_noise_ratio(c.numpy(), n.numpy(), data_range=1)
        for c, n in zip(clean, noisy, strict=True)
    ]
    assert psnr(noisy, clean).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sigma", [1.0, 25.0, 50.0])
def test_psnr_of_noise_is_that_of_its_sigma(sigma: float) -> None:
    clean = torch.full((1, 3, 256, 256), 0.5)
    noisy = clean + sigma / 255 * torch.randn(clean.shape, generator=generator(2))
    assert psnr(noisy, clean).item() == pytest.approx(20 * math.log10(255 / sigma), abs=0.05)


def test_psnr_of_one_grey_level_and_of_equal_pictures() -> None:
    clean = torch.full((1, 3, 8, 8), 0.5)
    assert psnr(clean + 1 / 255, clean).item() == pytest.approx(48.1308, abs=1e-4)
    assert psnr(clean, clean).item() == math.inf


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), height=st.integers(11, 30), width=st.integers(11, 30))
def test_metrics_are_symmetric_and_perfect_on_equal_pictures(
    seed: int, height: int, width: int
) -> None:
    clean, noisy = pictures((3, height, width), seed, count=1)
    for metric in (psnr, ssim, ssim_authors):
        assert metric(clean, noisy).item() == pytest.approx(metric(noisy, clean).item(), abs=1e-9)
    for metric in (ssim, ssim_authors):
        assert metric(clean, clean).item() == pytest.approx(1.0, abs=1e-12)
        assert metric(clean, noisy).item() < 1


@pytest.mark.parametrize("shape", SHAPES)
def test_ssim_is_scikits(shape: tuple[int, int, int]) -> None:
    clean, noisy = pictures(shape, 3)
    expected = [scikit_ssim(c, n) for c, n in zip(clean, noisy, strict=True)]
    assert ssim(noisy, clean).tolist() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", [1.0, 0.9, 0.5, 0.0])
def test_ssim_of_flat_pictures_is_not_spoilt_by_cancellation(level: float) -> None:
    flat = torch.full((1, 3, 32, 32), level)
    assert ssim(flat, flat - 0.01).item() == pytest.approx(
        scikit_ssim(flat[0], flat[0] - 0.01), abs=1e-9
    )


@pytest.mark.parametrize("shape", [(3, 3, 3), (3, 64, 64), (3, 37, 90)])
def test_authors_ssim_is_scikits_with_the_width_for_channels(shape: tuple[int, int, int]) -> None:
    clean, noisy = pictures(shape, 4)
    expected = [
        structural_similarity(c.numpy(), n.numpy(), win_size=3, channel_axis=-1, data_range=2)
        for c, n in zip(clean, noisy, strict=True)
    ]
    assert ssim_authors(noisy, clean).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_two_forms_of_ssim_are_far_apart() -> None:
    clean, noisy = pictures((3, 64, 64), 5)
    assert ((ssim_authors(noisy, clean) - ssim(noisy, clean)).abs() > 0.05).all()


def test_luma_is_pillows_and_opencvs() -> None:
    pixels = torch.randint(0, 256, (64, 64, 3), generator=generator(6), dtype=torch.uint8).numpy()
    y = rgb_to_y(torch.from_numpy(pixels).permute(2, 0, 1) / 255) * 255
    pillow = np.asarray(Image.fromarray(pixels).convert("YCbCr"))[..., 0]
    opencv = cv2.cvtColor(pixels, cv2.COLOR_RGB2YCrCb)[..., 0]
    assert y.shape == (1, 64, 64)
    # Pillow cuts the fraction off, in fixed point; OpenCV rounds.
    assert np.abs(y[0].numpy() - 0.5 - pillow).max() <= 0.55
    assert np.abs(y[0].numpy() - opencv).max() <= 0.51
    assert rgb_to_y(torch.ones(2, 3, 4, 4)).tolist() == torch.ones(2, 1, 4, 4).tolist()


def blocking_effect_from_the_paper(x: np.ndarray) -> float:
    """Yim and Bovik's equations over all neighbouring pairs, one by one."""
    height, width = x.shape
    edge: list[float] = []
    other: list[float] = []
    for row in range(height):
        for column in range(width):
            if column + 1 < width:
                step = (x[row, column] - x[row, column + 1]) ** 2
                (edge if (column + 1) % 8 == 0 else other).append(step)
            if row + 1 < height:
                step = (x[row, column] - x[row + 1, column]) ** 2
                (edge if (row + 1) % 8 == 0 else other).append(step)
    excess = float(np.mean(edge) - np.mean(other))
    return max(excess, 0.0) * math.log2(8) / math.log2(min(height, width))


def blocky(height: int, width: int) -> tuple[Tensor, Tensor]:
    clean, noisy = pictures((1, height, width), 7)
    rows = torch.arange(height) // 8 % 2
    columns = torch.arange(width) // 8 % 2
    return clean, noisy * 0.2 + clean * 0.8 + 0.4 * (rows[:, None] + columns)


@pytest.mark.parametrize("size", [(16, 16), (40, 24), (33, 47)])
def test_psnr_b_is_the_papers(size: tuple[int, int]) -> None:
    clean, damaged = blocky(*size)
    for index in range(2):
        bef = blocking_effect_from_the_paper(damaged[index, 0].double().numpy())
        assert bef > 0
        mean_squared = 10 ** (-psnr(damaged, clean)[index].item() / 10)
        expected = -10 * math.log10(mean_squared + bef)
        assert psnr_b(damaged, clean)[index].item() == pytest.approx(expected, abs=1e-9)


def test_psnr_b_is_near_torchmetrics_which_miscounts_the_pairs() -> None:
    clean, damaged = blocky(64, 64)
    theirs = peak_signal_noise_ratio_with_blocked_effect(damaged[:1], clean[:1], data_range=1.0)
    ours = psnr_b(damaged, clean)[0].item()
    assert ours == pytest.approx(theirs.item(), abs=0.6)
    assert ours != pytest.approx(theirs.item(), abs=0.01)


def test_psnr_b_is_the_psnr_where_there_are_no_blocks() -> None:
    clean = torch.linspace(0, 1, 32).expand(1, 1, 32, 32)
    shifted = clean + 0.1
    assert psnr_b(shifted, clean).item() == pytest.approx(psnr(shifted, clean).item(), abs=1e-6)
    assert psnr_b(clean, clean).item() > 100
    for shape in ((1, 1, 1, 1), (1, 1, 1, 20), (1, 1, 5, 5)):
        assert psnr_b(torch.zeros(shape), torch.zeros(shape)).item() == math.inf


def test_metrics_refuse_what_they_cannot_compare() -> None:
    picture = torch.zeros(1, 3, 16, 16)
    with pytest.raises(UsageError, match="of one shape"):
        psnr(picture, picture[..., :8])
    with pytest.raises(UsageError, match="of one shape"):
        psnr(picture[0], picture[0])
    with pytest.raises(UsageError, match="at least 11 pixels, got 10x16"):
        ssim(picture[..., :10, :], picture[..., :10, :])
    with pytest.raises(UsageError, match="3 channels and rows"):
        ssim_authors(picture[:, :1], picture[:, :1])
    with pytest.raises(UsageError, match="use rgb_to_y"):
        psnr_b(picture, picture)
    with pytest.raises(UsageError, match="3 channels"):
        rgb_to_y(picture[:, :1])


def test_average_precision_and_auroc_are_scikits() -> None:
    random = torch.Generator().manual_seed(1)
    truth = torch.rand(500, generator=random) < 0.2
    scores = torch.randn(500, generator=random) + truth.float()
    assert average_precision(scores, truth) == pytest.approx(
        average_precision_score(truth.numpy(), scores.numpy())
    )
    assert auroc(scores[~truth], scores[truth]) == pytest.approx(
        roc_auc_score(truth.numpy(), scores.numpy())
    )


def test_equal_scores_are_worth_least() -> None:
    truth = torch.tensor([True, False, False, True])
    assert average_precision(torch.ones(4), truth) == pytest.approx((1 / 3 + 2 / 4) / 2)
    assert auroc(torch.ones(2), torch.ones(2)) == 0.5
    assert average_precision(truth.float(), truth) == 1
