"""Estimating the JPEG quality of a picture, from its file's tables or from its pixels."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from PIL import Image
from torch import Tensor

from irae.imaging.analysis.dct import BLOCK, dct_matrix
from irae.imaging.io.decode import DECODER_FAULTS
from irae.imaging.io.sixteen_bit import unlimited_pixels
from irae.imaging.jpeg_tables import CHROMA, LUMA, scaled_tables
from irae.imaging.metrics import rgb_to_y

# The coefficients used: those of the lower frequencies, where not all are zero.
_FREQUENCIES = (1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40)
_BLOCKS = 2000
_SIDE = 2048
_GRID_BLOCKS = 800

# Rounding the decoded pixels to 8 bits leaves errors of this standard deviation in a coefficient
# of the luma; this share of all coefficients has larger errors, due to clipping.
_ROUNDING = 0.35
_ASTRAY = 0.02

# The mean log-likelihood ratio of a coefficient is about -0.2 without JPEG, and 0.1 at quality 95.
# The sum over all must exceed what can occur by chance.
_LEAST_MEAN, _LEAST_SUM = 0.05, 15.0


@dataclass(frozen=True)
class JpegQuality:
    """A quality on the scale of the IJG library, which Pillow and most programs use.

    Attributes:
        quality: 1 to 100.
        standard: whether the quantisation tables are exactly those of that quality; otherwise
            the quality is the nearest.
        source: ``tables`` if it is from the file's tables, ``pixels`` if it was estimated.
        grid: row and column, 0 to 7, at which the first whole block begins.
    """

    quality: int
    standard: bool
    source: Literal["tables", "pixels"]
    grid: tuple[int, int] = (0, 0)


def quality_of_tables(tables: Mapping[int, Sequence[int]]) -> JpegQuality:
    """Find the quality for the quantisation tables of a file.

    Args:
        tables: at least one table of 64 steps in row-by-row order, by number, as in Pillow's
            ``quantization``. Number 0 counts as luma and 1 as chroma.
    """
    known = [
        (scaled_tables(base), torch.tensor(list(tables[number])))
        for number, base in ((0, LUMA), (1, CHROMA))
        if len(tables.get(number, ())) == BLOCK * BLOCK
    ]
    exact = torch.ones(100, dtype=torch.bool)
    for scaled, given in known:
        # Files without the baseline limit of 255 also count as standard.
        exact &= (scaled == given.clamp(max=255)).all(dim=1)
    if known and bool(exact.any()):
        return JpegQuality(int(exact.nonzero()[-1]) + 1, True, "tables")
    steps = dict(enumerate(tables[min(tables)][frequency] for frequency in _FREQUENCIES))
    return JpegQuality(_nearest(steps), False, "tables")


def read_jpeg_quality(path: str | Path) -> JpegQuality | None:
    """Read the quality from the tables of a JPEG file; None if the file is not a JPEG."""
    try:
        with unlimited_pixels(), Image.open(path, formats=["JPEG"]) as image:
            tables = getattr(image, "quantization", {})
    except DECODER_FAULTS:
        return None
    return quality_of_tables(tables) if tables else None


def estimate_jpeg_quality(pixels: Tensor) -> JpegQuality | None:
    """Estimate the quality of an earlier JPEG compression of a picture.

    The 8x8 grid is the one on which most DCT coefficients of the luma are zero (Nikoukhah et al.
    2021). On it, the coefficients of a decoded JPEG are multiples of their quantisation steps, up
    to rounding. The most likely standard table is chosen (Neelamani et al. 2006, with the
    likelihood of Fan and de Queiroz 2003). If no standard table fits but other steps do, the
    quality nearest to these steps is returned.

    Args:
        pixels: float32 ``C H W`` in [0, 1], C 1 or 3, unchanged since decoding: scaling, rotation
            by odd angles, editing and noise destroy the traces.

    Returns:
        The quality; None if the picture was never saved as JPEG, was changed since, was saved at a
        quality above about 96, or has fewer than 50 blocks.

    Source: Fan and de Queiroz, "Identification of bitmap compression history: JPEG detection and
    quantizer estimation", IEEE TIP 2003; Neelamani et al., "JPEG compression history estimation
    for color images", IEEE TIP 2006; Nikoukhah et al., "ZERO: a local JPEG grid origin detector
    based on the number of DCT zeros and its applications in image forensics", IPOL 2021.
    """
    pixels = _centre(pixels)
    luma = (rgb_to_y(pixels[None])[0, 0] if pixels.shape[0] == 3 else pixels[0]) * 255
    height, width = luma.shape
    if (height - BLOCK + 1) // BLOCK * ((width - BLOCK + 1) // BLOCK) < 50:
        return None
    grid = _find_grid(luma)
    # A block that reaches black or white in any channel was clipped after decoding.
    clipped = ((pixels <= 0) | (pixels >= 1)).any(dim=0)
    whole = ~_blocks(clipped, *grid, _BLOCKS).any(dim=1)
    blocks = _blocks(luma, *grid, _BLOCKS)
    if int(whole.sum()) >= 50:
        blocks = blocks[whole]
    return _likeliest((blocks - 128) @ dct_matrix().T, grid)


def _centre(pixels: Tensor) -> Tensor:
    """Crop the middle of a large picture on the same grid, which suffices at a bounded cost."""
    height, width = pixels.shape[1:]
    top, left = (max(0, side - _SIDE) // 2 // BLOCK * BLOCK for side in (height, width))
    return pixels[:, top : top + _SIDE, left : left + _SIDE]


def _find_grid(luma: Tensor) -> tuple[int, int]:
    zeros = torch.zeros(BLOCK, BLOCK)
    for row in range(BLOCK):
        for column in range(BLOCK):
            coefficients = _blocks(luma, row, column, _GRID_BLOCKS) @ dct_matrix().T
            zeros[row, column] = (coefficients[:, 1:].abs() < 0.5).float().mean()
    return divmod(int(zeros.argmax()), BLOCK)


def _blocks(plane: Tensor, row: int, column: int, most: int) -> Tensor:
    """Cut at most ``most`` blocks of the grid that begins at ``row`` and ``column``: ``N 64``."""
    grid = plane[row:, column:].unfold(0, BLOCK, BLOCK).unfold(1, BLOCK, BLOCK)
    rows, columns = grid.shape[:2]
    count = rows * columns
    chosen = torch.linspace(0, count - 1, min(most, count)).long()
    return grid[chosen // columns, chosen % columns].reshape(-1, BLOCK * BLOCK)


def _likeliest(coefficients: Tensor, grid: tuple[int, int]) -> JpegQuality | None:
    tables = scaled_tables(LUMA)[:, list(_FREQUENCIES)]
    standard = torch.zeros(100)
    free, count = 0.0, 0
    steps: dict[int, int] = {}
    for index, frequency in enumerate(_FREQUENCIES):
        sizes = coefficients[:, frequency].abs()
        # A zero is a multiple of any step, so only other coefficients count.
        sizes = sizes[sizes > 1]
        candidates, place = torch.unique(tables[:, index], return_inverse=True)
        ratios = _likelihood_ratios(sizes, candidates)
        standard += ratios[place]
        best = int(ratios.argmax())
        free, count = free + float(ratios[best]), count + len(sizes)
        if ratios[best] > _LEAST_SUM:
            steps[index] = int(candidates[best])
    best = int(standard.argmax())
    if _is_certain(float(standard[best]), count):
        return JpegQuality(best + 1, True, "pixels", grid)
    if not _is_certain(free, count) or len(steps) < 3:
        return None
    return JpegQuality(_nearest(steps), False, "pixels", grid)


def _nearest(steps: Mapping[int, int]) -> int:
    """Find the quality whose luma steps differ least, by ratio, from those of some frequencies.

    Only lower frequencies are compared: they cause the visible damage, and the tables of other
    programs differ most in the higher ones.
    """
    tables = scaled_tables(LUMA)[:, list(_FREQUENCIES)][:, list(steps)]
    given = torch.tensor(list(steps.values())).clamp(min=1)
    return int((tables.log() - given.log()).abs().sum(dim=1).argmin()) + 1


def _is_certain(ratio: float, count: int) -> bool:
    return ratio > _LEAST_SUM and ratio > _LEAST_MEAN * count


def _likelihood_ratios(sizes: Tensor, steps: Tensor) -> Tensor:
    """Compute each step's log-likelihood ratio of quantisation by it against no quantisation.

    Unquantised coefficients are assumed to be uniform within one step, so that their distribution
    cancels out.
    """
    step = steps[:, None].float()
    off = sizes - step * (sizes / step).round()
    peak = (1 - _ASTRAY) / (_ROUNDING * math.sqrt(2 * math.pi))
    return (step * peak * torch.exp(-(off / _ROUNDING).square() / 2) + _ASTRAY).log().sum(dim=1)
