"""`irae import` of the published code's checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from safetensors.torch import load_file

from irae.models.files import load_model

Program = Callable[..., CompletedProcess[str]]


@pytest.mark.parametrize("name", ["authors_w8_d3_l3", "authors_w16_d2_l2"])
def test_the_imported_model_gives_the_authors_output(
    irae: Program, tmp_path: Path, shared: Path, name: str
) -> None:
    target = tmp_path / "model.safetensors"
    done = irae("import", shared / "fixtures" / f"{name}.pt", "-o", target)
    assert done.returncode == 0, done.stderr
    truth = load_file(shared / "fixtures" / f"{name}.io.safetensors")
    restored = load_model(target).restore(truth["input"])
    assert (restored - truth["output"]).abs().max() <= 1e-4 * truth["output"].abs().max()


def test_nothing_is_overwritten_unasked(irae: Program, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    target.write_bytes(b"mine")
    done = irae("import", tmp_path / "a.pt", "-o", target)
    assert done.returncode == 2
    assert "--overwrite" in done.stderr
    assert target.read_bytes() == b"mine"


def test_incomplete_and_foreign_checkpoints_are_one_line(irae: Program, tmp_path: Path) -> None:
    prefix = "module.block1.flowlevels.0.flowsteps.0"
    cut = {f"{prefix}.2.conv1.weight": torch.ones(4, 6, 3, 3)}
    for content, named in [
        ({"state_dict": cut}, "incomplete"),
        ({"model": {}}, "state_dict"),
        ([1, 2], "state_dict"),
        ({"state_dict": {1: torch.ones(1)}}, "named tensor"),
        ({"state_dict": {f"{prefix}.0.scale": 3}}, "named tensor"),
    ]:
        source = tmp_path / "a.pt"
        torch.save(content, source)
        done = irae("import", source, "-o", tmp_path / "m.safetensors")
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
        assert named in done.stderr
        assert str(source) in done.stderr
    for source, text in [(tmp_path / "no.pt", None), (tmp_path / "text.pt", b"hello")]:
        if text is not None:
            source.write_bytes(text)
        done = irae("import", source, "-o", tmp_path / "m.safetensors")
        assert done.returncode == 1
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "m.safetensors").exists()
