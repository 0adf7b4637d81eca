"""The packaged densities: small, exact, and as good as their cards say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from irae.data.idx import IDX_SETS, open_idx
from irae.models.anomaly import QUANTILES
from irae.models.checkpoints.checksums import recorded_checksums
from irae.models.checkpoints.model_file import load_density, packaged_densities, packaged_models
from irae.writing import file_sha256

LARGEST = 4_000_000
NAMES = sorted(packaged_densities())


def test_there_is_one_and_no_restoring_model_has_its_name() -> None:
    assert "fashion" in NAMES
    assert not set(NAMES) & set(packaged_models())


@pytest.mark.parametrize("name", NAMES)
def test_files_are_small_and_whole(name: str) -> None:
    path = packaged_densities()[name]
    assert path.stat().st_size <= LARGEST
    assert recorded_checksums(path.parent)[path.name] == file_sha256(path)
    assert path.with_suffix(".md").is_file()


@pytest.mark.parametrize("name", NAMES)
def test_samples_come_from_their_latents_and_vary(name: str) -> None:
    model = load_density(name)
    samples = model.sample(16, temperature=0.7, seed=3)
    assert torch.equal(samples, model.sample(16, temperature=0.7, seed=3))
    assert len(torch.unique(samples.flatten(1), dim=0)) == 16
    assert model.round_trip(samples) <= 0.5
    assert torch.equal(model.pictures(model.latents(samples)), samples)


@pytest.mark.parametrize("name", NAMES)
def test_cards_have_the_reference_of_scores(name: str) -> None:
    held_out = load_density(name).spec.card["held_out"]
    assert held_out["pictures"] >= 500
    assert all(len(values) == QUANTILES for values in held_out["quantiles"].values())


@pytest.mark.slow
def test_fashion_has_the_bits_of_its_card() -> None:
    if not (IDX_SETS["fashion"].installed or Path()).is_dir():
        pytest.skip("apt-get install dataset-fashion-mnist")
    model = load_density("fashion")
    pictures = open_idx("fashion", Path("data"), "test")[:250]
    found = float(model.bits_per_dim(pictures).mean())
    # 250 pictures have a standard error of about 0.07 bits.
    assert found == pytest.approx(model.spec.card["test"]["bits_per_dim"], abs=0.25)
    noise = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    assert float(model.bits_per_dim(noise).min()) > found + 2
