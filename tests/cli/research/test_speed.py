"""`irae speed`: a table or JSON on stdout, talk on stderr, and one line for what cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess

import pytest

Program = Callable[..., CompletedProcess[str]]
SMALL = ("--device", "cpu", "--precision", "fp32", "--rounds", "1")


def test_restore_prints_a_table(irae: Program) -> None:
    done = irae("speed", "restore", *SMALL, "--size", "32x48", "--model", "ffdnet")
    assert done.returncode == 0
    head, _, row, peak = done.stdout.splitlines()
    assert "100%" in peak
    assert "megapixels/s" in head and row.startswith("| ffdnet | layers | fp32 |")
    assert "device cpu" in done.stderr


def test_train_prints_json(irae: Program) -> None:
    words = ("--size", "16", "--batch", "2", "--model", "irae", "--json")
    done = irae("speed", "train", *SMALL, *words)
    assert done.returncode == 0
    content = json.loads(done.stdout)
    assert [row["form"] for row in content["rows"]] == ["plain autograd", "recomputing"]
    assert content["machine"]["threads"] >= 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("restore", "--size", "512"), "give HEIGHTxWIDTH"),
        (("restore", "--model", "nonsense"), "nonsense"),
        (("train", "--device", "cuda:99"), "is not there"),
    ],
)
def test_what_cannot_be_is_one_line(irae: Program, words: tuple[str, ...], told: str) -> None:
    done = irae("speed", *words)
    assert done.returncode != 0 and told in done.stderr
    assert len(done.stderr.splitlines()) == 1 and done.stdout == ""


def test_the_old_name_still_works(irae: Program) -> None:
    """`irae bench` until 0.1; it is no longer listed."""
    done = irae("bench", "restore", *SMALL, "--size", "32x48", "--model", "ffdnet")
    assert done.returncode == 0
    assert "bench " not in irae("--help").stdout.replace("benchmark ", "")
