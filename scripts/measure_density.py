"""Measure the packaged densities and their anomaly scores for docs/density.md.

    python scripts/measure_density.py [--root DIR] [--background RUN]

Writes docs/results/density.json, from which ``scripts/fill_tables.py`` makes the tables. Pictures
of another kind are scikit-learn's handwritten digits, scaled to the size of the model, and MNIST
where it is below the data root.
"""

from __future__ import annotations

import argparse
import datetime
import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from sklearn.datasets import load_digits
from torchvision.transforms.functional import pil_to_tensor

from irae.data.registry import data_root
from irae.data.small import open_small
from irae.errors import DataError
from irae.evaluation.density.anomalies import AnomalyReport, compare
from irae.models.checkpoints.model_file import load_density, packaged_densities
from irae.models.loaded_density import LoadedDensity

OUTPUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "density.json"
MOST = 1000


def digits(size: int) -> torch.Tensor:
    """Scikit-learn's digits, scaled: uint8 ``N 1 size size``."""
    found = []
    for picture in load_digits().images:
        image = Image.fromarray((picture * (255 / 16)).astype("uint8"))
        found.append(pil_to_tensor(image.resize((size, size), Image.Resampling.BICUBIC)))
    return torch.stack(found)


def model_row(name: str) -> list[str]:
    """What the card of a packaged density says."""
    model = load_density(name)
    card = model.spec.card
    test = card["test"]
    return [
        name,
        f"{model.parameters:,}",
        f"{card['steps']:,}",
        f"{card['seconds'] / 3600:.1f} h",
        f"{test['bits_per_dim']:.3f} ± {test['standard_error']:.3f}",
        f"{test['round_trip']:.4f}/255",
        f"{card['sampling_seconds']:.2f} s",
    ]


def anomaly_table(report: AnomalyReport) -> dict[str, Any]:
    """A table of one comparison."""
    rows = []
    for each in report.detections:
        low, high = each.interval
        verdict = "baseline" if each.trivial else ("ahead" if each.ahead else "not ahead")
        name = each.name.replace("_", " ")
        rows.append([name, f"{each.auroc:.4f}", f"{low:.4f} to {high:.4f}", verdict])
    count = f"{report.counts[0]:,} pictures of {report.inside}, {report.counts[1]:,} others."
    return {"columns": ["score", "AUROC", "95 % interval", "verdict"], "rows": rows, "note": count}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--model", default="fashion")
    parser.add_argument("--background")
    chosen = parser.parse_args()
    root = data_root(chosen.root)
    model: LoadedDensity = load_density(chosen.model)
    background = None if chosen.background is None else load_density(chosen.background)
    channels, size, _ = model.network.shape
    ours = open_small("fashion", size=size, channels=channels, root=root, split="test")
    inside = ("Fashion-MNIST", ours[:MOST])
    tables: dict[str, Any] = {
        "density": {
            "columns": [
                "model",
                "parameters",
                "steps",
                "training",
                "test bits/dim",
                "round trip",
                "64 samples",
            ],
            "rows": [model_row(name) for name in packaged_densities()],
        },
        "anomalies-digits": anomaly_table(
            compare(model, inside, ("digits", digits(size)[:MOST]), background)
        ),
    }
    try:
        mnist = open_small("mnist", size=size, channels=channels, root=root, split="test")
        tables["anomalies-mnist"] = anomaly_table(
            compare(model, inside, ("MNIST", mnist[:MOST]), background)
        )
    except DataError as error:
        print(error)
    content = {
        "command": "python scripts/measure_density.py --background RUN",
        "machine": "a CPU, float32",
        "date": datetime.date.today().isoformat(),
        "tables": tables,
    }
    OUTPUT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, table in tables.items():
        print(name)
        for row in table["rows"]:
            print("  " + "  ".join(row))


if __name__ == "__main__":
    main()
