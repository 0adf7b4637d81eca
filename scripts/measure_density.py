"""Measure the packaged densities and their anomaly scores for docs/density.md.

    python scripts/measure_density.py [--root DIR] [--background RUN] [--reverse RUN]
        [--equal RUN ...] [--ratio RUN BACKGROUND ...] [--faces RUN]
    python scripts/measure_density.py --write-digits DIR

Writes docs/results/density.json, from which ``scripts/fill_tables.py`` makes the tables; tables
whose runs are not named are kept, with their dates. Pictures of another kind are scikit-learn's
handwritten digits, scaled to the size of the model, and MNIST where it is below the data root.

``--write-digits`` writes the digits as PNGs into DIR/train and DIR/test. ``--reverse`` names a
density that was trained on DIR/train (``irae train --config density/mnist.yaml --data DIR/train``),
which is measured against Fashion-MNIST. ``--equal`` names runs that were trained on Fashion-MNIST
for an equal time, ``--ratio`` a density and its background models (``density/background.yaml``),
``--faces`` a density of ``density/celeba32.yaml``.
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
from irae.evaluation.density.anomalies import AnomalyReport, auroc, compare
from irae.evaluation.density.pictures import open_test, write_png
from irae.evaluation.density.scores import evaluate_density
from irae.models.checkpoints.model_file import load_density, packaged_densities
from irae.models.loaded_density import LoadedDensity

OUTPUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "density.json"
MOST = 1000


TEST_DIGITS = 397  # The last ones; the first 1,400 are for training.


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


def write_digits(folder: Path, size: int = 28) -> None:
    """Write the digits as files, for a density of them."""
    pictures = digits(size)
    for number, picture in enumerate(pictures):
        part = folder / ("test" if number >= len(pictures) - TEST_DIGITS else "train")
        part.mkdir(parents=True, exist_ok=True)
        write_png(picture, part / f"{number:04d}.png", overwrite=True)


def training_cells(model: LoadedDensity) -> list[str]:
    """Network, parameters, steps and minutes of a training."""
    card = model.spec.card
    return [
        f"`{model.spec.network}`",
        f"{model.parameters:,}",
        f"{card['steps']:,}",
        f"{card['seconds'] / 60:.1f}",
    ]


def run_row(name: str) -> list[str]:
    """What one run has reached, by the card of its best weights."""
    model = load_density(name)
    card = model.spec.card
    reached = [f"{card['validation_bits_per_dim']:.3f}", f"{card['round_trip']:.4f}/255"]
    return [*training_cells(model), *reached]


def faces_row(name: str, root: Path) -> list[str]:
    """What a density of CelebA has reached on its test part."""
    model = load_density(name)
    found = evaluate_density(model, open_test(model, "celeba", root), "celeba")
    bits = f"{found.bits_per_dim:.3f} ± {found.standard_error:.3f}"
    return [*training_cells(model), bits, f"{found.round_trip:.4f}/255"]


def background_name(model: LoadedDensity, background: LoadedDensity) -> str:
    """How a background model was trained, by its card."""
    ours, theirs = model.spec, background.spec
    same = (ours.network, ours.options) == (theirs.network, theirs.options)
    config = theirs.card["config"]
    parts = [
        "the same network" if same else f"{background.parameters:,} parameters",
        f"{theirs.card['steps']:,} steps",
        f"{config['data']['augment']['mutate']:.0%} mutated",
    ]
    decay = config["training"].get("weight_decay", 0)
    return ", ".join([*parts, *([f"weight decay {decay:g}"] if decay else [])])


def ratio_rows(
    pairs: list[tuple[LoadedDensity, LoadedDensity]],
    inside: torch.Tensor,
    outside: torch.Tensor,
) -> list[list[str]]:
    """The bits of a model and of its background model on both sets, and the AUROC of the ratio."""
    rows = []
    for model, background in pairs:
        bits = [[each.bits_per_dim(x) for x in (inside, outside)] for each in (model, background)]
        means = [f"{float(values.mean()):.3f}" for row in bits for values in row]
        ratio = auroc(bits[0][0] - bits[1][0], bits[0][1] - bits[1][1])
        rows.append([background_name(model, background), *means, f"{ratio:.4f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--root", type=Path)
    parser.add_argument("--model", default="fashion")
    parser.add_argument("--background")
    parser.add_argument("--reverse")
    parser.add_argument("--equal", nargs="+", default=[])
    parser.add_argument("--ratio", nargs="+", default=[])
    parser.add_argument("--faces")
    parser.add_argument("--write-digits", type=Path)
    chosen = parser.parse_args()
    if chosen.write_digits is not None:
        write_digits(chosen.write_digits)
        return
    tables = measured(chosen)
    before = json.loads(OUTPUT.read_text(encoding="utf-8")) if OUTPUT.exists() else {"tables": {}}
    kept = {name: {"date": before["date"], **table} for name, table in before["tables"].items()}
    content = {
        "command": "python scripts/measure_density.py --background RUN",
        "machine": "a CPU, float32",
        "date": datetime.date.today().isoformat(),
        "tables": kept | tables,
    }
    OUTPUT.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for name, table in tables.items():
        print(name)
        for row in table["rows"]:
            print("  " + "  ".join(row))


def measured(chosen: argparse.Namespace) -> dict[str, Any]:
    """The tables for which there are models and pictures."""
    root = data_root(chosen.root)
    model: LoadedDensity = load_density(chosen.model)
    background = None if chosen.background is None else load_density(chosen.background)
    channels, size, _ = model.network.shape
    ours = open_small("fashion", size=size, channels=channels, root=root, split="test")
    inside, others = ("Fashion-MNIST", ours[:MOST]), digits(size)[:MOST]
    columns = ["model", "parameters", "steps", "training", "test bits/dim", "round trip"]
    rows = [model_row(name) for name in packaged_densities()]
    tables: dict[str, Any] = {"density": {"columns": [*columns, "64 samples"], "rows": rows}}
    if background is not None:
        found = compare(model, inside, ("digits", others), background)
        tables["anomalies-digits"] = anomaly_table(found)
    try:
        mnist = open_small("mnist", size=size, channels=channels, root=root, split="test")
        found = compare(model, inside, ("MNIST", mnist[:MOST]), background)
        tables["anomalies-mnist"] = anomaly_table(found)
    except DataError as error:
        print(error)
    if chosen.reverse is not None:
        own = ("digits", digits(size)[-TEST_DIGITS:])
        found = compare(load_density(chosen.reverse), own, inside)
        command = "python scripts/measure_density.py --reverse RUN"
        tables["anomalies-reverse"] = {**anomaly_table(found), "command": command}
    pairs = [] if background is None else [(model, background)]
    if chosen.ratio:
        first, *backgrounds = (load_density(name) for name in chosen.ratio)
        pairs += [(first, each) for each in backgrounds]
    if pairs:
        tables["ratio"] = ratio_table(ratio_rows(pairs, inside[1], others))
    return tables | run_tables(chosen, root)


def run_tables(chosen: argparse.Namespace, root: Path) -> dict[str, Any]:
    """The tables of runs that were trained for a given time."""
    tables = {}
    columns = ["network", "parameters", "steps", "minutes"]
    if chosen.equal:
        tables["density-equal"] = {
            "command": "python scripts/measure_density.py --equal RUN RUN RUN",
            "columns": [*columns, "bits/dim", "round trip"],
            "rows": [run_row(name) for name in chosen.equal],
            "note": "1,000 held-out pictures, measured once, at the end of each training; minutes "
            "of one core's time, whatever else runs.",
        }
    if chosen.faces is not None:
        tables["density-faces"] = {
            "command": "python scripts/measure_density.py --faces RUN",
            "columns": [*columns, "test bits/dim", "round trip"],
            "rows": [faces_row(chosen.faces, root)],
            "note": "5 bits, uniform dequantisation; minutes of one core's time.",
        }
    return tables


def ratio_table(rows: list[list[str]]) -> dict[str, Any]:
    """The table of `ratio_rows`."""
    columns = ["background", "model, own", "model, digits", "background, own"]
    return {
        "columns": [*columns, "background, digits", "AUROC of the ratio"],
        "rows": rows,
        "note": f"Mean bits per dimension of {MOST:,} pictures each.",
    }


if __name__ == "__main__":
    main()
