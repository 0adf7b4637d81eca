"""Pictures of few colours, told from damaged ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from irae.imaging.analysis.colours import FEW, has_few_colours
from irae.imaging.degrade import add_noise, jpeg_compress
from irae.runtime import generator


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_number_of_colours_counts(channels: int) -> None:
    for count, few in ((1, True), (FEW, True), (FEW + 1, False)):
        colours = torch.arange(channels * count).view(channels, count) / 255
        picture = colours[:, torch.arange(150 * 40).view(150, 40) % count]
        assert has_few_colours(picture) == few
    # One pixel of another colour than those that are looked at first.
    picture = torch.zeros(channels, 300, 400)
    picture[0].view(-1)[1 : 2 * FEW] = torch.arange(1, 2 * FEW) / 255
    assert not has_few_colours(picture)


def test_dots_and_sprites_have_few_and_damage_makes_many() -> None:
    photo = Image.fromarray(data.coffee()[:160, :200])
    for dots in (photo.convert("1"), photo.quantize(FEW)):
        pixels = torch.from_numpy(np.array(dots.convert("RGB"))).movedim(2, 0) / 255
        assert has_few_colours(pixels)
        assert not has_few_colours(jpeg_compress(pixels, 95))
        assert not has_few_colours(add_noise(pixels, 2, generator(0), clip=True))
    # The noise of a dark picture of 16 bits may have few levels of 8 bits.
    dark = (0.02 + 0.004 * torch.randn(3, 64, 64, generator=generator(2))).clamp(0, 1)
    assert not has_few_colours((dark * 65535).round() / 65535)
    plain = torch.full((1, 64, 64), 0.5)
    assert not has_few_colours(add_noise(plain, 4, generator(1), clip=True))
