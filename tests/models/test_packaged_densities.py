"""The packaged densities: small, exact, and as good as their cards say."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from irae.data.folder import open_folder
from irae.data.idx import IDX_SETS, open_idx
from irae.models.anomaly import QUANTILES
from irae.models.checkpoints.checksums import recorded_checksums
from irae.models.checkpoints.model_file import (
    load_density,
    load_patch_density,
    packaged_densities,
    packaged_models,
    packaged_patch_densities,
)
from irae.restoring.improbable import improbability
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


@pytest.mark.parametrize("name", packaged_patch_densities())
def test_densities_of_patches_are_small_and_whole(name: str) -> None:
    path = packaged_patch_densities()[name]
    assert path.stat().st_size <= LARGEST
    assert recorded_checksums(path.parent)[path.name] == file_sha256(path)
    model = load_patch_density(name)
    assert model.parameters <= 1_000_000
    page = path.with_suffix(".md").read_text(encoding="utf-8")
    assert all(line in page for line in model.spec.card["measured"])
    others = {*packaged_densities(), *packaged_models()}
    assert name not in others


def test_the_packaged_density_of_patches_knows_photographs(shared: Path) -> None:
    folder = shared / "data" / "photos_val"
    if not folder.is_dir():
        pytest.skip("data/photos_val is not there")
    model = load_patch_density("patches")
    photograph = open_folder(folder).load(0)[:, :96, :128]
    bits = float(model.bits_per_dim(photograph).mean())
    noise = torch.randint(0, 256, photograph.shape, dtype=torch.uint8)
    assert bits < 5
    assert float(model.bits_per_dim(noise).mean()) > bits + 2
    assert model.round_trip(photograph) <= 0.5
    # A latent of a photograph is about standard normal, and a white speck is far from it.
    speck = photograph.float() / 255
    before = improbability(model, speck)
    speck[:, 40:44, 60:64] = 1 - speck[:, 40:44, 60:64].round()
    after = improbability(model, speck)
    assert 0.3 < float(before.median()) < 3
    assert float(after[0, 40:44, 60:64].mean()) > 3 * float(before[0, 40:44, 60:64].mean())


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
