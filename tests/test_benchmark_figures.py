"""The tables and the strip of pictures that docs/results.md has of a benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

PSNR = {"better": [27.0, 30.0, 33.0, 31.5], "worse": [25.0, 27.5, 31.0, 29.0]}
GRAY = {"clean": 10, "degraded": 200, "better": 20, "worse": 90}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two cells of one data set, the worse model first, with two sample pictures each."""
    pictures = [f"{number}.png" for number in range(4)]
    for name, gray in GRAY.items():
        Image.new("RGB", (48, 40), (gray, gray, gray)).save(tmp_path / f"{name}.png")
    trained = {
        "budget": {"minutes": 20},
        "steps": 1234,
        "patches": 9872,
        "seconds": 1200,
        "seed": 0,
    }
    cells = []
    for model in ("worse", "better"):
        sample = {"clean": "clean.png", "degraded": "degraded.png", "restored": f"{model}.png"}
        cells.append(
            {
                "cell": f"faces/hole/{model}",
                "dataset": "faces",
                "task": "inpaint",
                "level": "center:8",
                "level_name": "center 8",
                "model": model,
                "network": "unet",
                "protocol": "standard",
                "options": {},
                "trained": trained if model == "better" else None,
                "pictures": pictures,
                "metrics": {"psnr": PSNR[model], "ssim": [x / 40 for x in PSNR[model]]},
                "input": {"psnr": [10.0] * 4, "ssim": [0.5] * 4},
                "cost": {"parameters": 1500 if model == "better" else 0, "macs_per_pixel": 42_800},
                "samples": [{"picture": name, **sample} for name in pictures[:2]],
                "machine": {"device": "cpu", "cores": 2},
                "versions": {},
            }
        )
    lines = "".join(json.dumps(cell) + "\n" for cell in cells)
    (tmp_path / "results.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


def test_models_stand_by_their_psnr_and_pictures_in_that_order(
    folder: Path, script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = script("benchmark_figures")
    (folder / "figures").mkdir()
    monkeypatch.setattr(module, "DOCS", folder)
    monkeypatch.setattr(module, "RESULTS", folder)
    monkeypatch.setattr("sys.argv", ["x", str(folder), "holes", "--command", "irae benchmark"])
    module.main()
    content = json.loads((folder / "holes-benchmark.json").read_text(encoding="utf-8"))
    assert content["machine"] == "device cpu, cores 2, float32"
    damaged, best, other = content["tables"]["holes faces"]["rows"]
    assert damaged[5] == "10.00"
    assert best[:5] == ["better", "1,500", "42.8 k", "-", "1,234"]
    assert best[5].startswith("**30.38**")
    assert other[0] == "worse" and other[1] == "none" and other[5].startswith("28.12")
    with Image.open(folder / "figures" / "holes-faces.png") as image:
        shown = image.convert("RGB")
    step, row = module.WINDOW + module.GAP, module.ROWS * (module.WINDOW + module.GAP)
    below = row + module.CAPTION
    places = {"clean": (60, 60), "degraded": (step + 60, 60)}
    places |= {"better": (60, below + 60), "worse": (step + 60, below + 60)}
    for name, place in places.items():
        assert shown.getpixel(place) == (GRAY[name],) * 3
