"""The block transform is JPEG's."""

from __future__ import annotations

import torch
from scipy.fft import dctn

from irae.imaging.analysis.dct import dct_matrix, frequency_sums


def test_it_is_scipys_orthonormal_transform() -> None:
    blocks = torch.rand(5, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(dctn(blocks.numpy(), axes=(1, 2), norm="ortho"))
    torch.testing.assert_close(
        (blocks.flatten(1) @ dct_matrix().T).reshape(5, 8, 8), expected, atol=1e-5, rtol=0
    )


def test_frequencies_are_added_up() -> None:
    sums = frequency_sums().reshape(8, 8)
    assert (sums[0, 0], sums[2, 3], sums[7, 7]) == (0, 5, 14)
