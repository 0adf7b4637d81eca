"""What each level of a density's latent holds, as the sections of a page."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from irae.evaluation.latents.page import Figure, Section
from irae.flow.density.prior import standard_normal_log_prob
from irae.models.density import Density, Latents
from irae.models.loaded_density import LoadedDensity
from irae.runtime import generator

TEMPERATURES = (0.25, 0.5, 0.7, 1.0, 1.3)
"""Temperatures at which a level is redrawn."""


@dataclass(frozen=True)
class LevelShare:
    """What a level of the latent holds of one picture.

    Attributes:
        numbers: how many of the picture's numbers it is.
        bits: bits of these numbers given the coarser levels; the levels' sum is the picture's.
        change: root mean square change of the picture, in 8-bit units, if the level is zeroed.
        energy: share of this level in the squared changes of all levels.
    """

    numbers: int
    bits: float
    change: float
    energy: float


@torch.inference_mode()
def level_bits(network: Density, y: Tensor) -> list[float]:
    """Return the bits of each level's latents of one dequantised picture ``1 C H W``.

    A level's log-determinant belongs to all numbers that pass through it, in equal parts; that of a
    split to what is split off. The sum is the bits per dimension times the dimensions.
    """
    latents, of_levels, of_splits = network.flow.log_dets(y)
    counts = [level[0].numel() for level in latents]
    found = []
    for number, latent in enumerate(latents):
        log_prob = float(standard_normal_log_prob(latent)[0])
        if number < len(of_splits):
            log_prob += float(of_splits[number][0])
        for earlier in range(number + 1):
            passing = sum(counts[earlier:])
            log_prob += float(of_levels[earlier][0]) * counts[number] / passing
        found.append(network.bits * counts[number] - log_prob / math.log(2))
    return found


def level_shares(model: LoadedDensity, picture: Tensor, seed: int = 0) -> list[LevelShare]:
    """Return what each level holds of a picture, uint8 ``C H W``, the finest first."""
    network = model.network
    noisy = network.dequantise(picture[None], generator(seed)).to(model.device)
    bits = level_bits(network, noisy)
    latents = model.latents(picture[None])
    whole = model.pictures(latents)[0].float()
    changes = []
    for number, level in enumerate(latents.levels):
        without = model.pictures(latents.replaced(number, torch.zeros_like(level)))[0].float()
        changes.append(float((without - whole).square().mean()))
    total = sum(changes) or 1.0
    return [
        LevelShare(level[0].numel(), bits[number], changes[number] ** 0.5, changes[number] / total)
        for number, level in enumerate(latents.levels)
    ]


def density_sections(
    model: LoadedDensity, picture: Tensor, other: Tensor | None = None, seed: int = 0
) -> list[Section]:
    """Return the sections about a picture's latents.

    Args:
        model: the density.
        picture: uint8 ``C H W`` of the model's shape.
        other: another picture, from which levels are taken; a sample if None.
        seed: seed of what is redrawn.
    """
    latents = model.latents(picture[None])
    source = "the other picture" if other is not None else "a sample"
    foreign = model.network.draw(1, generator(seed, 1), 0.7) if other is None else None
    if foreign is None:
        assert other is not None
        foreign = model.latents(other[None])
    shares = level_shares(model, picture, seed)
    pictures = [
        Figure(model.pictures(latents)[0], "the picture"),
        Figure(model.pictures(foreign)[0], source),
    ]
    sections = [_overview(model, shares, pictures)]
    for number in range(len(latents.levels)):
        sections.append(_level(model, latents, foreign, number, source, seed))
    return sections


def _overview(model: LoadedDensity, shares: list[LevelShare], figures: list[Figure]) -> Section:
    total = sum(share.bits for share in shares)
    table = [["level", "numbers", "bits", "share of bits", "RMS change", "share of energy"]]
    last = len(shares) - 1
    for number, share in enumerate(shares):
        place = {0: " (finest)", last: " (coarsest)"} if last else {}
        table.append(
            [
                f"{number + 1}{place.get(number, '')}",
                f"{share.numbers:,}",
                f"{share.bits:,.0f}",
                f"{share.bits / total:.1%}",
                f"{share.change:.1f}/255",
                f"{share.energy:.1%}",
            ]
        )
    text = (
        f"{total / model.network.dimensions:.3f} bits per dimension in all, with uniform "
        "dequantisation. The bits of a level are those of its numbers given the coarser levels. "
        "Its change is that of the picture if the level is zeroed, which is its likeliest value."
    )
    return Section("Levels", text, figures, table)


def _level(
    model: LoadedDensity,
    latents: Latents,
    foreign: Latents,
    number: int,
    source: str,
    seed: int,
) -> Section:
    level = latents.levels[number]
    noise = torch.randn(level.shape, generator=generator(seed, 2, number)).to(level.device)
    variants = [("zeroed", torch.zeros_like(level))]
    variants += [(f"redrawn at temperature {t:g}", noise * t) for t in TEMPERATURES]
    variants.append((f"from {source}", foreign.levels[number]))
    figures = [
        Figure(model.pictures(latents.replaced(number, value))[0], caption)
        for caption, value in variants
    ]
    return Section(
        f"Level {number + 1} changed, the others kept",
        "What changes is what this level holds; what stays, the others hold.",
        figures,
    )
