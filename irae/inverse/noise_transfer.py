"""Noise transfer: the noise of one picture is measured in its flat parts and drawn for another.

The remainder that a lifted network keeps of a noisy picture cannot be joined with another picture,
because it also holds the network's changes to the edges of its own. The result has coloured
patterns hundreds of levels strong, in the shapes of both scenes (tried with sigma 25 on
photographs). So the noise is described by its covariance across space and colours, and new noise
is drawn from that.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from irae.errors import UsageError

Array = npt.NDArray[np.float64]

PATCH = 16
"""Side in pixels of the patches in which noise is measured, with correlations up to half of it."""

_FLATTEST = 0.1  # Share of the patches that are measured: those with the least structure.
_LEAST_PATCHES = 8


def noise_covariance(noisy: Tensor) -> Array:
    """Measure the covariance of a picture's noise between colours and neighbouring pixels.

    It is measured in the patches that are flattest after averaging over 4×4 pixels, minus a
    quadratic surface. Variation at scales below about eight pixels counts as noise.

    Args:
        noisy: float ``3 H W`` in [0, 1], H and W at least ``2 * PATCH``.

    Returns:
        ``3 3 PATCH-1 PATCH-1``: covariance of colour i and colour j displaced by up to
        ``PATCH / 2 - 1`` pixels, displacement zero in the middle; in units of [0, 1] squared.

    Raises:
        UsageError: the picture is too small.
    """
    if min(noisy.shape[1:]) < 2 * PATCH:
        raise UsageError(f"a noisy picture needs {2 * PATCH} pixels a side; give a larger one")
    patches = F.unfold(noisy.double()[None], PATCH, stride=PATCH // 2)[0].T
    patches = patches.reshape(-1, 3, PATCH, PATCH)
    # Clipped pixels have incomplete noise.
    cut = ((patches <= 0) | (patches >= 1)).double().mean((1, 2, 3))
    patches = patches[cut <= max(0.01, float(cut.quantile(_FLATTEST)))]
    rest = _less_surface(patches.numpy())
    coarse = rest.reshape(*rest.shape[:2], PATCH // 4, 4, PATCH // 4, 4).mean(axis=(3, 5))
    structure = np.square(coarse).sum(axis=(1, 2, 3))
    count = max(_LEAST_PATCHES, int(_FLATTEST * len(rest)))
    flat = rest[np.argsort(structure, kind="stable")[:count]]
    spectrum = np.fft.fft2(flat, (2 * PATCH, 2 * PATCH))
    cross = np.einsum("naxy,nbxy->abxy", np.conj(spectrum), spectrum) / len(flat)
    sums = np.fft.fftshift(np.fft.ifft2(cross).real, axes=(2, 3))
    middle, reach = PATCH, PATCH // 2 - 1
    window = slice(middle - reach, middle + reach + 1)
    overlap = PATCH - np.abs(np.arange(-reach, reach + 1))
    covariance: Array = sums[:, :, window, window] / (overlap[:, None] * overlap)
    # Subtracting a quadratic surface with six coefficients removes their share of white noise.
    return covariance * (PATCH**2 / (PATCH**2 - 6))


def _less_surface(patches: Array) -> Array:
    grid = np.linspace(-1, 1, PATCH)
    y, x = np.meshgrid(grid, grid, indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).reshape(6, -1)
    basis = np.linalg.qr(terms.T)[0]
    flat = patches.reshape(*patches.shape[:2], -1)
    rest: Array = (flat - (flat @ basis) @ basis.T).reshape(patches.shape)
    return rest


def draw_noise(covariance: Array, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Draw Gaussian noise with a covariance, float32 ``3 H W`` in units of [0, 1].

    Args:
        covariance: covariance from `noise_covariance`.
        height: number of rows.
        width: number of columns.
        generator: a generator on the CPU.
    """
    size = covariance.shape[2]
    # At the largest displacements the estimate is mostly random, so it is faded out.
    fade = np.cos(np.linspace(-np.pi / 2, np.pi / 2, size + 2)[1:-1])
    tapered = covariance * fade[:, None] * fade / fade.max() ** 2
    grid = 2 * size
    spread = np.zeros((3, 3, grid, grid))
    spread[:, :, :size, :size] = tapered
    spread = np.roll(spread, (-(size // 2), -(size // 2)), axis=(2, 3))
    power = np.moveaxis(np.fft.fft2(spread), (0, 1), (2, 3))
    values, vectors = np.linalg.eigh((power + np.conj(np.swapaxes(power, 2, 3))) / 2)
    root = np.sqrt(np.maximum(values, 0.0))[..., None, :] * vectors
    root = root @ np.conj(np.swapaxes(vectors, 2, 3))
    kernel = np.fft.ifft2(np.moveaxis(root, (2, 3), (0, 1))).real
    kernel = np.roll(kernel, (grid // 2, grid // 2), axis=(2, 3))
    # The variance of the filtered noise is the kernel's sum of squares, which is corrected for
    # the clipped power and the fading.
    made = np.square(kernel).sum(axis=(1, 2, 3))
    wanted = covariance[range(3), range(3), size // 2, size // 2]
    kernel *= np.sqrt(np.maximum(wanted, 0.0) / np.maximum(made, 1e-12))[:, None, None, None]
    white = torch.randn(1, 3, height + grid - 1, width + grid - 1, generator=generator)
    weight = torch.from_numpy(np.ascontiguousarray(kernel)).float()
    return F.conv2d(white, weight)[0]


def noise_like(clean: Tensor, noisy: Tensor, generator: torch.Generator) -> Tensor:
    """Add noise like that of another picture to a clean picture.

    If the noise depends on brightness, its strength in the flat parts of ``noisy`` is used
    everywhere.

    Args:
        clean: float32 ``C H W`` in [0, 1], C 1 or 3.
        noisy: float32 ``C h w`` in [0, 1], with sides of at least ``2 * PATCH``.
        generator: a generator on the CPU.

    Returns:
        float32 ``C H W``, C that of ``clean``, not clipped.

    Raises:
        UsageError: a picture is CMYK, or the noisy one is too small.
    """
    if len(clean) == 4 or len(noisy) == 4:
        raise UsageError("noise cannot be added to CMYK pictures; convert them to RGB first")
    height, width = clean.shape[1:]
    drawn = draw_noise(noise_covariance(noisy.expand(3, -1, -1)), height, width, generator)
    if len(clean) == 1:
        drawn = drawn.mean(0, keepdim=True)
    return clean + drawn
