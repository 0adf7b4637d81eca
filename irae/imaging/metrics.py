"""Metrics of the difference of two pictures: PSNR, SSIM in two forms, PSNR-B; and the luma.

Besides, two metrics of telling two kinds of things apart by a score: AUROC and average precision.
Every other one takes two batches ``B C H W`` in [0, 1], computes in float64 on the device of the
first (on the CPU if the device has no float64) and returns one float64 number per picture, never a
mean over the batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from irae.errors import UsageError

SSIM_WINDOW = 11
AUTHORS_SSIM_WINDOW = 3
BLOCK = 8

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601, in JFIF, Pillow's "YCbCr" and OpenCV's YCrCb."""


def rgb_to_y(x: Tensor) -> Tensor:
    """Compute the luma of a picture: ITU-R BT.601 weights, full range (black is 0, white is 1).

    Pillow and OpenCV compute the same, and then truncate and round to 8 bits, respectively.
    MATLAB's ``rgb2ycbcr`` compresses luma into 16-235 instead, which raises a PSNR by 1.3 dB.

    Args:
        x: ``... 3 H W``, RGB, in any range.

    Returns:
        ``... 1 H W`` in the dtype of ``x``.

    Raises:
        UsageError: ``x`` does not have three channels.
    """
    if x.dim() < 3 or x.shape[-3] != 3:
        raise UsageError(f"luma needs a picture of 3 channels, got the shape {tuple(x.shape)}")
    red, green, blue = x.unbind(-3)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue).unsqueeze(-3)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB with a peak of 1, over all channels together.

    Args:
        a: ``B C H W``; values outside [0, 1] are not clipped.
        b: pictures of the same shape.

    Returns:
        ``B``; infinite if the two pictures are equal.

    Raises:
        UsageError: the shapes differ or are not ``B C H W``.
    """
    a, b = _pair(a, b)
    return _decibels((a - b).square().mean((1, 2, 3)))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Compute SSIM: 11x11 Gaussian window of sigma 1.5, data range 1, averaged over channels.

    It equals scikit-image's ``structural_similarity(..., gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, channel_axis=..., data_range=1)``: the mean over the channels and
    over the positions where the whole window lies inside the picture. (torchmetrics also averages
    over windows that overlap a mirrored border; and in float32 its variances suffer cancellation,
    which costs up to 5e-4 on flat bright pictures.)

    Args:
        a: ``B C H W`` with H and W at least 11.
        b: pictures of the same shape.

    Returns:
        ``B``, at most 1.

    Raises:
        UsageError: the shapes differ, or a side is shorter than the window.

    Source: Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility
    to structural similarity", IEEE TIP 2004, section III.
    """
    a, b = _pair(a, b)
    if min(a.shape[-2:]) < SSIM_WINDOW:
        raise UsageError(
            f"SSIM needs sides of at least {SSIM_WINDOW} pixels, got {a.shape[-2]}x{a.shape[-1]}"
        )
    offsets = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * 1.5**2))
    kernel: list[float] = (weights / weights.sum()).tolist()
    moments = [_window_mean(x, kernel) for x in (a, b, a * a, b * b, a * b)]
    return _ssim_map(moments, data_range=1.0, covariance_scale=1.0).mean((1, 2, 3))


def ssim_authors(a: Tensor, b: Tensor) -> Tensor:
    """Compute the SSIM of the published code, for comparison with the paper's tables only.

    That code passes scikit-image a ``C H W`` array with ``multichannel=True, win_size=3``, so the
    *width* is treated as channels and a uniform 3x3 window slides over channel and row. For three
    channels there is a single window position on the channel axis. scikit-image uses the sample
    covariance here, and a data range of 2, its default for floats.

    Args:
        a: ``B C H W`` with C and H at least 3.
        b: pictures of the same shape.

    Returns:
        ``B``, at most 1.

    Raises:
        UsageError: the shapes differ, or C or H is shorter than the window.

    Source: ``batchSSIM`` in the authors' repository, and scikit-image 0.17.
    """
    a, b = _pair(a, b)
    if min(a.shape[1:3]) < AUTHORS_SSIM_WINDOW:
        raise UsageError(
            f"the authors' SSIM needs {AUTHORS_SSIM_WINDOW} channels and rows,"
            f" got {a.shape[1]} channels and {a.shape[2]} rows"
        )
    a, b = a.permute(0, 3, 1, 2), b.permute(0, 3, 1, 2)
    moments = [avg_pool2d(x, AUTHORS_SSIM_WINDOW, stride=1) for x in (a, b, a * a, b * b, a * b)]
    samples = AUTHORS_SSIM_WINDOW**2
    scale = samples / (samples - 1)
    return _ssim_map(moments, data_range=2.0, covariance_scale=scale).mean((1, 2, 3))


