"""The command: what it prints, what it writes, and errors of one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch
from torchvision.utils import save_image

from irae.evaluation.information import measure as information

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    random = torch.Generator().manual_seed(0)
    (root / "photos_val").mkdir()
    for index in range(3):
        coarse = torch.rand(1, 3, 12, 12, generator=random)
        picture = torch.nn.functional.interpolate(coarse, size=(96, 96), mode="bicubic")
        save_image(picture.clamp(0, 1), root / "photos_val" / f"{index}.png")
    return root


@pytest.mark.slow
def test_a_table_and_files(
    irae: Run,
    folder: Path,
    model_files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(information, "_VALIDATED", ((1, 0.9),))
    monkeypatch.setattr(information, "mine", lambda x, y, seed: 0.25)
    models = f"{model_files['denoise']},{model_files['inpaint']},arcnn"
    words = ["information", "--models", models, "--root", folder, "--budget", 1, "-o", tmp_path]
    done = irae(*words, "--noise", 0.5)
    assert done.returncode == 0, done.stderr
    content = json.loads((tmp_path / "information.json").read_text(encoding="utf-8"))
    assert content["noise"] == 0.5 and len(content["models"]) == 3
    for model in content["models"]:
        for stage in model["stages"]:
            assert f"{stage['stage']} " in done.stdout
            assert f" {stage['probe_psnr']:.2f} " in done.stdout
    assert "noise of 0.5" in done.stdout and "1 steps" in done.stdout

    refused = irae(*words)
    assert refused.returncode == 2 and "information.json exists" in refused.stderr
    printed = irae(*words, "--noise", 0.5, "--overwrite", "--json")
    again = json.loads(printed.stdout)
    for one in (content, again):
        for model in one["models"]:
            del model["seconds"]
    assert again == content


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "--models names no model"),
        (["--models", "unet,unet"], "names a model twice"),
        (["--models", "nonsense"], "nonsense"),
        (["--models", "irae:huge"], "preset 'huge'"),
        (["--models", "bm3d"], "has no stages"),
        (["--models", "arcnn", "--pictures", "1"], "--pictures is 1"),
        (["--models", "arcnn", "--pictures", "2"], "144 patches of 16x16 are too few"),
        (["--models", "arcnn", "--noise", "0"], "noise is 0"),
        (["--models", "arcnn", "--data", "nowhere"], "nowhere"),
    ],
)
def test_errors_are_one_line(irae: Run, folder: Path, words: list[str], told: str) -> None:
    done = irae("information", "--root", folder, *words)
    assert done.returncode in (1, 2)
    assert len(done.stderr.strip().splitlines()) == 1 and told in done.stderr
    assert not done.stdout
