"""Turn the best model of a density's run into a packaged one: half precision, measured, a card.

    python scripts/package_density.py runs/density fashion --data fashion [--root DIR]

The card in the file's header and the Markdown beside it hold what ``irae eval`` prints, and the
scores of held-out pictures under the packaged weights, for ``irae score``.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from portable_config import without_folders

from irae.config import check_config
from irae.data.registry import data_root
from irae.data.small import open_small
from irae.evaluation.density.scores import evaluate_density
from irae.models.anomaly import held_out_scores
from irae.models.checkpoints.checksums import write_checksums
from irae.models.checkpoints.model_file import load_density, save_model
from irae.models.loaded_density import LoadedDensity
from irae.training.objectives.likelihood import open_pictures

WEIGHTS = Path(__file__).resolve().parent.parent / "irae" / "weights" / "densities"
SAMPLES = 64


def in_half_precision(model: LoadedDensity) -> LoadedDensity:
    """The model as its half-precision file gives it back."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        save_model(path, model.network, model.spec, half=True)
        return load_density(path)


def seconds_to_sample(model: LoadedDensity) -> float:
    """The processor time of `SAMPLES` pictures, the best of ten; others may use the machine."""
    times = []
    for _ in range(10):
        start = time.process_time()
        model.sample(SAMPLES)
        times.append(time.process_time() - start)
    return min(times)


def card_of(model: LoadedDensity, data: str, root: Path, max_images: int | None) -> dict[str, Any]:
    """The card of the packaged model."""
    channels, size, _ = model.network.shape
    held_out = open_pictures(check_config(model.spec.card["config"], "the card"), model.network)
    pictures = held_out.validation
    bits = model.bits_per_dim(pictures)
    test = open_small(data, size=size, channels=channels, root=root, split="test")
    found = evaluate_density(model, test[:max_images], data)
    card = dict(model.spec.card)
    card["held_out"] = held_out_scores(bits, pictures, model.network)
    card["validation_bits_per_dim"] = round(float(bits.double().mean()), 4)
    card["config"] = without_folders(card["config"])
    card["data"] = f"{data}, {len(held_out.train):,} pictures of {size}x{size}"
    card["test"] = found.to_dict() | {"model": ""}
    card["command"] = f"irae eval --model MODEL --data {data}"
    card["machine"] = f"{platform.machine()}, {platform.system()}"
    card["sampling_seconds"] = round(seconds_to_sample(model), 3)
    hours = card["seconds"] / 3600
    card["measured"] = [
        f"test {found.bits_per_dim:.3f} ± {found.standard_error:.3f} bits/dim "
        f"({found.bits} bits, uniform dequantisation, {found.pictures:,} pictures)",
        f"round trip {found.round_trip:.4f}/255",
        f"{SAMPLES} samples in {card['sampling_seconds']:.2f} s of one core",
        f"trained for {card['steps']:,} steps, {hours:.1f} h",
    ]
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("name")
    parser.add_argument("--data", required=True)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--max-images", type=int, help="of the test part")
    chosen = parser.parse_args()
    model = in_half_precision(load_density(chosen.run))
    card = card_of(model, chosen.data, data_root(chosen.root), chosen.max_images)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    path = WEIGHTS / f"{chosen.name}.safetensors"
    save_model(path, model.network, replace(model.spec, card=card), half=True)
    lines = [f"# {chosen.name}", "", f"A density of {card['data']}.", ""]
    lines += [f"- {line}" for line in card["measured"]]
    path.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_checksums(WEIGHTS)
    print("\n".join(card["measured"]))


if __name__ == "__main__":
    main()
