"""A corpus of broken and odd pictures, made anew from a seed; no file of it is kept.

Three kinds: whole files of every format and mode that Pillow writes, files made by hand to be
hostile, and mutations of both.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import corpus_hand
import corpus_whole
from corpus_mutations import mutate

SEED = 20_090_317
COUNT = 3000
READ = (".avif", ".bmp", ".gif", ".jp2", ".jpg", ".png", ".ppm", ".tif", ".webp")


@dataclass(frozen=True)
class Sample:
    """One file: its name, whose suffix may lie, and its bytes."""

    name: str
    data: bytes


def samples(count: int = COUNT, seed: int = SEED) -> Iterator[Sample]:
    """The corpus, the same for the same seed and Pillow.

    Args:
        count: of files in all; at least as many as there are whole and hand-made ones.
        seed: of the mutations.
    """
    whole, hand = corpus_whole.files(), corpus_hand.files()
    made = 0
    for kind, files in (("whole", whole), ("hand", hand)):
        for label, suffix, data in files:
            yield Sample(f"{made:04d}-{kind}-{label}{suffix}", data)
            made += 1
    # Large ones are hostile enough; a mutation of them would seldom be another case. Formats that
    # are not read at all are left, and each of the others is as likely as the next.
    sources: dict[str, list[bytes]] = {suffix: [] for suffix in READ}
    for number, (_, suffix, data) in enumerate([*whole, *hand]):
        if suffix in READ and len(data) < 20_000:
            # Whole files thrice: most of the others are refused as they are.
            sources[suffix] += [data] * (3 if number < len(whole) else 1)
    suffixes = sorted({suffix for _, suffix, _ in [*whole, *hand]})
    while made < count:
        rng = random.Random(f"{seed} {made}")
        suffix = rng.choice(READ)
        data, other = rng.choice(sources[suffix]), rng.choice(sources[rng.choice(READ)])
        what, data = mutate(data, rng, other)
        if rng.random() < 0.05:
            what, suffix = f"{what}-renamed", rng.choice(suffixes)
        yield Sample(f"{made:04d}-mutated-{what}{suffix}", data)
        made += 1
