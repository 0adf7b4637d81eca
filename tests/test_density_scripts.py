"""The scripts that measure densities for the pages, on a small scale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from irae.models.density import Density
from irae.models.loaded import ModelSpec
from irae.models.loaded_density import LoadedDensity
from irae.models.networks.registry import build_network
from irae.runtime import generator

Script = Callable[[str], Any]

NICE = {"channels": 1, "size": 8, "bits": 8, "width": 8, "layers": 1}


CARD = {
    "steps": 3,
    "seconds": 90,
    "validation_bits_per_dim": 3.4567,
    "round_trip": 0.002,
    "config": {"data": {"augment": {"mutate": 0.3}}, "training": {"weight_decay": 0.1}},
}


def density(seed: int) -> LoadedDensity:
    network = build_network("nice", NICE)
    assert isinstance(network, Density)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.1, generator=generator(seed))
    return LoadedDensity(network, ModelSpec("nice", NICE, "", CARD), "nice")


def test_digits_are_written_for_training_and_for_testing(script: Script, tmp_path: Path) -> None:
    pytest.importorskip("sklearn.datasets", reason="pip install scikit-learn")
    measure = script("measure_density")
    measure.write_digits(tmp_path, 12)
    train, test = (sorted((tmp_path / part).iterdir()) for part in ("train", "test"))
    assert len(train) == 1400 and len(test) == measure.TEST_DIGITS
    assert not {path.name for path in train} & {path.name for path in test}
    with Image.open(test[0]) as image:
        assert image.size == (12, 12) and image.mode == "L"


def test_the_parts_of_a_ratio_and_its_auroc(script: Script) -> None:
    measure = script("measure_density")
    model, background = density(0), density(1)
    random = generator(5)
    inside = torch.randint(0, 60, (30, 1, 8, 8), generator=random, dtype=torch.uint8)
    outside = torch.randint(0, 256, (20, 1, 8, 8), generator=random, dtype=torch.uint8)
    (row,) = measure.ratio_rows([(model, background)], inside, outside)
    name, *means, area = row
    expected = [
        each.bits_per_dim(x).mean() for each in (model, background) for x in (inside, outside)
    ]
    assert name == "the same network, 3 steps, 30% mutated, weight decay 0.1"
    assert means == [f"{float(value):.3f}" for value in expected]
    ours, theirs = (model.bits_per_dim(x) - background.bits_per_dim(x) for x in (inside, outside))
    larger = (theirs[:, None] > ours).double().mean()
    assert float(area) == pytest.approx(float(larger), abs=1e-4)
    # A model against itself tells nothing.
    (row,) = measure.ratio_rows([(model, model)], inside, outside)
    assert row[-1] == "0.5000"


def test_a_row_of_equal_time(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    measure = script("measure_density")
    monkeypatch.setattr(measure, "load_density", lambda name: density(0))
    row = measure.run_row("runs/nice")
    parameters = f"{density(0).parameters:,}"
    assert row == ["`nice`", parameters, "3", "1.5", "3.457", "0.0020/255"]


def test_ways_of_finding_damage_are_ranked_by_all_pixels(script: Script) -> None:
    measure = script("measure_improbable")
    cases = []
    for seed in range(3):
        picture = torch.rand(3, 20, 24, generator=generator(seed)) * 0.2
        mask = torch.rand(1, 20, 24, generator=generator(seed, 1)) < 0.1
        cases.append((torch.where(mask, 0.9, picture), mask))
    rows = measure.rows_of(
        cases,
        {
            "bright": ("a", lambda picture: picture.mean(0, keepdim=True)),
            "dark": ("b", lambda picture: 1 - picture.mean(0, keepdim=True)),
            "nothing": ("c", lambda picture: torch.zeros(1, *picture.shape[1:])),
        },
    )
    assert [row[:3] for row in rows] == [
        ["bright", "a", "1.0000"], ["dark", "b", "0.0000"], ["nothing", "c", "0.5000"]
    ]  # fmt: skip
    assert rows[0][3] == "1.0000"
    share = float(torch.cat([mask.flatten() for _, mask in cases]).float().mean())
    assert float(rows[2][3]) < share
