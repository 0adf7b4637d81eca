"""AUROC, its intervals, percentiles and interpolation, against what is known."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from irae.evaluation.density.anomalies import bootstrap_interval
from irae.evaluation.density.interpolation import between
from irae.imaging.compressed_size import COMPRESSORS, compressed_bits_per_dim
from irae.imaging.metrics import auroc
from irae.models.anomaly import (
    anomaly_scores,
    percentiles,
    quantiles,
    ratio_quantiles,
    trivial_scores,
)
from irae.models.density import Latents
from irae.runtime import generator


@given(seed=st.integers(0, 1000), ties=st.booleans())
@settings(deadline=None, max_examples=25)
def test_auroc_is_the_share_of_pairs_in_order(seed: int, ties: bool) -> None:
    random = generator(seed)
    ours, theirs = (torch.randn(n, generator=random) for n in (17, 23))
    if ties:
        ours, theirs = ours.round(), theirs.round()
    above = (theirs[:, None] > ours[None]).double() + (theirs[:, None] == ours[None]).double() / 2
    assert auroc(ours, theirs) == pytest.approx(float(above.mean()))


@pytest.mark.slow
def test_auroc_equals_scikit_learns() -> None:
    metrics = pytest.importorskip("sklearn.metrics", reason="pip install scikit-learn")
    random = generator(3)
    ours, theirs = torch.randn(50, generator=random), torch.randn(80, generator=random) + 0.5
    labels = [0] * 50 + [1] * 80
    expected = metrics.roc_auc_score(labels, torch.cat([ours, theirs]).tolist())
    assert auroc(ours, theirs) == pytest.approx(expected)


@pytest.mark.slow
def test_intervals_cover_the_true_area_about_as_often_as_they_say() -> None:
    """Normal scores one standard deviation apart have an area of Φ(1/√2)."""
    true = 0.5 * (1 + math.erf(0.5))
    hits = 0
    for trial in range(40):
        random = generator(trial)
        ours, theirs = torch.randn(60, generator=random), torch.randn(60, generator=random) + 1
        low, high = bootstrap_interval(ours, theirs, random)
        hits += low <= true <= high
    assert hits >= 34


def test_percentiles_of_their_own_quantiles() -> None:
    values = torch.randn(1000, generator=generator(0))
    reference = quantiles(values)
    found = percentiles(torch.tensor([-9.0, float(values.median()), 9.0]), reference)
    assert found.tolist() == pytest.approx([0, 50, 100], abs=0.5)
    # Many equal values share the middle of their places.
    assert float(percentiles(torch.tensor([2.0]), [2.0] * 201)) == 50


def test_scores_follow_their_definitions() -> None:
    pictures = torch.randint(0, 256, (4, 1, 8, 8), generator=generator(1), dtype=torch.uint8)
    bits, background = torch.tensor([3.0, 2.0, 4.0, 1.0]), torch.tensor([1.0, 2.5, 4.0, 2.0])
    found = anomaly_scores(bits, pictures, 2.5, background)
    assert found["typicality"].tolist() == [0.5, 0.5, 1.5, 1.5]
    assert found["ratio"].tolist() == [2.0, -0.5, 0.0, -1.0]
    for kind in COMPRESSORS:
        sizes = compressed_bits_per_dim(pictures, kind)
        assert torch.equal(found[f"complexity_{kind}"], bits - sizes)
    trivial = trivial_scores(pictures)
    assert torch.allclose(trivial["mean"], pictures.float().mean((1, 2, 3)))
    assert torch.allclose(trivial["zeros"], (pictures == 0).float().mean((1, 2, 3)))


def test_the_ratio_has_percentiles_only_for_the_same_held_out_pictures() -> None:
    ours = {"fingerprint": "a", "bits_per_dim": [3.0, 2.0, 4.0]}
    theirs = {"fingerprint": "a", "bits_per_dim": [1.0, 2.5, 4.0]}
    found = ratio_quantiles(ours, theirs)
    assert found == quantiles(torch.tensor([2.0, -0.5, 0.0]))
    assert ratio_quantiles(ours, {**theirs, "fingerprint": "b"}) is None
    assert ratio_quantiles(ours, {**theirs, "bits_per_dim": [1.0]}) is None
    assert ratio_quantiles({}, {}) is None  # Cards of older files have no bits.


@pytest.mark.parametrize("kind", COMPRESSORS)
def test_noise_takes_more_bits_than_a_flat_picture(kind: str) -> None:
    noise = torch.randint(0, 256, (1, 3, 32, 32), generator=generator(1), dtype=torch.uint8)
    flat = torch.full_like(noise, 7)
    assert float(compressed_bits_per_dim(noise, kind)) >= 8
    assert float(compressed_bits_per_dim(flat, kind)) < 0.5


@given(share=st.floats(0, 1), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=25)
def test_latents_between_have_a_length_between(share: float, seed: int) -> None:
    random = generator(seed)
    one, other = (Latents((torch.randn(1, 2, 4, 4, generator=random),)) for _ in range(2))
    lengths = [math.sqrt(float(each.squares()[0])) for each in (one, other)]
    found = math.sqrt(float(between(one, other, share).squares()[0]))
    assert found == pytest.approx(lengths[0] * (1 - share) + lengths[1] * share, rel=1e-4)


def test_between_a_picture_and_itself_or_nothing() -> None:
    one = Latents((torch.randn(1, 2, 4, 4, generator=generator(0)),))
    assert torch.allclose(between(one, one, 0.3).levels[0], one.levels[0])
    assert torch.allclose(between(one, one * 0, 0.5).levels[0], one.levels[0] / 2)
