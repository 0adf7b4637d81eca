"""`irae models` lists what is packaged, with the figures of its card."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess

Program = Callable[..., CompletedProcess[str]]


def test_models_are_listed_with_their_figures(irae: Program) -> None:
    plain, listed = irae("models"), irae("models", "--json")
    assert plain.returncode == listed.returncode == 0
    entries = {entry["name"]: entry for entry in json.loads(listed.stdout)}
    assert entries.keys() >= {"denoise", "jpeg", "inpaint"}
    for name, entry in entries.items():
        assert entry["task"] in (name, "density", "density of patches", "find damage")
        assert f"{entry['parameters']:,} parameters" in plain.stdout
        assert {"data", "steps", "seed", "command", "measured", "machine"} <= entry["card"].keys()
        for row in entry["card"]["measured"]:
            assert row in plain.stdout


def test_version(irae: Program) -> None:
    import irae as package

    done = irae("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"irae {package.__version__}")
