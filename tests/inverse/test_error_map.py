"""The picture of an error."""

from __future__ import annotations

import torch

from irae.inverse.error_map import DECADES, draw_error_map


def test_a_larger_error_is_lighter() -> None:
    difference = torch.zeros(3, 10, 40)
    difference[0, :, 10:20] = 10.0**-3 / 255
    difference[1, :, 20:30] = -1.0 / 255
    difference[2, :, 30:] = 1e6
    page = draw_error_map(difference)
    light = [sum(page.getpixel((x, 5))) for x in (5, 15, 25, 35)]
    assert light == sorted(light)
    assert len(set(light)) == 4
    assert page.getpixel((35, 5)) == (253, 231, 37)


def test_the_legend_fits_a_narrow_picture() -> None:
    page = draw_error_map(torch.rand(3, 4, 4))
    assert page.width >= 60 * (DECADES[1] - DECADES[0])
    assert page.getpixel((0, 4 + 2)) == (68, 1, 84)
