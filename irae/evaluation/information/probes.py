"""Reconstruction probes: how well a network's input can be recovered from one of its stages.

For an invertible network its inverse recovers the input. For any other network a decoder is
trained, and its PSNR is a lower bound: a better decoder or a longer training might recover more.
The decoder is the same for every stage, so that stages can be compared. It is the sum of

- a linear map of 3×3 neighbourhoods (1×1 if these have more than 1024 features) of the stage's
  first part, solved by ridge regression in float64 on 16,384 positions, with its penalty chosen on
  4,096 others; it finds everything that can be recovered linearly;
- for each part of the stage, two 3×3 convolutions with 32 channels and a ReLU between them, in
  units of the linear map's error; they are trained with Adam on the mean squared error for a given
  number of steps, on all but an eighth of the pictures. If they make that eighth worse (deep
  stages have few positions to train on), they are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from irae.evaluation.information.activations import scale_of
from irae.runtime import generator

DECODER = "ridge regression plus two 3x3 convolutions of 32 channels"
"""Description of the decoder for the head of a table."""

_WIDTH = 32
_FARTHEST = 5.0
_BATCH = 2
_LEARNING_RATE = 2e-3
_MOST_FEATURES = 1024
_FIT, _CHOOSE = 16384, 4096
_PENALTIES = tuple(10.0**exponent for exponent in range(-11, 1))
# The limit of float32 for pictures in [0, 1]; equal pictures have this PSNR instead of infinity.
_HIGHEST_PSNR = 150.0


def recovery_psnr(recovered: Tensor, given: Tensor) -> float:
    """Compute the PSNR in dB with a peak of 1 of all pictures together, at most 150.

    Args:
        recovered: recovered inputs ``B C H W``.
        given: true inputs of the same shape.
    """
    error = (recovered.double() - given.double()).square().mean()
    return min(_HIGHEST_PSNR, float(-10 * error.log10()))


class Decoder(nn.Module):
    """A probe from a stage back to the input of the network; see the module docstring.

    Args:
        parts: parts of the stage for the training pictures, ``B C h w`` each.
        target: inputs of the network, ``B C H W``.
        seed: seed of the positions and the initial weights.
    """

    def __init__(self, parts: Sequence[Tensor], target: Tensor, seed: int) -> None:
        super().__init__()
        self.scales = [scale_of(part, target.shape[2]) for part in parts]
        # Adam's remaining error is in proportion to its outputs: if a linear map recovers a stage
        # to the last bit, convolutions of unit size would only make it worse.
        self.linear, self.unit = _solve_linear(
            parts[0], F.pixel_unshuffle(target, self.scales[0]), seed
        )
        self.branches = nn.ModuleList()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for part, scale in zip(parts, self.scales, strict=True):
                self.branches.append(_branch(part, target.shape[1] * scale**2).to(target.device))

    def forward(self, parts: Sequence[Tensor]) -> Tensor:
        """Estimate the input ``B C H W``."""
        recovered = F.pixel_shuffle(self.linear(parts[0]), self.scales[0])
        for branch, part, scale in zip(self.branches, parts, self.scales, strict=True):
            recovered = recovered + self.unit * F.pixel_shuffle(branch(part), scale)
        return recovered


def train_decoder(parts: Sequence[Tensor], target: Tensor, *, steps: int, seed: int = 0) -> Decoder:
    """Fit a decoder on the training pictures.

    Args:
        parts: parts of the stage, ``B C h w`` each.
        target: inputs of the network, ``B C H W``.
        steps: number of Adam's steps, two pictures each; 0 uses the linear map alone.
        seed: seed of all randomness.
    """
    decoder = Decoder(parts, target, seed)
    random = generator(seed, 1)
    trained = decoder.branches.parameters()
    optimiser = torch.optim.Adam(trained, lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    first_kept = len(target) - max(1, len(target) // 8)
    for _ in range(steps):
        rows = torch.randint(max(first_kept, 1), (_BATCH,), generator=random).to(target.device)
        recovered = decoder([part[rows] for part in parts])
        loss = F.mse_loss(recovered, target[rows]) / decoder.unit**2
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
    kept = [part[first_kept:] for part in parts]
    trained_psnr = probe_psnr(decoder, kept, target[first_kept:])
    unit, decoder.unit = decoder.unit, 0.0
    if trained_psnr > probe_psnr(decoder, kept, target[first_kept:]):
        decoder.unit = unit
    return decoder.eval()


@torch.no_grad()
def probe_psnr(decoder: Decoder, parts: Sequence[Tensor], given: Tensor) -> float:
    """Compute the PSNR in dB of the inputs recovered for all held-out pictures together."""
    recovered = [decoder([part[i : i + 1] for part in parts]) for i in range(len(given))]
    return recovery_psnr(torch.cat(recovered), given)


class _Standardise(nn.Module):
    """Scales channels to mean 0 and variance 1 on the training pictures; dead ones become 0."""

    mean: Tensor
    scale: Tensor

    def __init__(self, part: Tensor) -> None:
        super().__init__()
        deviation, mean = torch.std_mean(part, (0, 2, 3), keepdim=True)
        self.register_buffer("mean", mean)
        self.register_buffer("scale", 1 / deviation.clamp_min(1e-6))

    def forward(self, x: Tensor) -> Tensor:
        # When a channel that hardly ever fires does, its value is many standard deviations.
        return ((x - self.mean) * self.scale).clamp(-_FARTHEST, _FARTHEST)


def _branch(part: Tensor, outputs: int) -> nn.Sequential:
    last = nn.Conv2d(_WIDTH, outputs, 3, padding=1)
    # Starts at zero, because the linear map is already optimal.
    nn.init.zeros_(last.weight)
    first = nn.Conv2d(part.shape[1], _WIDTH, 3, padding=1)
    return nn.Sequential(_Standardise(part), first, nn.ReLU(), last)


def _solve_linear(part: Tensor, target: Tensor, seed: int) -> tuple[nn.Conv2d, float]:
    """Solve a ridge regression from ``B C h w`` to ``B C' h w``.

    Returns:
        A convolution without gradient, and its root mean squared error on the positions on which
        the penalty was chosen.
    """
    kernel = 3 if 9 * part.shape[1] <= _MOST_FEATURES else 1
    features, wanted = _rows(part, target, kernel, seed)
    fit = len(features) * _FIT // (_FIT + _CHOOSE)
    mean, aim = features[:fit].mean(0), wanted[:fit].mean(0)
    x, y = features - mean, wanted - aim
    values, vectors = torch.linalg.eigh(x[:fit].T @ x[:fit] / fit)
    projected = vectors.T @ (x[:fit].T @ y[:fit] / fit)
    rotated = x[fit:] @ vectors
    best, least = projected * 0, float("inf")
    for penalty in _PENALTIES:
        damped = values.clamp_min(0) + penalty * values.max().clamp_min(1e-30)
        candidate = projected / damped[:, None]
        error = float((rotated @ candidate - y[fit:]).square().mean())
        if error < least:
            best, least = vectors @ candidate, error
    layer = nn.Conv2d(part.shape[1], target.shape[1], kernel, padding=kernel // 2)
    layer.requires_grad_(False)
    layer.weight.copy_(best.T.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(aim - mean @ best)
    return layer.to(part.device), max(math.sqrt(least), 1e-7)


def _rows(part: Tensor, target: Tensor, kernel: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw random positions of each picture: neighbourhoods and their targets, in float64."""
    random = generator(seed, 2)
    area = part.shape[2] * part.shape[3]
    each = min(area, -(-(_FIT + _CHOOSE) // len(part)))
    features, wanted = [], []
    for picture, aim in zip(part, target, strict=True):
        at = torch.randperm(area, generator=random)[:each]
        unfolded = F.unfold(picture[None], kernel, padding=kernel // 2)[0]
        features.append(unfolded.cpu()[:, at].T.double())
        wanted.append(aim.flatten(1).cpu()[:, at].T.double())
    # In the order of pictures, so that the penalty is chosen on pictures that were not fitted:
    # neighbours of a fitted position would reveal the answer.
    return torch.cat(features), torch.cat(wanted)
