"""The bench: what it compares is what it says, and its figures are of real runs."""

from __future__ import annotations

import json
import re

import pytest
import torch

from irae.errors import CompilerError, ModelError
from irae.evaluation.speed import bench
from irae.evaluation.speed.bench import (
    PEAK,
    REFERENCE,
    bench_restore,
    bench_train,
    macs_per_pixel,
    named_model,
)
from irae.models.networks.registry import NETWORKS

CPU = torch.device("cpu")


def test_macs_of_networks_that_can_be_counted_by_hand() -> None:
    # Half resolution: 13 to 96, ten of 96 to 96, 96 to 12 channels, 3x3 each.
    by_hand = 9 * (13 * 96 + 10 * 96 * 96 + 96 * 12) / 4
    assert macs_per_pixel(named_model("ffdnet")) == pytest.approx(by_hand)
    # At half resolution twelve couplings of two 3x3 convolutions between 48 and 64 channels. Of the
    # first stream 12 channels are known to differ from zero; of the last 12 are wanted.
    by_hand = 9 * (12 * 2 * 48 * 64 - 2 * 36 * 64) / 4
    assert macs_per_pixel(named_model("irae:default")) == pytest.approx(by_hand)


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_can_be_named(name: str) -> None:
    model = named_model(name)
    assert model.spec.network == name and model.parameters > 0


def test_unknown_names_are_told() -> None:
    with pytest.raises(ModelError, match="nonsense"):
        named_model("nonsense")
    with pytest.raises(ModelError, match="preset 'huge'"):
        named_model("irae:huge")


def test_restoring_is_compared_at_equal_terms() -> None:
    rows = bench_restore(
        ["irae:paper", "inpaint", REFERENCE],
        height=32, width=48, rounds=2, precisions=["fp32"], device=CPU,
    )  # fmt: skip
    assert [(r.model, r.form) for r in rows] == [
        ("irae:paper", "restoring"),
        ("inpaint", "restoring"),
        (REFERENCE, "layers"),
        (PEAK, "one layer"),
    ]
    assert rows[3].peak_share == 1
    for row in rows:
        assert row.fastest <= row.seconds <= row.slowest
        assert row.rate == pytest.approx(32 * 48 / 1e6 / row.seconds)
        assert row.speed == pytest.approx(rows[2].seconds / row.seconds)
        share = row.macs / row.seconds / (rows[3].macs / rows[3].seconds)
        assert row.peak_share == pytest.approx(share)
    assert rows[2].speed == 1


def test_compiled_models_are_measured_beside_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    # Traced as ever, but not handed to a C++ compiler for a minute.
    whole, seen = torch.compile, []

    def compile_(part: object, **options: object) -> object:
        seen.append(part)
        return whole(part, backend="aot_eager", **options)

    monkeypatch.setattr(torch, "compile", compile_)
    rows = bench_restore(
        ["denoise", REFERENCE],
        height=16, width=24, rounds=1, precisions=["fp32"], device=CPU, compiled=True,
    )  # fmt: skip
    assert [(r.model, r.form) for r in rows] == [
        ("denoise", "restoring"),
        ("denoise", "compiled"),
        (REFERENCE, "layers"),
        (REFERENCE, "compiled"),
        (PEAK, "one layer"),
    ]
    assert rows[2].speed == 1
    trained = bench_train(
        ["irae:default"],
        batch=2, patch=16, rounds=1, precisions=["fp32"], device=CPU, compiled=True,
    )  # fmt: skip
    assert [r.form for r in trained] == ["plain autograd", "recomputing", "compiled"]
    assert len(seen) == 3


def test_a_compiler_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(*_: object) -> object:
        raise ValueError("no compiler")

    whole = torch.compile
    monkeypatch.setattr(torch, "compile", lambda part: whole(part, backend=backend))
    with pytest.raises(CompilerError, match="give no --compile"):
        bench_restore(
            ["denoise"],
            height=16, width=16, rounds=1, precisions=["fp32"], device=CPU, compiled=True,
        )  # fmt: skip


@pytest.mark.slow
def test_training_is_measured_with_and_without_recomputing() -> None:
    rows = bench_train(
        ["irae:paper", REFERENCE], batch=4, patch=32, rounds=1, precisions=["fp32"], device=CPU
    )
    assert [r.form for r in rows] == ["plain autograd", "recomputing", "plain autograd"]
    assert all(r.rate == pytest.approx(4 / r.seconds) for r in rows)


def test_tables_and_json() -> None:
    rows = bench_restore(
        [REFERENCE], height=16, width=16, rounds=1, precisions=["fp32"], device=CPU
    )
    lines = bench.table(rows, "megapixels/s").splitlines()
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    assert re.match(r"\| ffdnet \| layers \| fp32 \| 85\d,\d{3} \| 213 k \|", lines[2])
    content = json.loads(json.dumps(bench.as_json(rows, CPU)))
    assert content["machine"]["torch"] == torch.__version__
    assert content["rows"][0]["model"] == REFERENCE