def psnr_b(a: Tensor, b: Tensor) -> Tensor:
    """Compute PSNR with a penalty for visible 8x8 block edges in ``a``, in dB with a peak of 1.

    The penalty is log2(8) / log2(min(H, W)) times the amount by which the mean squared step across
    block edges exceeds that between other neighbours, or 0. It depends on ``a`` only, so the order
    of the arguments matters.

    The means are over the true numbers of pixel pairs. torchmetrics reads the paper's
    N_V (N_H / B) - 1 without brackets around (N_H / B - 1), which is not a number of pairs, and
    so differs by some hundredths of a dB.

    Args:
        a: luma of the pictures to judge, ``B 1 H W``.
        b: luma of the clean pictures, of the same shape.

    Returns:
        ``B``; infinite if the two are equal and ``a`` has no block edges.

    Raises:
        UsageError: the shapes differ, or there is more than one channel.

    Source: Yim and Bovik, "Quality assessment of deblocked images", IEEE TIP 2011, section II.
    """
    a, b = _pair(a, b)
    if a.shape[1] != 1:
        raise UsageError(f"PSNR-B is defined on luma, got {a.shape[1]} channels; use rgb_to_y")
    error = (a - b).square().mean((1, 2, 3))
    return _decibels(error + _blocking_effect(a))


def _blocking_effect(x: Tensor) -> Tensor:
    """Compute the blocking effect factor of ``B 1 H W``: ``B``."""
    at_edges = elsewhere = torch.zeros(x.shape[0], dtype=x.dtype, device=x.device)
    edge_pairs = other_pairs = 0
    for axis, along in ((2, 3), (3, 2)):
        steps = x.diff(dim=axis).square().sum((1, along))
        is_edge = torch.arange(1, steps.shape[1] + 1, device=x.device) % BLOCK == 0
        at_edges = at_edges + steps[:, is_edge].sum(1)
        elsewhere = elsewhere + steps[:, ~is_edge].sum(1)
        edges = (x.shape[axis] - 1) // BLOCK
        edge_pairs += edges * x.shape[along]
        other_pairs += (x.shape[axis] - 1 - edges) * x.shape[along]
    if not edge_pairs or not other_pairs:
        return torch.zeros_like(at_edges)
    excess = at_edges / edge_pairs - elsewhere / other_pairs
    # A side of one pixel, whose log2 is 0, counts as 2; such a strip has edges on one axis only.
    weight = math.log2(BLOCK) / math.log2(max(min(x.shape[-2:]), 2))
    return weight * excess.clamp(min=0.0)


def _pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.dim() != 4 or a.shape != b.shape:
        raise UsageError(
            "a metric compares two batches B C H W of one shape,"
            f" got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    device = torch.device("cpu") if a.device.type == "mps" else a.device
    return a.detach().to(device, torch.float64), b.detach().to(device, torch.float64)


def _decibels(mean_squared_error: Tensor) -> Tensor:
    return -10.0 * torch.log10(mean_squared_error)


def _window_mean(x: Tensor, kernel: list[float]) -> Tensor:
    """Compute the weighted mean in a separable window, at positions where it lies inside ``x``.

    It is computed by shifted sums: an 11x11 convolution in float64 takes thirty times as long on a
    CPU.
    """
    for axis in (-2, -1):
        size = x.shape[axis] - len(kernel) + 1
        total = kernel[0] * x.narrow(axis, 0, size)
        for offset, weight in enumerate(kernel[1:], start=1):
            total.add_(x.narrow(axis, offset, size), alpha=weight)
        x = total
    return x


def _ssim_map(moments: list[Tensor], *, data_range: float, covariance_scale: float) -> Tensor:
    """Compute SSIM per window from the means of a, b, a², b² and ab (Wang et al., eq. 13)."""
    mean_a, mean_b, square_a, square_b, product = moments
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    variances = (square_a - mean_a**2 + square_b - mean_b**2) * covariance_scale
    covariance = (product - mean_a * mean_b) * covariance_scale
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return likeness / ((mean_a**2 + mean_b**2 + c1) * (variances + c2))


def auroc(inside: Tensor, outside: Tensor) -> float:
    """Return the probability that an outside score exceeds an inside one; ties count half.

    It is the area under the receiver operating characteristic (Hanley and McNeil 1982), by ranks.
    """
    ordered = inside.double().sort().values
    below = torch.searchsorted(ordered, outside.double(), right=False)
    upto = torch.searchsorted(ordered, outside.double(), right=True)
    return float((below + upto).double().mean() / (2 * len(inside)))


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Return the mean precision over all true things, found in the order of their scores.

    Args:
        scores: ``N``, larger for what is more likely true. Of equal scores the false ones come
            first, which is the least that any order gives.
        truth: bool ``N``, True at least once.
    """
    false_first = torch.argsort(truth.int(), stable=True)
    ranked = torch.argsort(scores[false_first], descending=True, stable=True)
    order = false_first[ranked]
    hits = truth[order].double()
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1, dtype=torch.float64)
    return float((precision * hits).sum() / hits.sum())
